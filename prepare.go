package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/redact"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/template"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// What callers hand in, made fit for deciding: checked, cut, classified, masked.

const (
	maxScope  = 512     // bytes, refused beyond
	maxCaller = 256     // bytes, cut
	maxText   = 4 << 10 // bytes of a failure text that the dedup filter looks at
	maxShown  = 300     // bytes of a failure text that are stored and logged
	maxReset  = 366 * 24 * time.Hour
	memoSize  = 512 // failure texts whose reading is remembered
	errsSize  = 32  // errors of RequestFunc, of any size, that are kept as they are
)

// ErrRequest is a Request or Outcome that cannot be meant.
var ErrRequest = errors.New("tokenguard: invalid request")

// plain reports whether a request of this kind means an anonymous token.
func (k Kind) plain() bool { return k == "" || k == Anonymous }

func (g *Guard) prepare(req Request, r timeline.Reading) (*decide.Request, error) {
	q := &decide.Request{Kind: string(req.Kind), Scope: req.Scope}
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
	caller := trim(req.Caller, maxCaller)
	q.Caller = caller
	if req.Failure.IsZero() || canceled(req.Failure.Err) {
		return q, nil
	}
	text := req.Failure.text()
	q.Report = g.report(req.Failure, r)
	if raw := req.Failing; raw != "" && !secrets.IsID(raw) && strings.Contains(text, raw) {
		text = without(trim(text, 2*maxText), raw, TokenID(raw))
		q.Text = g.masked(text)
	}
	q.Failing = normalID(req.Failing)
	q.Template = g.template(caller, text)
	return q, nil
}

// canceled: a caller's own cancellation is never a failure of anything.
func canceled(err error) bool { return errors.Is(err, context.Canceled) }

// report reads a failure.
func (g *Guard) report(f Failure, r timeline.Reading) ledger.Report {
	p := ledger.Report{At: r.Now, Status: f.StatusCode, Class: string(g.classify(f))}
	if !f.At.IsZero() {
		p.At = min(r.Instant(f.At), r.Now)
	}
	text := f.text()
	p.Text = g.masked(text)
	p.Hints = classify.ReadHints(classify.Input{StatusCode: f.StatusCode, Header: f.Header, Text: text}, r.Time(p.At))
	switch h := p.Hints; {
	case h.HasRetryAfter:
		p.Until = p.At.Plus(h.RetryAfter)
	case !h.ResetAt.IsZero() && (p.Class == classify.QuotaExhausted || h.UsedUp):
		p.Until = r.Instant(h.ResetAt) // of a window that is not used up it says nothing
	}
	p.Until = min(p.Until, r.Now.Plus(maxReset))
	p.None = p.Hints.UsedUp
	return p
}

// Classify says what a failure means for the token that was used, from status, headers and text, English and Chinese.
// It is "" for the zero Failure. When in doubt it names a class that permits no new token.
func Classify(f Failure) Class {
	if f.IsZero() {
		return ClassNone
	}
	return Class(classify.Classify(classify.Input{StatusCode: f.StatusCode, Header: f.Header, Text: f.text()}))
}

// classify asks the user's function, if there is one. Its panic must not keep the end of an acquisition from being
// stored: what it cannot read is unknown.
func (g *Guard) classify(f Failure) (class Class) {
	if errors.Is(f.Err, context.DeadlineExceeded) && f.StatusCode == 0 && f.Message == "" {
		return ClassTransient
	}
	if g.opt.classifier == nil {
		return Classify(f)
	}
	defer func() {
		if p := recover(); p != nil {
			class = ClassUnknown
			if g.once("classifier") {
				g.noticed("the function of WithClassifier panicked, which reads as class unknown: " + g.masked(fmt.Sprint(p)))
			}
		}
	}()
	if class = g.opt.classifier(f); slices.Contains(classes[:], class) {
		return class
	}
	return ClassUnknown
}

// Storms repeat their texts: what reading them brought is remembered.

type templateKey struct{ caller, text string }

// hide replaces the values of the tokens that this process knows by their IDs. Masking alone knows a secret only by
// its looks.
func (g *Guard) hide(text string) string {
	if st := g.replica.Newest(); st != nil {
		for id, s := range st.Secrets {
			text = without(text, s.Value, id)
		}
	}
	if g.personal != nil {
		if t := g.personal.current(); t.secret != nil {
			text = without(text, t.Value(), t.ID())
		}
	}
	if g.shadow != nil {
		for _, p := range g.shadow.tokens.Values() {
			text = without(text, p.token.Value(), p.token.ID())
		}
	}
	return text
}

// shortValue is the length below which a value is hidden only as a word of its own: it may be a part of any.
const shortValue = 8

// without replaces a token's value in a text by its ID.
func without(text, value, id string) string {
	switch {
	case value == "" || !strings.Contains(text, value):
		return text
	case len(value) >= shortValue:
		return strings.ReplaceAll(text, value, id)
	}
	inWord := func(at int) bool {
		return at >= 0 && at < len(text) && (text[at] >= '0' && text[at] <= '9' || text[at]|0x20 >= 'a' && text[at]|0x20 <= 'z')
	}
	var out strings.Builder
	from := 0
	for {
		i := strings.Index(text[from:], value)
		if i < 0 {
			return out.String() + text[from:]
		}
		start, end := from+i, from+i+len(value)
		out.WriteString(text[from:start])
		if inWord(start-1) || inWord(end) {
			out.WriteString(value)
		} else {
			out.WriteString(id)
		}
		from = end
	}
}

func (g *Guard) template(caller, text string) template.Template {
	text = trim(text, maxText)
	if t, ok := g.templates.Get(templateKey{caller, text}); ok {
		return t
	}
	t := template.Of(g.hide(caller + "\n" + text))
	g.templates.Add(templateKey{strings.Clone(caller), strings.Clone(text)}, t)
	return t
}

func (g *Guard) masked(text string) string {
	text = trim(text, maxText)
	if m, ok := g.masks.Get(text); ok {
		return m
	}
	m := mask(g.hide(text))
	g.masks.Add(strings.Clone(text), m)
	return m
}

// mask makes foreign text fit to be stored and logged.
func mask(text string) string { return redact.Secrets(text, maxShown) }

// trim keeps at most n bytes of s, whole runes only, and makes it valid UTF-8.
func trim(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
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
