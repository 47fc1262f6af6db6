package tokenguard

import "time"

// Config is everything that operators set. A zero field keeps its default, and nothing switches a limit off.
// It decodes from JSON under the names in the tags; a duration is a number of seconds or a Go duration string.
type Config struct {
	RateLimit RateLimits      `json:"rate_limit"`
	Cache     CacheConfig     `json:"cache"`
	Dedup     DedupConfig     `json:"dedup"`
	Manager   ManagerConfig   `json:"manager"`
	Predictor PredictorConfig `json:"predictor"`
}

// RateLimits bound the started acquisitions, over all keys and all processes that share the store.
type RateLimits struct {
	// MaxRequestsPerHour is the most starts in any 60 minutes: 1 to 10000, default 3.
	MaxRequestsPerHour int
	// MaxRequestsPerDay is the most starts in any 24 hours: 1 to 10000, default 20.
	MaxRequestsPerDay int
	// MinInterval is the least time from one attempt's end to the next start: up to 24 h, default 300 s.
	// Below 1 s, acquisitions of different keys may overlap.
	MinInterval time.Duration
	// FailureBackoffBase is the pause after a first failure, doubled by each further one: up to 24 h, default 600 s.
	FailureBackoffBase time.Duration
	// MaxBackoff bounds that pause: at least FailureBackoffBase, up to 24 h, default 3600 s.
	MaxBackoff time.Duration
}

// CacheConfig sets the token cache.
type CacheConfig struct {
	// TTL is how long a token serves whose expiry the upstream did not state: up to 30 days, default 3600 s.
	TTL time.Duration
	// MaxTokens is how many tokens are kept, least recently used out first: 1 to 10000, default 100.
	MaxTokens int
	// CleanupInterval is the least time between two sweeps for dead entries, done on calls: up to 24 h, default 300 s.
	CleanupInterval time.Duration
	// Strict lets TTL cap a stated expiry too.
	Strict bool
}

// DedupConfig sets the dedup filter and the in-progress gate.
type DedupConfig struct {
	// Window is how long a started acquisition answers for the failures that look the same: up to 24 h, default 300 s.
	Window time.Duration
	// Similarity of masked texts from which two failures count as the same: above 0 up to 1, default 0.8.
	Similarity float64
	// MaxConcurrent is how many acquisitions of different keys may run at once over the store: 1 to 100, default 3.
	MaxConcurrent int
}

// ManagerConfig sets the decision manager.
type ManagerConfig struct {
	// MinTokenAge is the age before which a token is not replaced: up to 24 h, default 30 min.
	// A stated reset that is at most this far away is waited for.
	MinTokenAge time.Duration
	// RecentWindow is the time after a start in which a key gets no other: up to 24 h, default 5 min.
	RecentWindow time.Duration
	// Confirmation is the time after which a second quota refusal confirms the first: up to 24 h, default 60 s.
	Confirmation time.Duration
	// ReplaceSpentEarly lets a token whose quota is confirmed spent be replaced before MinTokenAge.
	ReplaceSpentEarly bool
}

// PredictorConfig sets the quota predictor.
type PredictorConfig struct {
	// Confidence above which the predictor may veto the replacement of a token: above 0, below 1, default 0.7.
	Confidence float64
	// SlowResponse is the mean response time above which the level is medium: up to 1 h, default 5 s.
	SlowResponse time.Duration
}
