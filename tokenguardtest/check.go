package tokenguardtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
)

// check compares the results of a step with what it wants. p is nil where the step is not one caller's.
func (r *run) check(s *step, p *process, results []result) (problems []string) {
	w := s.Want
	if w == nil {
		w = &want{}
	}
	sources, reasons := map[tokenguard.Source]int{}, map[tokenguard.Reason]int{}
	for _, got := range results {
		if bad := r.checkResult(w, got); len(bad) > 0 && len(problems) == 0 {
			problems = append(bad, "got   "+r.describe(got))
		}
		if got.err == nil {
			sources[got.source]++
		}
		reasons[got.verdict.Reason]++
	}
	if w.Sources != nil && !maps.Equal(sources, w.Sources) {
		problems = append(problems, fmt.Sprintf("want  sources %v, got %v", w.Sources, sources))
	}
	if w.Reasons != nil && !maps.Equal(reasons, w.Reasons) {
		problems = append(problems, fmt.Sprintf("want  reasons %v, got %v", w.Reasons, reasons))
	}
	problems = append(problems, r.checkWorld(w)...)
	if len(problems) == 0 && p != nil && len(results) == 1 && s.Do == "acquire" {
		problems = r.checkExplained(s, p, results[0])
	}
	return problems
}

func (r *run) checkResult(w *want, got result) (problems []string) {
	differ := func(what string, want, got any) {
		problems = append(problems, fmt.Sprintf("want  %s %v, got %v", what, want, got))
	}
	fails := len(w.Is) > 0
	granted := w.Token != nil || w.Source != "" || w.Reason == "" && !fails && len(w.Reasons) == 0 && w.Steps == nil
	switch {
	case granted && got.err != nil:
		differ("error", "none", got.err)
	case fails:
		checkIs(w.Is, got.err, differ)
	}
	if w.Token != nil && got.token.Value() != *w.Token {
		differ("token", fmt.Sprintf("%q", *w.Token), fmt.Sprintf("%q", got.token.Value()))
	}
	if w.Source != "" && got.source != w.Source {
		differ("source", w.Source, got.source)
	}
	v := got.verdict
	if w.Step != "" && v.Step != w.Step {
		differ("step", w.Step, v.Step)
	}
	if w.Reason != "" && v.Reason != w.Reason {
		differ("reason", w.Reason, v.Reason)
	}
	if w.Answer != "" && v.Answer != w.Answer {
		differ("answer", w.Answer, v.Answer)
	}
	if w.Class != nil && v.Class != *w.Class {
		differ("class", *w.Class, v.Class)
	}
	if w.Until != "" && !r.same(w.Until, v.Until) {
		differ("until", w.Until, r.show(v.Until))
	}
	if w.RetryAt != "" && !r.same(w.RetryAt, v.RetryAt) {
		differ("retry_at", w.RetryAt, r.show(v.RetryAt))
	}
	if !strings.Contains(v.Detail, w.Detail) {
		differ("detail with", fmt.Sprintf("%q", w.Detail), fmt.Sprintf("%q", v.Detail))
	}
	if w.Cause != "" {
		if cause := errors.Unwrap(got.err); cause == nil || !strings.Contains(cause.Error(), w.Cause) {
			differ("cause with", fmt.Sprintf("%q", w.Cause), cause)
		}
	}
	for name, reason := range w.Steps {
		i := slices.IndexFunc(got.steps, func(v tokenguard.Verdict) bool { return v.Step == name })
		if i < 0 || got.steps[i].Reason != reason {
			differ("steps."+string(name), reason, verdicts(got.steps))
		}
	}
	return problems
}

// checkIs demands that err is everything that is named, and nothing else that has a name. ErrRefused goes without
// saying for a refusal.
func checkIs(names []string, err error, differ func(string, any, any)) {
	var is []string
	for name, target := range errNames {
		if name != "ErrRefused" && errors.Is(err, target) {
			is = append(is, name)
		}
	}
	var failed *tokenguard.RequestError
	if errors.As(err, &failed) {
		is = append(is, "RequestError")
	}
	if len(is) == 0 && errors.Is(err, tokenguard.ErrRefused) {
		is = append(is, "ErrRefused")
	}
	for name, target := range map[string]error{"context.Canceled": context.Canceled, "context.DeadlineExceeded": context.DeadlineExceeded} {
		if slices.Contains(names, name) && errors.Is(err, target) {
			is = append(is, name)
		}
	}
	sort.Strings(is)
	names = slices.Sorted(slices.Values(names))
	if !slices.Equal(is, names) {
		differ("error is", names, fmt.Sprintf("%v (%v)", is, err))
	}
}

// checkWorld compares what does not belong to one call.
func (r *run) checkWorld(w *want) (problems []string) {
	if w == nil {
		return nil
	}
	if w.Now != "" && !r.same(w.Now, r.clock.Now()) {
		problems = append(problems, fmt.Sprintf("want  now %v, got %v", w.Now, r.show(r.clock.Now())))
	}
	if n := len(r.upstream.Calls()); w.Upstream != nil && n != *w.Upstream {
		problems = append(problems, fmt.Sprintf("want  upstream called %d times so far, got %d", *w.Upstream, n))
	}
	renewed := r.renewals.Calls()
	if n := len(renewed); w.Renewals != nil && n != *w.Renewals {
		problems = append(problems, fmt.Sprintf("want  renewed %d times so far, got %d", *w.Renewals, n))
	}
	if w.Presented != nil && (len(renewed) == 0 || renewed[len(renewed)-1].Refresh != *w.Presented) {
		problems = append(problems, fmt.Sprintf("want  refresh token %q presented last, got %v", *w.Presented, refreshTokens(renewed)))
	}
	if n := len(r.personal.Calls()); w.Personal != nil && n != *w.Personal {
		problems = append(problems, fmt.Sprintf("want  personal token fetched %d times so far, got %d", *w.Personal, n))
	}
	return problems
}

func refreshTokens(calls []Call) (out []string) {
	for _, c := range calls {
		out = append(out, c.Refresh)
	}
	return out
}

// checkExplained asks Explain for the reason of a refusal, which must be the one that the caller was told.
func (r *run) checkExplained(s *step, p *process, got result) []string {
	var refused *tokenguard.RefusedError
	if !errors.As(got.err, &refused) || errors.Is(got.err, tokenguard.ErrClosed) || errors.Is(got.err, tokenguard.ErrStore) {
		return nil
	}
	e, err := p.guard.Explain(p.ctx, s.request(r.s.Given.Start))
	if err != nil {
		return []string{"Explain: " + err.Error()}
	}
	told, says := refused.Verdict, e.Verdict
	if told.Step != says.Step || told.Reason != says.Reason || !told.RetryAt.Equal(says.RetryAt) {
		return []string{"told  " + r.verdict(told), "but Explain says " + r.verdict(says)}
	}
	return nil
}

func (r *run) same(want when, got time.Time) bool {
	return want.time(r.s.Given.Start).Equal(got)
}

// show writes an instant as a scenario does.
func (r *run) show(t time.Time) string {
	if t.IsZero() {
		return "none"
	}
	d := t.Sub(r.s.Given.Start)
	if d < 0 {
		return d.String()
	}
	return "+" + d.String()
}

func (r *run) verdict(v tokenguard.Verdict) string {
	s := fmt.Sprintf("%s %s/%s, until %s, retry at %s", v.Answer, v.Step, v.Reason, r.show(v.Until), r.show(v.RetryAt))
	if v.Class != "" {
		s += ", class " + string(v.Class)
	}
	if v.Detail != "" {
		s += ": " + v.Detail
	}
	return s
}

func (r *run) describe(got result) string {
	var b strings.Builder
	if got.err == nil && got.token.Value() != "" {
		fmt.Fprintf(&b, "token %q from %s, ", got.token.Value(), got.source)
	}
	if got.verdict.Step != "" {
		b.WriteString(r.verdict(got.verdict))
	}
	if got.err != nil {
		fmt.Fprintf(&b, "\n  error %v", got.err)
	}
	if len(got.steps) > 0 {
		fmt.Fprintf(&b, "\n  steps %s", verdicts(got.steps))
	}
	return b.String()
}

func verdicts(steps []tokenguard.Verdict) string {
	parts := make([]string, len(steps))
	for i, v := range steps {
		parts[i] = fmt.Sprintf("%s: %s %s", v.Step, v.Answer, v.Reason)
	}
	return strings.Join(parts, ", ")
}

func oneLine(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return b.String()
}

func list(problems []string) string { return "  " + strings.Join(problems, "\n  ") }
