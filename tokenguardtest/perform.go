package tokenguardtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tokenguard/tokenguard"
)

// step performs one step and returns what is wrong with its outcome.
func (r *run) step(s *step) []string {
	name := s.Process
	if name == "" {
		name = "main"
	}
	switch s.Do {
	case "advance":
		time.Sleep(time.Duration(s.With.By))
		return r.checkWorld(s.Want)
	case "set_clock":
		r.clock.set(s.With.To.time(r.s.Given.Start))
		return r.checkWorld(s.Want)
	case "store_fails", "store_works":
		if r.memory == nil {
			return []string{s.Do + " needs given.store: memory"}
		}
		r.storeFails.Store(s.Do == "store_fails")
		return r.checkWorld(s.Want)
	case "join":
		job := r.jobs[s.With.Job]
		if job == nil {
			return []string{fmt.Sprintf("no job %q runs", s.With.Job)}
		}
		delete(r.jobs, s.With.Job)
		return r.check(s, nil, <-job)
	case "crash":
		return problem(r.crash(name))
	case "restart", "close":
		p := r.processes[name]
		if p == nil {
			return []string{fmt.Sprintf("process %q does not run", name)}
		}
		if err := p.guard.Close(); err != nil {
			return problem(err)
		}
		if s.Do == "close" {
			return r.checkWorld(s.Want)
		}
		delete(r.processes, name)
	}
	p, err := r.process(name)
	if err != nil || s.Do == "open" || s.Do == "restart" {
		return append(problem(err), r.checkWorld(s.Want)...)
	}
	results := at(max(s.Calls, 1), func() result { return r.call(p, s) })
	if s.As != "" {
		r.jobs[s.As] = results
		return nil
	}
	return r.check(s, p, <-results)
}

func problem(err error) []string {
	if err == nil {
		return nil
	}
	return []string{err.Error()}
}

// call does what the step says with the guard.
func (r *run) call(p *process, s *step) (out result) {
	ctx := p.ctx
	if s.With.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(s.With.Timeout))
		defer cancel()
	}
	start := r.s.Given.Start
	switch s.Do {
	case "acquire", "wait":
		do := p.guard.Acquire
		if s.Do == "wait" {
			do = p.guard.Wait
		}
		grant, err := do(ctx, s.request(start))
		out = result{token: grant.Token, source: grant.Source, verdict: grant.Verdict(), err: err}
	case "token":
		out.token, out.err = p.guard.Token(ctx)
	case "explain":
		var e tokenguard.Explanation
		e, out.err = p.guard.Explain(ctx, s.request(start))
		out.verdict, out.steps = e.Verdict, e.Steps
	case "report":
		out.err = p.guard.Report(ctx, tokenguard.Outcome{
			TokenID: tokenguard.TokenID(s.With.Token), Caller: s.With.Caller, Latency: time.Duration(s.With.Latency),
			Failure: s.With.Failure.failure(start), Remaining: s.With.Remaining, Limit: s.With.Limit,
			ResetAt: s.With.ResetAt.time(start),
		})
	case "adopt":
		tok := tokenguard.NewToken(s.With.Token, s.With.Expiry.time(start))
		if s.With.Lifetime != 0 {
			tok = tokenguard.NewTokenIn(s.With.Token, time.Duration(s.With.Lifetime))
		}
		tok = tok.WithScope(s.With.Scope)
		if s.With.Refresh != "" {
			tok = tok.WithRefreshToken(s.With.Refresh, time.Time{})
		}
		if s.With.Account != "" {
			tok = tok.WithAccount(s.With.Account)
		}
		if s.With.Predecessor != "" {
			tok = tok.WithPredecessor(tokenguard.TokenID(s.With.Predecessor))
		}
		out.err = p.guard.Adopt(ctx, tok)
	case "clear":
		what := tokenguard.Clear{Suspicion: s.With.Suspicion, Backoff: s.With.Backoff, RetryAfter: s.With.RetryAfter}
		if what.Suspicion != "" && what.Suspicion != "*" {
			what.Suspicion = tokenguard.TokenID(what.Suspicion)
		}
		if s.With.Identity != "" {
			what.Identity = tokenguard.NewToken("", time.Time{}).WithRefreshToken(s.With.Identity, time.Time{}).Identity()
		}
		out.err = p.guard.Clear(ctx, what)
	}
	var refused *tokenguard.RefusedError
	var failed *tokenguard.RequestError
	switch {
	case errors.As(out.err, &refused):
		out.verdict = refused.Verdict
	case errors.As(out.err, &failed):
		out.verdict = failed.Verdict
		out.verdict.RetryAt, out.verdict.Class = failed.RetryAt, failed.Class
	}
	return out
}

func (s *step) request(start time.Time) tokenguard.Request {
	return tokenguard.Request{
		Kind: s.With.Kind, Scope: s.With.Scope, Caller: s.With.Caller,
		Failure: s.With.Failure.failure(start), Failing: tokenguard.TokenID(s.With.Failing),
	}
}
