package decide

import (
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/template"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// t0 is now in these tests.
const (
	t0     = timeline.Instant(1_800_000_000_000_000_000)
	second = time.Second
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

// in is an instant so much after t0, or before it.
func in(d time.Duration) timeline.Instant { return t0 + timeline.Instant(d) }

// asked is a request of operation "op" for scope "s", of a document in which nothing has happened.
func asked() *Input {
	return &Input{
		Doc: ledger.New(),
		Policy: &ledger.Policy{
			RateLimit:      ledger.LimitPolicy{MaxRequestsPerHour: 5, MaxRequestsPerDay: 20, MinInterval: minute, FailureBackoffBase: minute, MaxBackoff: hour, KeyBackoffBase: hour, MaxKeyBackoff: 24 * hour},
			Cache:          ledger.CachePolicy{TTL: hour, MaxTokens: 100, CleanupInterval: 5 * minute},
			Dedup:          ledger.DedupPolicy{Window: 5 * minute, Similarity: 0.8, MaxConcurrent: 2, MaxWaiters: 1000},
			Manager:        ledger.ManagerPolicy{MinTokenAge: 30 * minute, RecentWindow: 10 * minute, Confirmation: minute},
			Predictor:      ledger.PredictorPolicy{Confidence: 0.7, SlowResponse: 5 * second},
			RequestTimeout: 25 * second,
		},
		Request: &Request{Kind: ledger.Anonymous, Scope: "s", Report: ledger.Report{Operation: "op", At: t0}, Template: template.Of("op\nfailure")},
	}
}

// token adds an anonymous token of the scope that lasts a day. Each one is newer than those before.
func (in *Input) token(id string, age time.Duration, seen ...ledger.Evidence) *ledger.Token {
	in.Doc.Seq++
	acquired := t0 - timeline.Instant(age)
	r := &ledger.Token{ID: id, Kind: ledger.Anonymous, Scope: "s", Acquired: acquired, Expiry: acquired.Plus(day), Value: "v", Seq: in.Doc.Seq, Evidence: seen}
	in.Doc.Tokens[id] = r
	in.Doc.Index()
	return r
}

// failing has the request report the token.
func (in *Input) failing(class, id string) *Input {
	in.Request.Class, in.Request.Failing = class, id
	return in
}

// attempt enters one that ended so long ago.
func (in *Input) attempt(ago time.Duration, change ...func(*ledger.Attempt)) {
	a := ledger.Attempt{ID: string(rune('A' + len(in.Doc.Attempts))), Start: t0 - timeline.Instant(ago), End: t0 - timeline.Instant(ago), Landed: true}
	for _, f := range change {
		f(&a)
	}
	in.Doc.Charged(a)
}

func running(scope string) func(*ledger.Attempt) {
	return func(a *ledger.Attempt) {
		a.Scope, a.Running, a.Landed, a.End = scope, true, false, a.Start.Plus(30*second)
	}
}

func refused(operation string, at timeline.Instant, times int) ledger.Evidence {
	return ledger.Evidence{Operation: operation, Refused: at, RefusedLast: at, Refusals: times, Known: at, Heard: at}
}

func spent(operation string, at timeline.Instant) ledger.Evidence {
	return ledger.Evidence{Operation: operation, Quota: at, QuotaLast: at, Spent: true, Refusals: 1, Known: at, Heard: at}
}

func doubtful(operation string, at timeline.Instant) ledger.Evidence {
	e := spent(operation, at)
	e.Spent = false
	return e
}

func worked(operation string, at timeline.Instant) ledger.Evidence {
	return ledger.Evidence{Operation: operation, Success: at, Uses: 1, Heard: at}
}

const (
	auth  = classify.AuthInvalid
	quota = classify.QuotaExhausted
)
