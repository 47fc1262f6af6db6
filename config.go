package tokenguard

import "time"

// Config is everything that operators set. A zero field keeps its default, and nothing switches a limit off.
//
// It decodes from JSON, with ParseConfig or as part of a larger document, under the names that stand in parentheses
// below: {"rate_limit": {"max_requests_per_hour": 3}, "cache": {"cache_ttl": "1h"}, ...}. A duration is a number of
// seconds, fractions too, or a Go duration string. An explicit 0 keeps the default as an absent field does. Any other
// value out of bounds, an unknown or repeated field, and null are mistakes. It encodes to the same names.
type Config struct {
	RateLimit RateLimits      // (rate_limit)
	Cache     CacheConfig     // (cache)
	Dedup     DedupConfig     // (dedup)
	Manager   ManagerConfig   // (manager)
	Predictor PredictorConfig // (predictor)
}

// RateLimits bound the started acquisitions, over all scopes and all processes that share the store. A failed one
// counts like one that brought a token. In JSON they may also state "consecutive_failure_backoff": true, as it always
// is; false is a mistake.
type RateLimits struct {
	// MaxRequestsPerHour is the most starts in any 60 minutes: 1 to 10000, default 3 (max_requests_per_hour).
	// Above MaxRequestsPerDay it has no effect, which is no mistake: so the day limit can be tightened by itself.
	MaxRequestsPerHour int
	// MaxRequestsPerDay is the most starts in any 24 hours: 1 to 10000, default 20 (max_requests_per_day).
	MaxRequestsPerDay int
	// MinInterval is the least time from one attempt's end to the next start: up to 24 h, default 300 s
	// (min_interval). Below 1 s, acquisitions of different keys may overlap.
	MinInterval time.Duration
	// FailureBackoffBase is the pause after a first failure, doubled by each further one: up to 24 h, default 600 s
	// (failure_backoff_base).
	FailureBackoffBase time.Duration
	// MaxBackoff bounds that pause: at least FailureBackoffBase, up to 24 h, default 3600 s (max_backoff).
	MaxBackoff time.Duration
}

// CacheConfig sets the token cache.
type CacheConfig struct {
	// TTL is how long a token serves whose expiry the upstream did not state: up to 30 days, default 3600 s
	// (cache_ttl).
	TTL time.Duration
	// MaxTokens is how many tokens are kept, least recently used out first: 1 to 10000, default 100 (max_cache_size).
	MaxTokens int
	// CleanupInterval is the least time between two sweeps for dead entries, done on calls: up to 24 h, default 300 s
	// (cleanup_interval).
	CleanupInterval time.Duration
	// Strict lets TTL cap a stated expiry too (strict).
	Strict bool
}

// DedupConfig sets the dedup filter and the in-progress gate.
type DedupConfig struct {
	// Window is how long a started acquisition answers for the failures that look the same: up to 24 h, default 300 s
	// (dedup_window).
	Window time.Duration
	// Similarity of masked texts from which two failures count as the same: above 0 up to 1, default 0.8
	// (similarity_threshold).
	Similarity float64
	// MaxConcurrent is how many acquisitions of different keys may run at once over the store: 1 to 100, default 3
	// (max_concurrent_requests).
	MaxConcurrent int
}

// ManagerConfig sets the decision manager.
type ManagerConfig struct {
	// MinTokenAge is the age before which a token is not replaced: up to 24 h, default 30 min (min_token_age).
	// A stated reset that is at most this far away is waited for.
	MinTokenAge time.Duration
	// RecentWindow is the time after a start in which a key gets no other: up to 24 h, default 5 min (recent_window).
	RecentWindow time.Duration
	// Confirmation is the time after which a second quota refusal confirms the first: up to 24 h, default 60 s
	// (confirmation).
	Confirmation time.Duration
	// ReplaceSpentEarly lets a token whose quota is confirmed spent be replaced before MinTokenAge
	// (replace_spent_early).
	ReplaceSpentEarly bool
}

// PredictorConfig sets the quota predictor.
type PredictorConfig struct {
	// Confidence above which the predictor may veto the replacement of a token: above 0, below 1, default 0.7
	// (confidence).
	Confidence float64
	// SlowResponse is the mean response time above which the level is medium: up to 1 h, default 5 s (slow_response).
	SlowResponse time.Duration
}

// Conservative returns the defaults, spelled out.
func Conservative() Config {
	return Config{
		RateLimit: RateLimits{
			MaxRequestsPerHour: 3,
			MaxRequestsPerDay:  20,
			MinInterval:        300 * time.Second,
			FailureBackoffBase: 600 * time.Second,
			MaxBackoff:         3600 * time.Second,
		},
		Cache:     CacheConfig{TTL: 3600 * time.Second, MaxTokens: 100, CleanupInterval: 300 * time.Second},
		Dedup:     DedupConfig{Window: 300 * time.Second, Similarity: 0.8, MaxConcurrent: 3},
		Manager:   ManagerConfig{MinTokenAge: 30 * time.Minute, RecentWindow: 5 * time.Minute, Confirmation: time.Minute},
		Predictor: PredictorConfig{Confidence: 0.7, SlowResponse: 5 * time.Second},
	}
}

// Moderate returns Conservative with 10 starts an hour, 50 a day, 60 s apart, and ReplaceSpentEarly. As every field is
// spelled out, options that change it stand after it.
func Moderate() Config {
	c := Conservative()
	c.RateLimit.MaxRequestsPerHour = 10
	c.RateLimit.MaxRequestsPerDay = 50
	c.RateLimit.MinInterval = 60 * time.Second
	c.Manager.ReplaceSpentEarly = true
	return c
}
