package tokenguard

import (
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// verdictOf is a decision as the public API shows it.
func verdictOf(v *decide.Input, rl decide.Decision, r timeline.Reading, retry timeline.Instant) Verdict {
	return Verdict{
		Step: Step(rl.Step), Reason: Reason(rl.Reason), Answer: Answer(rl.Answer), Detail: v.Detail(rl, r),
		Until: r.Time(rl.Until), RetryAt: r.Time(retry), Class: Class(v.Request.Class),
		Evidence: Evidence{
			Count: rl.Count, Limit: rl.Limit, Window: rl.Window, Since: r.Time(rl.Since), TokenID: rl.TokenID,
			Similarity: rl.Similarity, Level: Level(rl.Level), Confidence: rl.Confidence,
		},
	}
}

// acquired is the verdict of the call that started the acquisition that brought the token.
func acquired(v *decide.Input, id string, r timeline.Reading) Verdict {
	return verdictOf(v, decide.Decision{Step: decide.StepRequest, Answer: decide.AnswerServe, Reason: decide.ReasonAcquired, TokenID: id}, r, 0)
}

// failedVerdict is the verdict of a call whose acquisition failed.
func failedVerdict(v *decide.Input, f *ledger.Streak, r timeline.Reading) Verdict {
	return verdictOf(v, decide.Decision{Step: decide.StepRequest, Answer: decide.AnswerFail, Reason: decide.ReasonRequestFailed, Failure: f}, r, v.RetryAt(r.Now))
}

// cause is the failure behind a refusal: as it was, if this process met it, else rebuilt from the document. During a
// backoff that is the failed acquisition, whichever rule the verdict names.
func (g *Guard) cause(v *decide.Input, rl decide.Decision, r timeline.Reading) error {
	f := rl.Failure
	if rl.Reason == decide.ReasonRetryAfter {
		f = v.Doc.LastFailure()
	}
	for _, gate := range [...]decide.Decision{v.Backoff(), v.Closing()} {
		if f == nil && gate.Until > r.Now {
			f = gate.Failure
		}
	}
	if f == nil || f.Class == "" {
		return nil
	}
	if err, ok := g.errs.Peek(f.ID); ok && f.ID != "" {
		return err
	}
	return Failed(Failure{StatusCode: f.Status, Message: f.Message(), At: r.Time(f.At)})
}
