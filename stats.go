package tokenguard

import (
	"context"
	"fmt"
	"time"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// statsTimeout bounds the look at the store that Stats takes.
const statsTimeout = time.Second

// Stats is a guard at one instant. It encodes to JSON. Counters named as totals are this process' own since New;
// windows, attempts and what is known of tokens are those of the shared state.
type Stats struct {
	Guard          string           `json:"guard"`
	At             time.Time        `json:"at"`
	Acquisitions   AcquisitionStats `json:"acquisitions"`
	Limiter        LimiterStats     `json:"rate_limit"`
	Calls          CallStats        `json:"calls"`
	Dedup          DedupStats       `json:"dedup"`
	Cache          CacheStats       `json:"cache"`
	Predictor      PredictorStats   `json:"predictor"`
	Store          StoreStats       `json:"store"`
	Recommendation Recommendation   `json:"recommendation"`
	// Shadow counts what shadow mode passed on; nil without it. What is refused above would have been refused.
	Shadow *ShadowStats `json:"shadow,omitempty"`
	// Candidate is the configuration that is judged beside the one in force; nil without WithCandidate.
	Candidate *CandidateStats `json:"candidate,omitempty"`
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

// LimiterStats says when the next acquisition of the default scope may start.
type LimiterStats struct {
	// Open: an acquisition could start now, as far as the limits go.
	Open        bool      `json:"open"`
	NextAllowed time.Time `json:"next_allowed"`      // now if open
	Binding     Reason    `json:"binding,omitempty"` // what closes it: the one that opens last
	Detail      string    `json:"detail"`

	ConsecutiveFailures int       `json:"consecutive_failures"`
	BackoffUntil        time.Time `json:"backoff_until,omitzero"`
	RetryAfterUntil     time.Time `json:"retry_after_until,omitzero"`
	// Mismatch names other limits under which guards on this state committed in the last 24 hours.
	Mismatch []string `json:"other_limits,omitempty"`
}

// CallStats counts this process' calls.
type CallStats struct {
	Total   int64 `json:"total"`
	Served  int64 `json:"served"`
	Refused int64 `json:"refused"`
	Failed  int64 `json:"failed"`
	Left    int64 `json:"left"` // callers whose context ended first
	// Answers by step and reason.
	Answers map[Step]map[Reason]int64 `json:"answers"`
	// FilterRate is the share of the answered calls that started no acquisition of their own, in [0,1].
	FilterRate float64 `json:"filter_rate"`
	// Outcomes reported, by class; "success" for none.
	Outcomes map[string]int64 `json:"outcomes"`
	Waiting  int64            `json:"waiting"` // now, for an acquisition in progress
}

// DedupStats is the dedup filter.
type DedupStats struct {
	Duplicates int64 `json:"duplicates"`
	Records    int   `json:"records"` // of the last starts, against which requests are compared
}

// CacheStats is the token cache.
type CacheStats struct {
	Hits    int64   `json:"hits"`
	HitRate float64 `json:"hit_rate"` // of the answered calls, in [0,1]
	Size    int     `json:"size"`     // tokens in the shared state
	Limit   int     `json:"limit"`    // CacheConfig.MaxTokens
	Usable  int     `json:"usable"`   // of Size: not expired, rejected or spent
	// Expiry is when the last of the usable ones ends; zero: none is usable.
	Expiry time.Time `json:"expiry,omitzero"`
}

// PredictorStats is the quota predictor on the newest token.
type PredictorStats struct {
	Level       Level     `json:"level"`
	Confidence  float64   `json:"confidence"` // in [0,1]
	Reason      string    `json:"reason"`
	Probability float64   `json:"refusal_probability"` // that the next call is refused for quota
	UsesLeft    int64     `json:"uses_left"`           // -1: not known
	ExhaustedAt time.Time `json:"exhausted_at,omitzero"`
	Forecast    string    `json:"forecast"`
	Accuracy    Accuracy  `json:"accuracy"`
}

// Accuracy is the predictor's account of itself: each forecast was made before its outcome was known.
type Accuracy struct {
	Count      int64   `json:"count"`
	ShareRight float64 `json:"share_right"`
	Brier      float64 `json:"brier"`      // mean squared error of the probability: 0 is perfect
	BaseBrier  float64 `json:"base_brier"` // of always forecasting the share refused so far
	Skill      float64 `json:"skill"`      // 1 - Brier/BaseBrier
}

// StoreStats is the state's store.
type StoreStats struct {
	Revision uint64    `json:"revision"`
	Error    string    `json:"error,omitempty"` // of the look that Stats took
	LostAt   time.Time `json:"lost_at,omitzero"`
	Unsaved  int       `json:"unsaved"` // changes that wait for a commit that works
}

// Recommendation is what an operator would do now.
type Recommendation struct {
	Action   string `json:"action"` // keep_current, request_anonymous or wait
	Reason   string `json:"reason"`
	Priority string `json:"priority"` // low, medium or high
}

// Stats returns what the guard knows, after one look at the store of at most a second.
func (g *Guard) Stats() Stats {
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	st, r, err := g.replica.Look(ctx)
	if st == nil {
		st = &replica.Revision{Doc: ledger.New()}
	}
	if waits := g.replica.AllPending(); len(waits) > 0 {
		counted := *st
		counted.Doc = st.Doc.Clone()
		counted.Doc.CountUses(waits)
		st = &counted
	}
	q := &decide.Request{Kind: ledger.Anonymous}
	if g.personal != nil {
		q.Personal, _ = g.personal.view(g.opt, st.Doc, "", r.Now)
	}
	v := g.viewOn(q, st, r.Now)
	s := Stats{Guard: g.opt.name, At: r.Wall, Calls: g.tally.calls(g.hot.cached.sum(), g.hot.personal.sum())}
	s.Calls.Waiting = g.waiting.Load()
	s.Store = StoreStats{Revision: st.Rev, LostAt: r.Time(st.Doc.Lost)}
	if err != nil {
		s.Store.Error = mask(err.Error())
	}
	s.Store.Unsaved = g.replica.Unsaved()
	s.Acquisitions = acquisitionStats(v, r)
	s.Limiter = limiterStats(v, r)
	s.Dedup = DedupStats{Duplicates: s.Calls.Answers[StepDedup][ReasonDuplicate], Records: len(st.Doc.Triggers)}
	s.Cache = cacheStats(v, r, s.Calls)
	s.Predictor = predictorStats(v, r)
	s.Recommendation = recommend(v, r)
	if g.shadow != nil {
		s.Shadow = &ShadowStats{Served: g.shadow.served.Load(), Failed: g.shadow.failed.Load()}
	}
	if g.candidate != nil {
		s.Candidate = g.candidate.stats()
	}
	return s
}

func acquisitionStats(v *decide.Input, r timeline.Reading) AcquisitionStats {
	hourly := v.Window(r.Now, decide.ReasonHourLimit, ledger.Hour, v.Policy.RateLimit.MaxRequestsPerHour)
	daily := v.Window(r.Now, decide.ReasonDayLimit, ledger.Day, v.Policy.RateLimit.MaxRequestsPerDay)
	ends := make([]int64, len(v.Doc.Attempts))
	for i := range v.Doc.Attempts {
		ends[i] = int64(v.Doc.Attempts[i].End)
	}
	history := v.Doc.History.Clone()
	f := history.Budget(int64(r.Now), ends, hourly.Limit, daily.Limit)
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

func windowStats(w decide.Decision, f predict.WindowForecast, r timeline.Reading) WindowStats {
	return WindowStats{Used: w.Count, Limit: w.Limit, Remaining: max(w.Limit-w.Count, 0),
		ExhaustedAt: r.Time(timeline.Instant(f.ExhaustedAt)), Probability: f.Probability}
}

func limiterStats(v *decide.Input, r timeline.Reading) LimiterStats {
	out := LimiterStats{Open: true, NextAllowed: r.Wall, ConsecutiveFailures: v.Doc.Failures.Count}
	l := v.Limiter(r.Now)
	if l.Answer == decide.AnswerRefuse {
		out.Open, out.NextAllowed, out.Binding = false, r.Time(l.Until), Reason(l.Reason)
	}
	out.Detail = v.RuleText(l, r)
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

func cacheStats(v *decide.Input, r timeline.Reading, calls CallStats) CacheStats {
	out := CacheStats{Limit: v.Policy.Cache.MaxTokens, Hits: calls.Answers[StepCache][ReasonCached] + calls.Answers[StepCache][ReasonPersonal]}
	var last timeline.Instant
	for _, rec := range v.Doc.Tokens {
		if rec.HasValue() {
			out.Size++
			if v.Usable(rec, r.Now) {
				out.Usable++
				_, ends := v.Policy.Expiry(rec)
				last = max(last, ends)
			}
		}
	}
	out.Expiry = r.Time(last)
	if answered := calls.Total - calls.Left; answered > 0 {
		out.HitRate = float64(out.Hits) / float64(answered)
	}
	return out
}

// predictorStats speaks of the newest token of all keys.
func predictorStats(v *decide.Input, r timeline.Reading) PredictorStats {
	var usage predict.Usage
	if newest := v.Doc.Latest(); newest != nil {
		usage = newest.Usage
	}
	a := v.Policy.Assess(usage, 0, r.Now)
	history := v.Doc.History.Clone()
	f := history.Forecast(usage, int64(r.Now))
	acc := history.Accuracy()
	out := PredictorStats{Level: Level(a.Level), Confidence: a.Confidence, Reason: a.Reason,
		Probability: f.Probability, UsesLeft: -1, ExhaustedAt: r.Time(timeline.Instant(f.ExhaustedAt)), Forecast: f.Reason,
		Accuracy: Accuracy{acc.Count, acc.ShareRight, acc.Brier, acc.BaseBrier, acc.Skill}}
	if f.HasUses {
		out.UsesLeft = f.UsesLeft
	}
	return out
}

// recommend reads the decision for a caller of the default scope as advice.
func recommend(v *decide.Input, r timeline.Reading) Recommendation {
	switch rl := v.Decide(r.Now); rl.Answer {
	case decide.AnswerServe:
		out := Recommendation{Action: "keep_current", Reason: "a usable token is there", Priority: "low"}
		if t := rl.Token; t != nil {
			if f := v.Doc.History.Forecast(t.Usage, int64(r.Now)); f.Warn {
				out.Reason, out.Priority = "the token's quota is forecast to run out: "+f.Reason, "medium"
			}
			if t.IsSuspect(r.Now) {
				out.Reason, out.Priority = "the token's quota is in doubt", "medium"
			}
		}
		return out
	case decide.AnswerStart:
		return Recommendation{Action: "request_anonymous", Reason: v.RuleText(v.Manager(r.Now), r) + ", and every gate is open", Priority: "high"}
	default:
		priority := "medium"
		if rl.Answer == decide.AnswerRefuse && rl.Reason != decide.ReasonMinInterval {
			priority = "high"
		}
		return Recommendation{Action: "wait", Reason: v.RuleText(rl, r), Priority: priority}
	}
}
