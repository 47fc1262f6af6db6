package tokenguard

import (
	"fmt"
	"time"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// RateLimits bound the started acquisitions, over all scopes and all processes that share the store. A failed one
// counts like one that succeeded. In JSON they may also state "consecutive_failure_backoff": true, as it always
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
	// KeyBackoffBase is the pause of one key alone after RequestFunc was refused for it (forbidden, client_error,
	// auth_invalid), doubled by each further refusal in a row: up to 24 h, default 1 h (key_backoff_base). The pause of a
	// key whose new tokens are refused before they ever worked is 10 min at first, or this if it is less, and doubles
	// from this with the second. A ban of the address, the device or the account, as far as the answer says so, pauses
	// the whole guard as long.
	KeyBackoffBase time.Duration
	// MaxKeyBackoff bounds those: at least KeyBackoffBase, up to 24 h, default 24 h (max_key_backoff).
	MaxKeyBackoff time.Duration
}

// AcquisitionStats counts the started attempts in the shared state.
type AcquisitionStats struct {
	Hour      WindowStats      `json:"hour"`
	Day       WindowStats      `json:"day"`
	Attempts  uint64           `json:"attempts"` // since the state was made
	Successes uint64           `json:"successes"`
	Failures  map[Class]uint64 `json:"failures"` // by class
	// LastSuccess is when the newest token that is known was acquired; zero: none is known.
	LastSuccess time.Time `json:"last_success,omitzero"`
	InProgress  int       `json:"in_progress"`
	Concurrent  int       `json:"max_concurrent"` // the most that may be
}

// WindowStats is a sliding window against its limit.
type WindowStats struct {
	Used      int `json:"used"`
	Limit     int `json:"limit"`
	Remaining int `json:"remaining"`
	// ExhaustedAt is when the window is forecast to be full; zero: it is not.
	ExhaustedAt time.Time `json:"exhausted_at,omitzero"`
	// Probability that it fills up within its length from now, in [0,1].
	Probability float64 `json:"exhaustion_probability"`
}

// LimiterStats says when the next acquisition of the default scope may start: not by the limits alone, but by every rule
// from the dedup filter to the store. While a usable token answers, it says so for the case that there was none.
type LimiterStats struct {
	// Open: a caller that finds no usable token would start an acquisition now.
	Open bool `json:"open"`
	// NextAllowed is when one could start, or a token that is known serves again: now if open; zero: waiting alone changes
	// nothing.
	NextAllowed time.Time `json:"next_allowed,omitzero"`
	// Binding is the rule that closes it: of several the one that opens last. Joined: one is in progress.
	Binding Reason `json:"binding,omitempty"`
	Detail  string `json:"detail"`

	ConsecutiveFailures int       `json:"consecutive_failures"`
	BackoffUntil        time.Time `json:"backoff_until,omitzero"`
	RetryAfterUntil     time.Time `json:"retry_after_until,omitzero"`
	// Mismatch names other limits under which guards on this state committed in the last 24 hours.
	Mismatch []string `json:"other_limits,omitempty"`
}

func acquisitionStats(v *decide.Input, r timeline.Reading) AcquisitionStats {
	hourly := v.Window(r.Now, decide.ReasonHourLimit, ledger.Hour, v.Policy.RateLimit.MaxRequestsPerHour)
	daily := v.Window(r.Now, decide.ReasonDayLimit, ledger.Day, v.Policy.RateLimit.MaxRequestsPerDay)
	ends := make([]int64, len(v.Doc.Attempts))
	for i := range v.Doc.Attempts {
		ends[i] = int64(v.Doc.Attempts[i].End)
	}
	history := v.Doc.History.Clone()
	from := max(v.Backoff().Until, v.GuardPause().Until) // nothing starts before
	f := history.Budget(int64(r.Now), int64(from), ends, hourly.Limit, daily.Limit)
	out := AcquisitionStats{
		Hour: windowStats(hourly, f.Hour, r), Day: windowStats(daily, f.Day, r),
		Attempts: v.Doc.Counts.Starts, Successes: v.Doc.Counts.Successes, Failures: map[Class]uint64{},
		InProgress: v.Gate(r.Now).Count, Concurrent: v.Policy.Dedup.MaxConcurrent,
	}
	for _, c := range classes {
		out.Failures[c] = v.Doc.Counts.Failures[string(c)]
	}
	if newest := v.Doc.Latest(); newest != nil {
		out.LastSuccess = r.Time(newest.Acquired)
	}
	return out
}

// openingText is what keeps an acquisition from starting, in words.
func openingText(v *decide.Input, binding decide.Decision, r timeline.Reading) string {
	switch {
	case binding.Answer == decide.AnswerPass:
		return "every rule lets an acquisition start"
	case binding.Reason == decide.ReasonStoreUnavailable:
		return "the store cannot be read or written"
	}
	return v.RuleText(binding, r)
}

func windowStats(w decide.Decision, f predict.WindowForecast, r timeline.Reading) WindowStats {
	return WindowStats{Used: w.Count, Limit: w.Limit, Remaining: max(w.Limit-w.Count, 0),
		ExhaustedAt: r.Time(timeline.Instant(f.ExhaustedAt)), Probability: f.Probability}
}

func limiterStats(v *decide.Input, r timeline.Reading) LimiterStats {
	out := LimiterStats{ConsecutiveFailures: v.Doc.Failures.Count}
	binding, at := v.Opening(r.Now)
	out.Open, out.NextAllowed, out.Binding = binding.Answer == decide.AnswerPass, r.Time(at), Reason(binding.Reason)
	out.Detail = openingText(v, binding, r)
	if b := v.Backoff(); b.Until > r.Now {
		out.BackoffUntil = r.Time(b.Until)
	}
	if p := v.GuardPause(); p.Until > r.Now {
		out.RetryAfterUntil = r.Time(p.Until)
	}
	own := v.Policy.RateLimit
	for _, l := range v.Doc.Limits {
		if l.PerHour != own.MaxRequestsPerHour || l.PerDay != own.MaxRequestsPerDay || l.Interval != own.MinInterval {
			out.Mismatch = append(out.Mismatch, fmt.Sprintf("%d/h, %d/day, %v apart", l.PerHour, l.PerDay, l.Interval))
		}
	}
	return out
}
