// Package promguard shows guards to Prometheus.
//
//	metrics := promguard.New()
//	guard, err := tokenguard.New(fetch, tokenguard.WithObserver(metrics.Observe))
//	metrics.Add(guard)
//	registry.MustRegister(metrics)
//
// Each scrape takes one Stats of each guard, so that its figures fit together. Every label value exists at zero from the
// start. No label holds a scope or a caller, unless [WithUsage] asks for it, and none a token. docs/metrics.md lists them
// all.
package promguard

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenguard/tokenguard"
)

// Source is what a guard gives.
type Source interface{ Stats() tokenguard.Stats }

// Metrics is a prometheus.Collector for any number of guards. It is safe for concurrent use.
type Metrics struct {
	duration *prometheus.HistogramVec
	renewing *prometheus.HistogramVec
	events   *prometheus.CounterVec

	usage int // scopes and operations that are shown by name

	mu     sync.Mutex // guards what follows
	guards map[string]Source
}

// Option sets one thing of Metrics.
type Option func(*Metrics)

// WithUsage shows who uses the budget: the names of the most top scopes and operations, at most 10, and all others
// together under the name "(rest)". Their names become values of labels, so leave it out where they may not be seen.
func WithUsage(top int) Option { return func(m *Metrics) { m.usage = min(max(top, 0), 10) } }

// New makes an empty collector.
func New(opts ...Option) *Metrics {
	m := &Metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tokenguard_acquisition_duration_seconds",
			Help:    "How long started acquisitions took, by result.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"guard", "result"}),
		renewing: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tokenguard_renewal_duration_seconds",
			Help:    "How long started renewals took, by result.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"guard", "result"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenguard_warnings_total",
			Help: "Early warnings that a token or a budget is forecast to run out, and reports of a damaged or lost state.",
		}, []string{"guard", "kind"}),
		guards: map[string]Source{},
	}
	for _, opt := range opts {
		opt(m)
	}
	return m
}

// Add shows a guard under its own name (tokenguard.WithName), in place of one of that name that was added before.
func (m *Metrics) Add(guard Source) {
	name := guard.Stats().Guard
	m.mu.Lock()
	m.guards[name] = guard
	m.mu.Unlock()
	for _, result := range results {
		m.duration.WithLabelValues(name, result)
		m.renewing.WithLabelValues(name, result)
	}
	for _, kind := range []tokenguard.EventKind{tokenguard.EventWarning, tokenguard.EventState} {
		m.events.WithLabelValues(name, string(kind))
	}
}

var results = []string{"success", "failure"}

// Observe takes a guard's events in: pass it to tokenguard.WithObserver. Without it the histograms and the warnings stay
// empty.
func (m *Metrics) Observe(e tokenguard.Event) {
	switch e.Kind {
	case tokenguard.EventAcquired:
		m.duration.WithLabelValues(e.Guard, "success").Observe(e.Took.Seconds())
	case tokenguard.EventFailed:
		m.duration.WithLabelValues(e.Guard, "failure").Observe(e.Took.Seconds())
	case tokenguard.EventRenewed:
		m.renewing.WithLabelValues(e.Guard, "success").Observe(e.Took.Seconds())
	case tokenguard.EventRenewalFailed:
		m.renewing.WithLabelValues(e.Guard, "failure").Observe(e.Took.Seconds())
	case tokenguard.EventWarning, tokenguard.EventState:
		m.events.WithLabelValues(e.Guard, string(e.Kind)).Add(float64(1 + e.Repeats))
	}
}

// desc makes a description; every metric has the guard's name as its first label.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tokenguard_"+name, help, append([]string{"guard"}, labels...), nil)
}

var (
	calls           = desc("calls_total", "Calls of this process, by outcome: the funnel.", "outcome")
	refusals        = desc("refusals_total", "Calls of this process that were answered without a token, by reason.", "reason")
	acquisitions    = desc("acquisitions_total", "Started acquisitions that ended, in the shared state since it was made, by result and class of failure.", "result", "class")
	outcomes        = desc("outcomes_total", "Outcomes of calls made with tokens, reported to this process, by class.", "class")
	used            = desc("acquisition_used", "Acquisitions that count in the window now.", "window")
	limit           = desc("acquisition_limit", "Acquisitions that the window permits.", "window")
	inProgress      = desc("acquisitions_in_progress", "Acquisitions in progress over the store.")
	waiting         = desc("waiting_calls", "Calls of this process that wait for an acquisition.")
	cached          = desc("tokens", "Tokens in the cache.")
	failures        = desc("consecutive_failures", "Failed acquisitions in a row.")
	nextAllowed     = desc("next_allowed_timestamp_seconds", "When the next acquisition may start, by every rule; not in the future: now; +Inf: waiting alone changes nothing.")
	lastSuccess     = desc("last_success_timestamp_seconds", "When the newest token was acquired; 0: none is known.")
	expiry          = desc("token_expiry_timestamp_seconds", "When the last usable token expires; 0: none is usable.")
	exhaustion      = desc("predicted_exhaustion_timestamp_seconds", "When the newest token's quota is forecast to run out; 0: no forecast.")
	confidence      = desc("predictor_confidence_ratio", "Confidence of the predictor's level, from 0 to 1.")
	level           = desc("predictor_level", "1 for the level that the predictor reads now, 0 for the others.", "level")
	brier           = desc("predictor_brier_ratio", "Mean squared error of the predictor's forecasts, from 0 (perfect) to 1.")
	shadow          = desc("shadow_calls_total", "Calls of this process that shadow mode passed on in place of a refusal, by outcome; only in shadow mode.", "outcome")
	candidateCalls  = desc("candidate_calls_total", "Calls of this process as the candidate configuration would have answered them, by outcome; only with a candidate.", "outcome")
	differences     = desc("candidate_differences_total", "Calls of this process that the candidate would have served and that were not (gained), and the reverse (lost); only with a candidate.", "difference")
	candidateStarts = desc("candidate_acquisitions_total", "Acquisitions that the candidate would have started, in its shared state since it was made; only with a candidate.")
	storeUp         = desc("store_up", "1 if the state store answered this scrape.")

	renewals        = desc("renewals_total", "Started renewals that ended, in the shared state since it was made, by result and class of failure; only where accounts are renewed.", "result", "class")
	renewalUsed     = desc("renewal_used", "Renewals that count in the window now; only where accounts are renewed.", "window")
	renewalLimit    = desc("renewal_limit", "Renewals that the window permits; only of a process that renews.", "window")
	renewalFailures = desc("renewal_consecutive_failures", "Failed renewals in a row, of the account that has the most; only where accounts are renewed.")
	nextRenewal     = desc("next_renewal_timestamp_seconds", "When the next renewal is due; not in the future: with the next call; 0: none is; only where accounts are renewed.")
	identities      = desc("identities", "Accounts that the state knows, by what can be done with them; only where accounts are renewed.", "state")
	unreplaced      = desc("unreplaced_identities", "Accounts that ended or expired while no other has come in their place, without those that were cleared; only where accounts are renewed.")
	lost            = desc("lost_identities_total", "Accounts that ended, and accounts for which the state had no room (dropped), since the state was made; only where accounts are renewed.", "reason")

	scopeAcquisitions     = desc("scope_acquisitions", "Acquisitions that the day window counts, of every process on the state, by scope: the first few and the rest; only WithUsage.", "scope")
	scopeRefusals         = desc("scope_refusals", "Refused calls of this process, by scope: the first few and the rest; only WithUsage.", "scope")
	operationAcquisitions = desc("operation_acquisitions", "Acquisitions that the day window counts, of every process on the state, by operation: the first few and the rest; only WithUsage.", "operation")
	scopeRenewals         = desc("scope_renewals", "Renewals that this process began, by scope: the first few and the rest; only WithUsage.", "scope")
	scopeHits             = desc("scope_hits", "Calls of this process that the cache answered, by scope: the first few and the rest; only WithUsage.", "scope")
	operationRenewals     = desc("operation_renewals", "Renewals that this process began, by operation: the first few and the rest; only WithUsage.", "operation")
	operationRefusals     = desc("operation_refusals", "Refused calls of this process, by operation: the first few and the rest; only WithUsage.", "operation")
)

var descs = []*prometheus.Desc{calls, refusals, acquisitions, outcomes, used, limit, inProgress, waiting, cached, failures,
	nextAllowed, lastSuccess, expiry, exhaustion, confidence, level, brier, storeUp,
	shadow, candidateCalls, differences, candidateStarts,
	renewals, renewalUsed, renewalLimit, renewalFailures, nextRenewal, identities, unreplaced, lost,
	scopeAcquisitions, scopeRenewals, scopeRefusals, scopeHits, operationAcquisitions, operationRenewals, operationRefusals}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
	m.duration.Describe(ch)
	m.renewing.Describe(ch)
	m.events.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	guards := maps.Clone(m.guards)
	m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(guards)) {
		s := guards[name].Stats()
		collect(ch, name, s)
		m.collectUsage(ch, name, s.Usage)
	}
	m.duration.Collect(ch)
	m.renewing.Collect(ch)
	m.events.Collect(ch)
}

func collect(ch chan<- prometheus.Metric, guard string, s tokenguard.Stats) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, append([]string{guard}, labels...)...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) { send(d, prometheus.CounterValue, v, labels...) }
	gauge := func(d *prometheus.Desc, v float64, labels ...string) { send(d, prometheus.GaugeValue, v, labels...) }

	served := map[string]int64{"canceled": s.Calls.Left, "failed": s.Calls.Failed, "duplicate": 0, "refused": 0, "cache": 0, "personal": 0, "shared": 0, "fetched": 0, "renewed": 0}
	for _, reasons := range s.Calls.Answers {
		for reason, n := range reasons {
			switch reason {
			case tokenguard.ReasonCached:
				served["cache"] += n
			case tokenguard.ReasonPersonal:
				served["personal"] += n
			case tokenguard.ReasonJoined:
				served["shared"] += n
			case tokenguard.ReasonAcquired:
				served["fetched"] += n
			case tokenguard.ReasonRenewed:
				served["renewed"] += n
			case tokenguard.ReasonRequestFailed:
			case tokenguard.ReasonDuplicate:
				served["duplicate"] += n
				counter(refusals, float64(n), string(reason))
			default:
				served["refused"] += n
				counter(refusals, float64(n), string(reason))
			}
		}
	}
	for outcome, n := range served {
		counter(calls, float64(n), outcome)
	}
	counter(acquisitions, float64(s.Acquisitions.Successes), "success", "")
	for class, n := range s.Acquisitions.Failures {
		counter(acquisitions, float64(n), "failure", string(class))
	}
	for class, n := range s.Calls.Outcomes {
		counter(outcomes, float64(n), class)
	}
	for window, w := range map[string]tokenguard.WindowStats{"hour": s.Acquisitions.Hour, "day": s.Acquisitions.Day} {
		gauge(used, float64(w.Used), window)
		gauge(limit, float64(w.Limit), window)
	}
	gauge(inProgress, float64(s.Acquisitions.InProgress))
	gauge(waiting, float64(s.Calls.Waiting))
	gauge(cached, float64(s.Cache.Size))
	gauge(failures, float64(s.Limiter.ConsecutiveFailures))
	gauge(nextAllowed, next(s.Limiter))
	gauge(lastSuccess, unix(s.Acquisitions.LastSuccess))
	gauge(expiry, unix(s.Cache.Expiry))
	gauge(exhaustion, unix(s.Predictor.ExhaustedAt))
	gauge(confidence, s.Predictor.Confidence)
	for _, l := range []tokenguard.Level{tokenguard.LevelHigh, tokenguard.LevelMedium, tokenguard.LevelLow, tokenguard.LevelCritical, tokenguard.LevelExhausted, tokenguard.LevelUnknown} {
		gauge(level, number(s.Predictor.Level == l), string(l))
	}
	gauge(brier, s.Predictor.Accuracy.Brier)
	gauge(storeUp, number(s.Store.Error == ""))
	if re := s.Renewals; re != nil {
		counter(renewals, float64(re.Succeeded), "success", "")
		for class, n := range re.Failures {
			counter(renewals, float64(n), "failure", string(class))
		}
		gauge(renewalUsed, float64(re.Hour.Used), "hour")
		if re.Renews {
			gauge(renewalLimit, float64(re.Hour.Limit), "hour")
		}
		gauge(renewalFailures, float64(re.ConsecutiveFailures))
		gauge(nextRenewal, unix(re.Next))
		for state, n := range re.States {
			gauge(identities, float64(n), state)
		}
		gauge(unreplaced, float64(re.Unreplaced))
		counter(lost, float64(re.Ended), "ended")
		counter(lost, float64(re.Dropped), "dropped")
	}
	if sh := s.Shadow; sh != nil {
		counter(shadow, float64(sh.Served), "served")
		counter(shadow, float64(sh.Failed), "failed")
	}
	if c := s.Candidate; c != nil {
		counter(candidateCalls, float64(c.Stats.Calls.Served), "served")
		counter(candidateCalls, float64(c.Stats.Calls.Refused), "refused")
		counter(candidateCalls, float64(c.Stats.Calls.Failed), "failed")
		counter(differences, float64(c.Gained), "gained")
		counter(differences, float64(c.Lost), "lost")
		counter(candidateStarts, float64(c.Stats.Acquisitions.Attempts))
	}
}

// collectUsage shows the first few scopes and operations by name, and the others together.
func (m *Metrics) collectUsage(ch chan<- prometheus.Metric, guard string, u tokenguard.UsageStats) {
	if m.usage == 0 {
		return
	}
	type figure struct {
		desc *prometheus.Desc
		of   func(tokenguard.Usage) float64
	}
	acquired := func(u tokenguard.Usage) float64 { return float64(u.Acquisitions) }
	renewed := func(u tokenguard.Usage) float64 { return float64(u.Renewals) }
	refused := func(u tokenguard.Usage) float64 { return float64(u.Refused) }
	hits := func(u tokenguard.Usage) float64 { return float64(u.Hits) }
	for _, by := range []struct {
		all     []tokenguard.Usage
		figures []figure
	}{
		{u.Scopes, []figure{{scopeAcquisitions, acquired}, {scopeRenewals, renewed}, {scopeRefusals, refused}, {scopeHits, hits}}},
		{u.Operations, []figure{{operationAcquisitions, acquired}, {operationRenewals, renewed}, {operationRefusals, refused}}},
	} {
		for _, f := range by.figures {
			var rest float64
			send := func(name string, v float64) {
				ch <- prometheus.MustNewConstMetric(f.desc, prometheus.GaugeValue, v, guard, name)
			}
			for i, one := range by.all {
				if i < m.usage && !one.Rest {
					send(label(one.Name), f.of(one))
					continue
				}
				rest += f.of(one)
			}
			send("(rest)", rest)
		}
	}
}

// label is a name as the value of a label. One that would pass for the rest, or for no name, is quoted.
func label(name string) string {
	switch {
	case name == "":
		return "(none)"
	case name[0] == '(':
		return strconv.Quote(name)
	}
	return name
}

// unix is 0 for no time.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1e3
}

// next is +Inf where waiting alone changes nothing: a past instant would read as now.
func next(l tokenguard.LimiterStats) float64 {
	if l.NextAllowed.IsZero() {
		return math.Inf(1)
	}
	return unix(l.NextAllowed)
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
