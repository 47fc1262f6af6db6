package tokenguard

// verdictOf is a decision as the public API shows it.
func verdictOf(v *view, rl ruling, r reading, retry instant) Verdict {
	return Verdict{
		Step: Step(rl.step), Reason: Reason(rl.reason), Answer: Answer(rl.answer), Detail: v.summary(rl, r),
		Until: r.time(rl.until), RetryAt: r.time(retry), Class: Class(v.q.class),
		Evidence: Evidence{
			Count: rl.count, Limit: rl.limit, Window: rl.window, Since: r.time(rl.since), TokenID: rl.tokenID,
			Similarity: rl.similarity, Level: Level(rl.level), Confidence: rl.confidence,
		},
	}
}

// acquired is the verdict of the call that started the acquisition that brought the token.
func acquired(v *view, id string, r reading) Verdict {
	return verdictOf(v, ruling{step: dStepRequest, answer: dAnswerServe, reason: dReasonAcquired, tokenID: id}, r, 0)
}

// failedVerdict is the verdict of a call whose acquisition failed.
func failedVerdict(v *view, f *failures, r reading) Verdict {
	return verdictOf(v, ruling{step: dStepRequest, answer: dAnswerFail, reason: dReasonRequestFailed, failure: f}, r, v.retryAt(r.now))
}

// cause is the failure behind a refusal: as it was, if this process met it, else rebuilt from the document. During a
// backoff that is the failed acquisition, whichever rule the verdict names.
func (g *Guard) cause(v *view, rl ruling, r reading) error {
	f := rl.failure
	if rl.reason == dReasonRetryAfter {
		f = v.doc.lastFailure()
	}
	for _, gate := range [...]ruling{v.backoff(), v.closing()} {
		if f == nil && gate.until > r.now {
			f = gate.failure
		}
	}
	if f == nil || f.Class == "" {
		return nil
	}
	if err, ok := g.errs.Peek(f.ID); ok && f.ID != "" {
		return err
	}
	return Failed(Failure{StatusCode: f.Status, Message: f.said(), At: r.time(f.At)})
}
