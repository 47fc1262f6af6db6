package ledger

import (
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// t0 is now in these tests.
const t0 = timeline.Instant(1_800_000_000_000_000_000)

// in is an instant so much after t0, or before it.
func in(d time.Duration) timeline.Instant { return t0 + timeline.Instant(d) }

const (
	second = time.Second
	minute = time.Minute
)

func rules() *Policy {
	return &Policy{
		RateLimit:      LimitPolicy{MaxRequestsPerHour: 5, MaxRequestsPerDay: 20, MinInterval: minute, FailureBackoffBase: minute, MaxBackoff: Hour, KeyBackoffBase: Hour, MaxKeyBackoff: 24 * Hour},
		Cache:          CachePolicy{TTL: Hour, MaxTokens: 3, CleanupInterval: 5 * minute},
		Dedup:          DedupPolicy{Window: 5 * minute, Similarity: 0.8, MaxConcurrent: 1},
		Manager:        ManagerPolicy{MinTokenAge: 30 * minute, RecentWindow: 10 * minute, Confirmation: minute},
		RequestTimeout: 25 * second,
	}
}

// held adds an anonymous token with a value that was acquired at the instant and lasts a day.
func held(d *Document, id string, acquired timeline.Instant) *Token {
	d.Seq++
	r := &Token{ID: id, Kind: Anonymous, Scope: "s", Acquired: acquired, Expiry: acquired.Plus(Day), Value: "value of " + id, Seq: d.Seq}
	d.Tokens[id] = r
	d.Index()
	return r
}

func mine(d *Document) *Token {
	r := &Token{ID: "p", Kind: Personal, Acquired: in(-Hour), Value: "personal"}
	d.Tokens[r.ID] = r
	return r
}

func refusal(operation string, at timeline.Instant) *Report {
	return &Report{Class: classify.AuthInvalid, Failing: "a", Operation: operation, At: at}
}

func quota(operation string, at timeline.Instant) *Report {
	return &Report{Class: classify.QuotaExhausted, Failing: "a", Operation: operation, At: at}
}

func success(operation string, began timeline.Instant) *Report {
	return &Report{Failing: "a", Operation: operation, At: began, Began: began}
}

func limited(operation string, at, until timeline.Instant) *Report {
	return &Report{Class: classify.RateLimited, Operation: operation, At: at, Until: until}
}

// heard applies reports, each at its own instant.
func (d *Document) heard(reports ...*Report) (changed bool) {
	for _, p := range reports {
		changed = d.Report(rules(), p, "s", nil, p.At)
	}
	return changed
}
