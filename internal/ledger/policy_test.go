package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

func TestDivided(t *testing.T) {
	share := rules().Divided(3)
	assert.Equal(t, LimitPolicy{MaxRequestsPerHour: 1, MaxRequestsPerDay: 6, MinInterval: 3 * minute, FailureBackoffBase: minute, MaxBackoff: Hour, KeyBackoffBase: Hour, MaxKeyBackoff: Day}, share.RateLimit)
	assert.Equal(t, 3, share.Share)
}

func TestLease(t *testing.T) { assert.Equal(t, 30*second, rules().Lease()) }

func TestExpiry(t *testing.T) {
	for name, c := range map[string]struct {
		expiry       timeline.Instant
		strict       bool
		counts, ends timeline.Instant
	}{
		"the TTL if none is stated":           {0, false, in(Hour), in(Hour)},
		"10 s before a stated one":            {in(2 * Hour), false, in(2*Hour - 10*second), in(2 * Hour)},
		"a tenth of a short life":             {in(minute), false, in(54 * second), in(minute)},
		"a strict TTL":                        {in(2 * Hour), true, in(Hour), in(Hour)},
		"a strict TTL beyond a stated expiry": {in(minute), true, in(54 * second), in(minute)},
		"one that had ended when it came":     {in(-minute), false, in(-minute), in(-minute)},
	} {
		t.Run(name, func(t *testing.T) {
			policy := rules()
			policy.Cache.Strict = c.strict
			counts, ends := policy.Expiry(&Token{Acquired: t0, Expiry: c.expiry})
			assert.Equal(t, c.counts, counts)
			assert.Equal(t, c.ends, ends)
		})
	}
}

// The TTL counts from the earliest that the token may have come.
func TestTTLOfATokenThatMayHaveComeEarlier(t *testing.T) {
	for _, strict := range []bool{false, true} {
		policy := rules()
		policy.Cache.Strict = strict
		r := &Token{Acquired: t0, Doubt: 5 * second}
		if strict {
			r.Expiry = in(2 * Hour)
		}
		counts, ends := policy.Expiry(r)
		assert.Equal(t, in(Hour-5*second), counts)
		assert.Equal(t, in(Hour-5*second), ends)
	}
}

func TestRefreshAt(t *testing.T) {
	policy := rules()
	r := &Token{Acquired: t0}
	assert.Equal(t, in(Hour), policy.RefreshAt(r))
	policy.RefreshAhead = 10 * minute
	assert.Equal(t, in(50*minute), policy.RefreshAt(r))
	policy.RefreshAhead = 50 * minute
	assert.Equal(t, in(30*minute), policy.RefreshAt(r), "not before half its life")
}

func TestDoubled(t *testing.T) {
	for n, want := range []time.Duration{minute, minute, 2 * minute, 4 * minute, 8 * minute, 10 * minute, 10 * minute} {
		assert.Equal(t, want, Doubled(minute, n, 10*minute), n)
	}
}

func TestFreshUntil(t *testing.T) {
	policy := rules()
	assert.Equal(t, in(5*minute), policy.FreshUntil(&Token{Acquired: t0}))
	assert.Equal(t, in(2*minute), policy.FreshUntil(&Token{Acquired: t0, Expiry: in(8 * minute)}))
}

func TestRatePause(t *testing.T) {
	assert.Equal(t, Pause{t0, in(60 * second)}, limited("op", t0, 0).RatePause())
	assert.Equal(t, Pause{t0, in(Hour)}, limited("op", t0, in(Hour)).RatePause())
	assert.Equal(t, Pause{t0, in(31 * Day)}, limited("op", t0, in(40*Day)).RatePause())
	assert.Zero(t, quota("op", t0).RatePause())
}

// A guard that does not know Doubt drops it when it writes: the TTL then ends as much later, and what was stated as it was.
func TestADroppedDoubtLengthensTheTTLAlone(t *testing.T) {
	p := &Policy{Cache: CachePolicy{TTL: time.Hour}}
	for _, expiry := range []timeline.Instant{0, timeline.Instant(100 * time.Minute)} {
		known := &Token{Acquired: timeline.Instant(50 * time.Minute), Doubt: 7 * time.Second, Expiry: expiry}
		dropped := *known
		dropped.Doubt = 0
		counts, ends := p.Expiry(known)
		later, latest := p.Expiry(&dropped)
		var longer time.Duration
		if expiry == 0 {
			longer = known.Doubt
		}
		assert.Equal(t, longer, later.Sub(counts))
		assert.Equal(t, longer, latest.Sub(ends))
	}
}
