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
