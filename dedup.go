package tokenguard

import "time"

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

// DedupStats is the dedup filter.
type DedupStats struct {
	Duplicates int64 `json:"duplicates"`
	Records    int   `json:"records"` // of the last starts, against which requests are compared
}
