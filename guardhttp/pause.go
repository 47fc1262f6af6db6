package guardhttp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/classify"
)

// Pause says what a Transport does with a call inside a wait that the upstream asked for.
type Pause int

const (
	// PauseOff sends it.
	PauseOff Pause = iota
	// PauseAnswer answers it as the upstream did, with 429 (or 503) and what is left of the wait as Retry-After. The
	// body is a Problem.
	PauseAnswer
	// PauseRefuse fails it with a *tokenguard.RefusedError that is a tokenguard.ErrUpstreamLimited.
	PauseRefuse
)

const (
	maxPause  = 31 * 24 * time.Hour // the longest that is honoured: a monthly quota
	maxPauses = 1024
)

// pauses are the waits that upstreams asked for, by operation.
type pauses struct {
	mu    sync.Mutex // guards ends
	until map[paused]pause
}

type paused struct{ scope, operation string }

type pause struct {
	end    time.Time
	status int
}

// note keeps the wait that a failure states. A failure that is about the token alone states none: with another token
// the call may go through.
func (p *pauses) note(of paused, f tokenguard.Failure, class tokenguard.Class) {
	if class != tokenguard.ClassRateLimited && f.StatusCode != http.StatusServiceUnavailable {
		return
	}
	hints := classify.ReadHints(classify.Input{StatusCode: f.StatusCode, Header: f.Header, Text: f.Message}, f.At)
	if !hints.HasRetryAfter || hints.RetryAfter <= 0 {
		return
	}
	added := pause{f.At.Add(min(hints.RetryAfter, maxPause)), http.StatusTooManyRequests}
	if f.StatusCode == http.StatusServiceUnavailable {
		added.status = f.StatusCode
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until == nil {
		p.until = map[paused]pause{}
	}
	if p.until[of].end.After(added.end) {
		return
	}
	if _, known := p.until[of]; !known && len(p.until) >= maxPauses {
		p.dropLocked()
	}
	p.until[of] = added
}

// dropLocked forgets the pause that ends first.
func (p *pauses) dropLocked() {
	var first paused
	var end time.Time
	for of, at := range p.until {
		if end.IsZero() || at.end.Before(end) {
			first, end = of, at.end
		}
	}
	delete(p.until, first)
}

// at returns the pause that holds now, if one does.
func (p *pauses) at(of paused, now time.Time) (pause, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.until[of]
	if ok && !now.Before(found.end) {
		delete(p.until, of)
		ok = false
	}
	return found, ok
}

// refusal is what a call inside the pause gets in place of an answer.
func (p pause) refusal(now time.Time) *tokenguard.RefusedError {
	return &tokenguard.RefusedError{Verdict: tokenguard.Verdict{
		Step: tokenguard.StepManager, Reason: tokenguard.ReasonUpstreamRateLimited, Answer: tokenguard.AnswerRefuse,
		Detail: fmt.Sprintf("the upstream asked to wait another %v; the call was not sent", p.end.Sub(now).Round(time.Second)),
		Until:  p.end, RetryAt: p.end,
	}}
}

// answer is the same as a response.
func (p pause) answer(req *http.Request, now time.Time) *http.Response {
	problem := problemOf(p.refusal(now))
	problem.Title, problem.Status = "The upstream asked to wait", p.status
	body, _ := json.Marshal(problem) // of strings, a number and a time
	return &http.Response{
		Status: strconv.Itoa(p.status) + " " + http.StatusText(p.status), StatusCode: p.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"Content-Type": {problemType}, "Cache-Control": {"no-store"},
			"Retry-After": {strconv.FormatInt(seconds(p.end.Sub(now)), 10)},
		},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}
}
