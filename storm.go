package tokenguard

import (
	"context"
	"errors"
	"hash/maphash"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// In a storm like calls get like answers: an answer is remembered for as long as the document is the same, its gate is
// closed and hotLife is not over, and is then shared by all who ask the same. Its words are absolute instants, so that
// they stay true. What each such call still does is to be counted, in the tally, in the sample of its events and, where
// it names a token that is known, in what the predictor learns.

// stormSize bounds the answers that are remembered: about 1 KiB each, at most 6 MiB together when every question is as
// long as one may be.
const stormSize = 1024

type storm struct {
	seed  maphash.Seed
	slots [stormSize]atomic.Pointer[stormAnswer]
}

// stormAnswer is what the calls of one question get.
type stormAnswer struct {
	scope, caller, failing, text string
	status                       int

	state  *replica.Revision
	until  int64 // monotonic nanoseconds
	grant  Grant
	err    *RefusedError // nil: grant
	use    *hotUse       // of the grant's token
	event  Event
	sample *sample
	tells  *ledger.Report // counts for the predictor; nil: names no token that is known
}

// question returns the text of the request's failure, if calls like this one may share an answer: classifying looks at
// nothing else then.
func (g *Guard) question(req *Request) (text string, ok bool) {
	f := &req.Failure
	for name := range f.Header {
		if g.opt.classifier != nil || classify.ReadsHeader(name) {
			return "", false
		}
	}
	if !req.Kind.plain() || !f.At.IsZero() || len(req.Scope) > maxScope {
		return "", false
	}
	if f.Err != nil && (g.opt.classifier != nil || errors.Is(f.Err, context.Canceled) || errors.Is(f.Err, context.DeadlineExceeded)) {
		return "", false
	}
	text = f.text()
	return text, len(text) <= maxText && len(req.Caller) <= maxCaller && len(req.Failing) <= maxCaller
}

func (s *storm) slot(req *Request, text string) *atomic.Pointer[stormAnswer] {
	const odd = 0x9E3779B97F4A7C15
	h := uint64(req.Failure.StatusCode)
	for _, part := range [...]string{req.Scope, req.Caller, req.Failing, text} {
		if h *= odd; part != "" {
			h ^= maphash.String(s.seed, part)
		}
	}
	return &s.slots[h*odd>>32%stormSize]
}

func (a *stormAnswer) to(req *Request, text string) bool {
	return a.status == req.Failure.StatusCode && a.text == text && a.scope == req.Scope && a.caller == req.Caller && a.failing == req.Failing
}

// repeat answers a call as the last one of its kind, if nothing that could change the answer has happened since.
func (g *Guard) repeat(req *Request) *stormAnswer {
	t := g.hot.table.Load()
	if t == nil {
		return nil
	}
	text, ok := g.question(req)
	if !ok {
		return nil
	}
	a := g.storm.slot(req, text).Load()
	if a == nil || a.state != t.state || !a.to(req, text) {
		return nil
	}
	now := int64(g.meter.Mono())
	if now >= a.until {
		return nil
	}
	at := t.delta + timeline.Instant(now)
	if a.tells != nil {
		p := *a.tells
		p.At = at
		g.replica.AddOutcome(p.Failing, outcomeOf(&p, Outcome{}, timeline.Reading{Now: at}))
	}
	if a.err != nil {
		g.tally.answered(a.err.Verdict.Reason)
	} else {
		a.use.touch(at)
		g.tally.answered(ReasonCached)
	}
	if a.event.Kind != "" && !a.sample.skips(now) {
		e := a.event
		e.At = g.meter.Read().Wall
		g.tell(e)
	}
	return a
}

// settled remembers the answer to a question, if asking again changes nothing.
func (g *Guard) settled(req *Request, v *decide.Input, rl decide.Decision, r timeline.Reading, st *replica.Revision, event Event, grant Grant, err *RefusedError) {
	t := g.hot.table.Load()
	switch {
	case t == nil || t.state != st || st.Dirty || g.personal != nil || g.opt.clock != nil:
		return
	case v.Request.Class == classify.RateLimited || v.Request.Until != 0:
		return // each report moves the instant that it names
	case err == nil && v.Request.Class == "":
		return // the hot path has it
	case rl.Step != decide.StepDedup && rl.Step != decide.StepManager && rl.Step != decide.StepLimiter && rl.Reason != decide.ReasonCached:
		return
	}
	text, ok := g.question(req)
	if !ok {
		return
	}
	until := v.StableUntil(rl, r)
	if err != nil && !err.Verdict.RetryAt.IsZero() {
		until = min(until, r.Instant(err.Verdict.RetryAt))
	}
	a := &stormAnswer{scope: strings.Clone(req.Scope), caller: strings.Clone(req.Caller), failing: strings.Clone(req.Failing),
		text: strings.Clone(text), status: req.Failure.StatusCode, state: st, grant: grant, err: err, event: event,
		until: min(int64(until-t.delta), int64(g.trustedUntil()))}
	if event.Kind != "" {
		a.sample = g.diary.sample(&event)
	}
	if rl.Token != nil {
		a.use = t.byID[rl.Token.ID]
	}
	if rec := st.Doc.Tokens[v.Request.Failing]; rec != nil && v.Request.Class != "" {
		p := v.Request.Report
		a.tells = &p
	}
	if a.until > int64(g.meter.Mono()) && (err != nil || a.use != nil) && (event.Kind == "" || a.sample != nil) {
		g.storm.slot(req, text).Store(a)
	}
}

// touch notes a use, unless one was noted a moment ago.
func (u *hotUse) touch(at timeline.Instant) {
	if int64(at)-u.last.Load() > int64(usedStep) {
		u.last.Store(int64(at))
	}
}

// skips counts an event of a sort of which none is due before closed, instead of telling it.
func (s *sample) skips(mono int64) bool {
	if mono >= s.closed.Load() {
		return false
	}
	s.skipped.Add(1)
	return true
}

// close notes that no event of the sort is due for a while.
func (s *sample) close(base, now time.Time) {
	missing := 1 - s.limiter.TokensAt(now)
	s.closed.Store(int64(now.Sub(base)) + int64(missing*float64(sampleEvery)))
}
