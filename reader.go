package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/panics"
	"github.com/tokenguard/tokenguard/internal/period"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/redact"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/template"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

const (
	maxScope     = 512     // bytes, refused beyond
	maxCaller    = 256     // bytes, cut
	maxOperation = 64      // bytes of a masked caller; a longer one ends in a hash
	maxText      = 4 << 10 // bytes of a failure text that the dedup filter looks at
	maxShown     = 300     // bytes of a failure text that are stored and logged
	maxReset     = 366 * 24 * time.Hour
	memoSize     = 512 // failure texts whose reading is remembered
)

// ErrRequest is an invalid Request, Outcome or Token.
var ErrRequest = errors.New("tokenguard: invalid request")

// reader makes what callers hand in fit for deciding: checked, cut, classified, masked. Storms repeat their texts, so
// what reading them brought is remembered.
type reader struct {
	classifier func(Failure) Class // nil: Classify
	keeper     *secrets.Keeper
	period     period.Period     // of the quota, where the upstream states no reset
	warn       func(text string) // told once of a classifier that panics

	templates   *lru.Cache[templateKey, free[template.Template]]
	masks       *lru.Cache[string, free[string]]
	warned      atomic.Bool
	hangs       atomic.Bool  // a classifier did, and that was said
	classifying atomic.Int32 // classifiers of acquisitions that have not returned
}

// free is what reading a text brought. A secret that became known since may be in it.
type free[T any] struct {
	of   uint64 // generation of the secrets that were taken out
	read T
}

type templateKey struct{ caller, text string }

func newReader(classifier func(Failure) Class, keeper *secrets.Keeper, warn func(string)) *reader {
	rd := &reader{classifier: classifier, keeper: keeper, warn: warn}
	rd.templates, _ = lru.New[templateKey, free[template.Template]](memoSize)
	rd.masks, _ = lru.New[string, free[string]](memoSize)
	return rd
}

// request checks and reads a Request.
func (rd *reader) request(req *Request, r timeline.Reading) (*decide.Request, error) {
	q := &decide.Request{Kind: string(req.Kind), Scope: ledger.ScopeKey(req.Scope), Named: req.Scope}
	switch req.Kind {
	case "":
		q.Kind = ledger.Anonymous
	case Anonymous, Personal:
	default:
		return nil, fmt.Errorf("%w: Request.Kind: %q: want %q or %q", ErrRequest, req.Kind, Anonymous, Personal)
	}
	switch {
	case len(req.Scope) > maxScope:
		return nil, fmt.Errorf("%w: Request.Scope: %d bytes: at most %d", ErrRequest, len(req.Scope), maxScope)
	case !utf8.ValidString(req.Scope):
		return nil, fmt.Errorf("%w: Request.Scope: not valid UTF-8", ErrRequest)
	}
	q.Caller = trim(req.Caller, maxCaller)
	q.Operation = rd.operation(q.Caller)
	if req.Failure.none() || canceled(req.Failure.Err) {
		return q, nil
	}
	text := req.Failure.text()
	raw := req.Failing != "" && !secrets.IsID(req.Failing)
	if raw {
		text = secrets.Without(trim(text, 2*maxText), req.Failing, secrets.ID(req.Failing))
	}
	q.Template = rd.template(q.Caller, text) // first: of a text without secrets it makes the mask, too
	operation := q.Operation
	q.Report = rd.failure(req.Failure, r)
	q.Operation = operation
	if raw {
		q.Text = rd.masked(text)
	}
	q.Failing = normalID(req.Failing)
	return q, nil
}

// again is request for a caller that asks more than once: what its first question said stays as it was read, so that a step
// of the wall clock makes no other failure of it. read holds that.
func (rd *reader) again(req *Request, r timeline.Reading, read **decide.Request) (*decide.Request, error) {
	if *read == nil {
		q, err := rd.request(req, r)
		if err != nil {
			return nil, err
		}
		*read = q
	}
	q := **read        // each walk sets what is of its instant
	if q.Class != "" { // a secret that became known since may be in its words
		now, err := rd.request(req, r)
		if err != nil {
			return nil, err
		}
		q.Text, q.Template = now.Text, now.Template
	}
	return &q, nil
}

// outcome checks and reads an Outcome.
func (rd *reader) outcome(o *Outcome, r timeline.Reading) (*decide.Request, error) {
	switch {
	case o.TokenID == "":
		return nil, fmt.Errorf("%w: Outcome.TokenID: empty: want the ID of the token that was used", ErrRequest)
	case o.Latency < 0:
		return nil, fmt.Errorf("%w: Outcome.Latency: %v: want 0 or more", ErrRequest, o.Latency)
	}
	q := &decide.Request{Kind: ledger.Anonymous, Report: ledger.Report{At: r.Now}}
	q.Caller = trim(o.Caller, maxCaller)
	if !o.Failure.IsZero() {
		q.Report = rd.failure(o.Failure, r)
	}
	q.Operation, q.Began = rd.operation(q.Caller), q.At-timeline.Instant(o.Latency)
	q.Failing = normalID(o.TokenID)
	q.None = q.None || o.Limit > 0 && o.Remaining <= 0
	// A pause lasts for the Retry-After; when a window is full again says something of it only if nothing remains.
	if !o.ResetAt.IsZero() && (q.Class != classify.RateLimited || q.Until == 0 && q.None) {
		q.Until = min(r.Instant(o.ResetAt), r.Now.Plus(maxReset))
	}
	return q, nil
}

// canceled: a caller's own cancellation is never a failure of anything.
func canceled(err error) bool { return errors.Is(err, context.Canceled) }

// gaveUp reports the end of a function's own context, as an error or as the text that clients make of it. A caller that
// leaves has done nothing wrong, but here it is the function that left, and nobody knows what the upstream would have said.
func gaveUp(f *Failure) bool {
	if f.StatusCode != 0 {
		return false
	}
	if f.Message == "" && (canceled(f.Err) || errors.Is(f.Err, context.DeadlineExceeded)) {
		return true
	}
	text := trim(f.text(), maxText)
	return slices.ContainsFunc([]string{"context canceled", "context deadline exceeded", "request canceled", "operation was canceled", "code = Canceled"}, func(s string) bool {
		return strings.Contains(text, s)
	})
}

// failure reads a Failure.
func (rd *reader) failure(f Failure, r timeline.Reading) ledger.Report {
	return rd.classified(f, rd.classify(f), r)
}

// Bounds of a user-supplied classifier that an acquisition waits for.
const (
	classifierPatience = 2 * time.Second
	maxClassifiers     = 16 // that have not returned
)

// answer is failure for what RequestFunc returned. A classifier that hangs or ends its goroutine must not keep the end of
// an acquisition from being stored: a caller's goroutine is the caller's, that of an acquisition is not.
func (rd *reader) answer(f Failure, r timeline.Reading) ledger.Report {
	if gaveUp(&f) {
		return rd.classified(f, ClassTransient, r)
	}
	if rd.classifier == nil {
		return rd.failure(f, r)
	}
	if rd.classifying.Add(1) > maxClassifiers {
		rd.classifying.Add(-1)
		return rd.classified(f, ClassUnknown, r)
	}
	classes := make(chan Class, 1)
	go panics.Call("WithClassifier", func() (Class, error) { return rd.classify(f), nil }, func(class Class, err error) {
		if err != nil {
			class = ClassUnknown
		}
		rd.classifying.Add(-1)
		classes <- class
	})
	patience := time.NewTimer(classifierPatience)
	defer patience.Stop()
	class := ClassUnknown
	select {
	case class = <-classes:
	case <-patience.C:
		if rd.hangs.CompareAndSwap(false, true) {
			rd.warn(fmt.Sprintf("the function of WithClassifier did not return within %v, which reads as class unknown", classifierPatience))
		}
	}
	return rd.classified(f, class, r)
}

// classified reads what a Failure of this class says beside it.
func (rd *reader) classified(f Failure, class Class, r timeline.Reading) ledger.Report {
	p := ledger.Report{At: r.Now, Status: f.StatusCode, Class: string(class)}
	if !f.At.IsZero() {
		p.At = min(r.Instant(f.At), r.Now)
	}
	text := f.text()
	p.Text = rd.masked(text)
	stated := text
	if _, simulated := f.Err.(*simulatedFailure); simulated {
		stated = "" // the wait in the real failure's words was counted from that one
	}
	p.Hints = classify.ReadHints(classify.Input{StatusCode: f.StatusCode, Header: f.Header, Text: stated}, r.Time(p.At)).For(p.Class)
	switch h := p.Hints; {
	case h.HasRetryAfter:
		p.Until = p.At.Plus(h.RetryAfter)
	case !h.ResetAt.IsZero() && (p.Class == classify.QuotaExhausted || h.UsedUp):
		p.Until = r.Instant(h.ResetAt) // of a window that is not used up it says nothing
	}
	p.Until = min(p.Until, r.Now.Plus(maxReset))
	if p.Class == classify.QuotaExhausted {
		p.PeriodEnds = r.Instant(rd.period.Next(r.Time(p.At)))
	}
	p.None = p.Hints.UsedUp
	return p
}

// classify asks the user-supplied classifier, if there is one. Its panic must not keep the end of an acquisition from
// being stored: what it cannot read is unknown.
func (rd *reader) classify(f Failure) (class Class) {
	if errors.Is(f.Err, context.DeadlineExceeded) && f.StatusCode == 0 && f.Message == "" {
		return ClassTransient
	}
	if rd.classifier == nil {
		return Classify(f)
	}
	defer func() {
		if p := recover(); p != nil {
			class = ClassUnknown
			if rd.warned.CompareAndSwap(false, true) {
				rd.warn("the function of WithClassifier panicked, which reads as class unknown: " + rd.masked(fmt.Sprint(p)))
			}
		}
	}()
	if class = rd.classifier(f); slices.Contains(classes[:], class) {
		return class
	}
	return ClassUnknown
}

// operation is a caller's name without what varies from call to call.
func (rd *reader) operation(caller string) string {
	if caller == "" {
		return ""
	}
	op := rd.template(caller, "").String()
	if len(op) > maxOperation {
		op = trim(op, maxOperation-16) + secrets.ID(op)[3:]
	}
	return op
}

func (rd *reader) template(caller, text string) template.Template {
	text = trim(text, maxText)
	known := rd.keeper.Generation() // before the secrets are taken out: what is remembered must not seem freer than it is
	if t, ok := rd.templates.Get(templateKey{caller, text}); ok && t.of == known {
		return t.read
	}
	whole := caller + "\n" + text
	caller, text = whole[:len(caller)], whole[len(caller)+1:] // copies, as what is remembered must be
	hidden := rd.keeper.Hide(whole)
	t := template.Of(hidden)
	rd.templates.Add(templateKey{caller, text}, free[template.Template]{known, t})
	if hidden == whole && text != "" {
		rd.masks.Add(text, free[string]{known, mask(text)})
	}
	return t
}

// masked is foreign text without secrets, fit to be stored and logged.
func (rd *reader) masked(text string) string {
	text = trim(text, maxText)
	known := rd.keeper.Generation()
	if m, ok := rd.masks.Get(text); ok && m.of == known {
		return m.read
	}
	m := mask(rd.keeper.Hide(text))
	rd.masks.Add(strings.Clone(text), free[string]{known, m})
	return m
}

// storeError is an error of the store as callers see it. What it repeats another process may have stored.
func (rd *reader) storeError(err error) error {
	return &storeError{ErrStore.Error() + ": " + redact.Secrets(rd.keeper.Hide(trim(err.Error(), maxText)), maxText), err}
}

// mask takes out of foreign text what looks like a secret.
func mask(text string) string { return redact.Secrets(text, maxShown) }

// trim keeps at most n bytes of s, whole runes only, and makes it valid UTF-8.
func trim(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	if utf8.ValidString(s) { // nearly all are, and this sees it many bytes at a time
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// outcomeOf is an Outcome for the predictor.
func outcomeOf(p *ledger.Report, o Outcome, r timeline.Reading) predict.Outcome {
	out := predict.Outcome{At: int64(p.At), Latency: max(o.Latency, 0), Failed: p.Class != "",
		Quota: p.Class == classify.QuotaExhausted, Remaining: o.Remaining, Limit: o.Limit, ResetAt: int64(r.Instant(o.ResetAt))}
	if o.Limit <= 0 {
		out.Remaining, out.Limit = p.Hints.Remaining, p.Hints.Limit
	}
	if p.Hints.HasRetryAfter {
		out.RetryAt = int64(p.Until)
	} else if out.ResetAt == 0 {
		out.ResetAt = int64(p.Until)
	}
	return out
}
