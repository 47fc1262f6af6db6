package decide

import (
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Opening answers what an operator asks: could an acquisition of this key start now, and if not, which rule of the whole
// walk keeps it from it the longest, and until when? Its Answer is AnswerPass if one could start, AnswerWait while one is
// in progress, AnswerRefuse otherwise. at is then RetryAt: when one could start, or a token that is known serves again.
//
// While a token serves the caller it speaks of the case that there was none: nobody would start one beside it.
func (in *Input) Opening(now timeline.Instant) (binding Decision, at timeline.Instant) {
	d := in.Decide(now)
	switch {
	case d.Answer == AnswerServe && in.Outage.Away && !in.Outage.MayStart:
		return Decision{Step: StepStore, Answer: AnswerRefuse, Reason: ReasonStoreUnavailable, Until: timeline.Never}, timeline.Never
	case d.Answer == AnswerServe && !d.Late(), d.Answer == AnswerRenew: // a renewal goes before an acquisition
		without := in.withoutToken()
		if d = without.Decide(now); d.Answer != AnswerServe && d.Answer != AnswerRenew { // a last resort stays one
			return without.Opening(now)
		}
	}
	switch d.Answer {
	case AnswerStart:
		return Decision{Step: StepRequest, Answer: AnswerPass}, now
	case AnswerWait:
		return d, d.Until
	}
	if d.Reason == ReasonStoreUnavailable || d.Reason == ReasonPersonalUnavailable {
		return d, timeline.Never
	}
	binding = in.closedLast(now)
	if binding.Answer != AnswerRefuse {
		return Decision{Step: StepRequest, Answer: AnswerPass}, now
	}
	return binding, in.RetryAt(now)
}

// withoutToken is the input as if no token of the key was known, with all else as it is.
func (in *Input) withoutToken() *Input {
	out, doc, q := *in, *in.Doc, *in.Request
	doc.ByScope = in.Doc.ByScope.Without(q.Scope)
	q.Personal = Personal{}
	out.Doc, out.Request = &doc, &q
	return &out
}

// TokenState is what is known of a token in a word: usable, suspect, spent, rejected or expired.
func (in *Input) TokenState(r *ledger.Token, now timeline.Instant) string {
	_, ends := in.Policy.Expiry(r)
	switch {
	case r.Rejected != 0 || r.Doubts(nobody, now) > 0 && isRejected(r):
		return "rejected"
	case now >= ends:
		return "expired"
	case r.IsSpent(now) || r.Doubts(nobody, now) > 0:
		return "spent"
	case r.IsSuspect(now) || isSuspected(r, now):
		return "suspect"
	}
	return "usable"
}

// nobody is no operation's name.
const nobody = "\x00"

func isRejected(r *ledger.Token) bool {
	for i := range r.Evidence {
		if e := &r.Evidence[i]; e.Refused != 0 && !r.Contradicted(e) {
			return true
		}
	}
	return false
}

func isSuspected(r *ledger.Token, now timeline.Instant) bool {
	for i := range r.Evidence {
		if e := &r.Evidence[i]; e.Suspects(now) && !r.Contradicted(e) {
			return true
		}
	}
	return false
}
