package ledger

import (
	"time"

	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Policy is the part of a guard's settings that the rules read. It never changes once a guard has it. The fields of
// the parts are those of the public configuration, which documents units, bounds and defaults.
type Policy struct {
	RateLimit LimitPolicy
	Cache     CachePolicy
	Dedup     DedupPolicy
	Manager   ManagerPolicy
	Predictor PredictorPolicy

	RefreshAhead, RequestTimeout time.Duration

	Renewal RenewalPolicy
	Renews  bool // this process can renew identities

	// Share is the number of processes among which the limits are divided; 0: this policy is undivided.
	Share int
}

// LimitPolicy bounds the started acquisitions.
type LimitPolicy struct {
	MaxRequestsPerHour int
	MaxRequestsPerDay  int
	MinInterval        time.Duration
	FailureBackoffBase time.Duration
	MaxBackoff         time.Duration
	KeyBackoffBase     time.Duration
	MaxKeyBackoff      time.Duration
}

// KeyBackoff is how long a key stays closed that RequestFunc was refused for n times in a row.
func (l *LimitPolicy) KeyBackoff(n int) time.Duration {
	return Doubled(l.KeyBackoffBase, n, l.MaxKeyBackoff)
}

// CachePolicy bounds the tokens that are kept.
type CachePolicy struct {
	TTL             time.Duration
	MaxTokens       int
	CleanupInterval time.Duration
	Strict          bool
}

// DedupPolicy sets the dedup filter and the in-progress gate.
type DedupPolicy struct {
	Window        time.Duration
	Similarity    float64
	MaxConcurrent int
	MaxWaiters    int // in one guard
}

// ManagerPolicy sets the rules on replacing a token.
type ManagerPolicy struct {
	MinTokenAge       time.Duration
	RecentWindow      time.Duration
	Confirmation      time.Duration
	ReplaceSpentEarly bool
	RollingQuota      time.Duration // of ManagerConfig.QuotaPeriod; 0: it is none, or by the calendar
}

// PredictorPolicy sets the quota predictor.
type PredictorPolicy struct {
	Confidence   float64
	SlowResponse time.Duration
}

// Divided returns the policy of one of n processes that cannot reach the store: 1/n of the windows, rounded down, and
// n times the interval. Backoff and pauses are not divided.
func (p *Policy) Divided(n int) *Policy {
	share := *p
	share.Share = n
	share.RateLimit.MaxRequestsPerHour /= n
	share.RateLimit.MaxRequestsPerDay /= n
	share.RateLimit.MinInterval *= time.Duration(n)
	return &share
}

// LeaseMargin is how much longer than the request timeout an acquisition may take before others go on without it.
const LeaseMargin = 5 * time.Second

// Lease is how long an acquisition holds its place in the gate if its process never reports its end.
func (p *Policy) Lease() time.Duration { return p.RequestTimeout + LeaseMargin }

// lastStretch is the most that a token counts as expired before a stated expiry, so that it does not expire on its way.
const lastStretch = 10 * time.Second

// Expiry returns when a token counts as expired, and when it really ends. They differ in the last stretch before a
// stated expiry, in which it still answers if nothing may be started.
func (p *Policy) Expiry(r *Token) (counts, ends timeline.Instant) {
	ttl := (r.Acquired - timeline.Instant(r.Doubt)).Plus(p.Cache.TTL)
	if r.Expiry == 0 {
		return ttl, ttl
	}
	counts = r.Expiry - timeline.Instant(min(lastStretch, max(r.Expiry.Sub(r.Acquired)/10, 0)))
	if p.Cache.Strict && ttl < counts {
		return ttl, ttl
	}
	return counts, r.Expiry
}

// RefreshAt is when one caller may acquire a successor while the others keep the token.
func (p *Policy) RefreshAt(r *Token) timeline.Instant {
	counts, _ := p.Expiry(r)
	if p.RefreshAhead == 0 {
		return counts
	}
	// A window longer than the lifetime would have every call refresh.
	return counts - timeline.Instant(min(p.RefreshAhead, counts.Sub(r.Acquired-timeline.Instant(r.Doubt))/2))
}

// Assess is the predictor's reading of a usage.
func (p *Policy) Assess(u predict.Usage, since, now timeline.Instant) predict.Assessment {
	return predict.Assess(u, int64(since), int64(now), predict.Config{SlowAbove: p.Predictor.SlowResponse})
}

// Doubled is min(base * 2^(n-1), most).
func Doubled(base time.Duration, n int, most time.Duration) time.Duration {
	for ; n > 1 && base < most; n-- {
		base *= 2 // bounded: base < most <= 24 h before
	}
	return min(base, most)
}

// MaxRetryAfter bounds what an upstream can ask for: a monthly quota.
const MaxRetryAfter = 31 * 24 * time.Hour

const defaultPause = 60 * time.Second // after a rate_limited that names no time

// maxAssumedPause bounds a wait that an answer only hints at, such as the length of the window that is full: a wrong guess
// costs an hour.
const maxAssumedPause = Hour

// PersonalAgain is how long a personal token is left alone after a rejection, or a spent quota without a stated reset.
const PersonalAgain = time.Hour

// RenewalPolicy bounds the renewals.
type RenewalPolicy struct {
	MinInterval  time.Duration
	MaxPerHour   int
	BackoffBase  time.Duration
	MaxBackoff   time.Duration
	Timeout      time.Duration
	ReplaceAfter time.Duration
}

// DefaultRenewals are the bounds of who sets none.
func DefaultRenewals() RenewalPolicy {
	return RenewalPolicy{MinInterval: time.Minute, MaxPerHour: 60, BackoffBase: 5 * time.Second, MaxBackoff: 10 * time.Minute, Timeout: 10 * time.Second, ReplaceAfter: Day}
}

// RenewalLease is how long a renewal holds its identity if its process never reports its end.
func (p *Policy) RenewalLease() time.Duration { return p.Renewal.Timeout + LeaseMargin }

// Bounds of the stretch before the end of a value in which it is renewed.
const (
	renewalAhead  = 5 * time.Minute
	renewalAheadN = 10 // at most a tenth of the lifetime
)

// RenewAt is from when the value of an identity is renewed ahead of its end.
func (p *Policy) RenewAt(r *Token) timeline.Instant {
	if p.RefreshAhead > 0 {
		return p.RefreshAt(r)
	}
	counts, ends := p.Expiry(r)
	return min(counts, ends-timeline.Instant(min(renewalAhead, max(ends.Sub(r.Acquired), 0)/renewalAheadN)))
}
