// Package otelguard shows a guard to OpenTelemetry. It needs the API alone; the SDK is the program's choice.
//
//	observe, err := otelguard.Observer(provider)
//	guard, err := tokenguard.New(fetch, tokenguard.WithObserver(observe))
//	registration, err := otelguard.Register(provider, guard)
//
// The names take their shape from the stable aspnetcore.rate_limiting metrics: a counter of calls by outcome, an
// up-down counter of waiting ones, a histogram of durations. No attribute holds a scope, a caller or a token.
// docs/metrics.md lists them all.
//
// Spans are of what is sent, acquisitions, renewals and requests through a guardhttp.Transport:
//
//	spans := otelguard.NewSpans(tracing, "shop")
//	guard, err := tokenguard.New(spans.Request(fetch), tokenguard.WithName("shop"), tokenguard.WithRenewal(spans.Renewal(renew)))
//	client := &http.Client{Transport: spans.Transport(transport)}
//
// They hold the token's ID and the masked scope, never a value or the text of an error.
package otelguard

import (
	"context"
	"math"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/tokenguard/tokenguard"
)

// scope is the instrumentation scope: the import path.
const scope = "github.com/tokenguard/tokenguard/otelguard"

// Observer returns a function for tokenguard.WithObserver that records how long acquisitions and renewals took, and counts
// warnings.
func Observer(provider metric.MeterProvider) (func(tokenguard.Event), error) {
	m := provider.Meter(scope)
	took, err := m.Float64Histogram("tokenguard.acquisition.duration",
		metric.WithUnit("s"), metric.WithDescription("How long started acquisitions took, by result and class of failure."),
		metric.WithExplicitBucketBoundaries(.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60))
	if err != nil {
		return nil, err
	}
	renewing, err := m.Float64Histogram("tokenguard.renewal.duration",
		metric.WithUnit("s"), metric.WithDescription("How long started renewals took, by result and class of failure."),
		metric.WithExplicitBucketBoundaries(.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60))
	if err != nil {
		return nil, err
	}
	warnings, err := m.Int64Counter("tokenguard.warnings", metric.WithUnit("{warning}"),
		metric.WithDescription("Early warnings that a token or a budget is forecast to run out, and reports of a damaged or lost state."))
	if err != nil {
		return nil, err
	}
	return func(e tokenguard.Event) {
		ctx, guard := context.Background(), attribute.String("tokenguard.guard", e.Guard)
		switch e.Kind {
		case tokenguard.EventAcquired:
			took.Record(ctx, e.Took.Seconds(), metric.WithAttributes(guard, success))
		case tokenguard.EventFailed:
			took.Record(ctx, e.Took.Seconds(), metric.WithAttributes(guard, failure, errorType(string(e.Verdict.Class))))
		case tokenguard.EventRenewed:
			renewing.Record(ctx, e.Took.Seconds(), metric.WithAttributes(guard, success))
		case tokenguard.EventRenewalFailed:
			renewing.Record(ctx, e.Took.Seconds(), metric.WithAttributes(guard, failure, errorType(string(e.Verdict.Class))))
		case tokenguard.EventWarning, tokenguard.EventState:
			warnings.Add(ctx, int64(1+e.Repeats), metric.WithAttributes(guard, attribute.String("tokenguard.kind", string(e.Kind))))
		}
	}, nil
}

var (
	success = attribute.String("tokenguard.result", "success")
	failure = attribute.String("tokenguard.result", "failure")
)

func errorType(class string) attribute.KeyValue { return attribute.String("error.type", class) }

// Source is what a guard gives.
type Source interface{ Stats() tokenguard.Stats }

// Register observes the guard's figures at each collection, from one Stats, until Unregister is called on what it
// returns.
func Register(provider metric.MeterProvider, guard Source) (metric.Registration, error) {
	m := provider.Meter(scope)
	var i instruments
	if err := i.make(m); err != nil {
		return nil, err
	}
	return m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		i.observe(o, guard.Stats())
		return nil
	}, i.all...)
}

type instruments struct {
	calls, acquisitions, outcomes                metric.Int64ObservableCounter
	shadow                                       metric.Int64ObservableCounter
	candidateCalls, differences, candidateStarts metric.Int64ObservableCounter // of a candidate
	renewals, lost                               metric.Int64ObservableCounter
	waiting, active, cached                      metric.Int64ObservableUpDownCounter
	identities, unreplaced                       metric.Int64ObservableUpDownCounter
	used, limit, failures, level, up             metric.Int64ObservableGauge
	renewalUsed, renewalLimit, renewalFailures   metric.Int64ObservableGauge
	next, last, expiry, exhaustion, nextRenewal  metric.Float64ObservableGauge
	confidence, brier                            metric.Float64ObservableGauge

	all []metric.Observable
}

func (i *instruments) make(m metric.Meter) (err error) {
	counter := func(to *metric.Int64ObservableCounter, name, unit, help string) {
		if err == nil {
			*to, err = m.Int64ObservableCounter("tokenguard."+name, metric.WithUnit(unit), metric.WithDescription(help))
			i.all = append(i.all, *to)
		}
	}
	current := func(to *metric.Int64ObservableUpDownCounter, name, unit, help string) {
		if err == nil {
			*to, err = m.Int64ObservableUpDownCounter("tokenguard."+name, metric.WithUnit(unit), metric.WithDescription(help))
			i.all = append(i.all, *to)
		}
	}
	gauge := func(to *metric.Int64ObservableGauge, name, unit, help string) {
		if err == nil {
			*to, err = m.Int64ObservableGauge("tokenguard."+name, metric.WithUnit(unit), metric.WithDescription(help))
			i.all = append(i.all, *to)
		}
	}
	float := func(to *metric.Float64ObservableGauge, name, unit, help string) {
		if err == nil {
			*to, err = m.Float64ObservableGauge("tokenguard."+name, metric.WithUnit(unit), metric.WithDescription(help))
			i.all = append(i.all, *to)
		}
	}
	counter(&i.calls, "calls", "{call}", "Calls of this process, by step and reason of the answer.")
	counter(&i.acquisitions, "acquisitions", "{acquisition}", "Started acquisitions that ended, in the shared state since it was made, by result and class of failure.")
	counter(&i.outcomes, "outcomes", "{call}", "Outcomes of calls made with tokens, reported to this process, by result and class of failure.")
	counter(&i.shadow, "shadow.calls", "{call}", "Calls of this process that shadow mode passed on in place of a refusal, by result; only in shadow mode.")
	counter(&i.candidateCalls, "candidate.calls", "{call}", "Calls of this process as the candidate configuration would have answered them, by step and reason; only with a candidate.")
	counter(&i.differences, "candidate.differences", "{call}", "Calls of this process that the candidate would have served and that were not (gained), and the reverse (lost); only with a candidate.")
	counter(&i.candidateStarts, "candidate.acquisitions", "{acquisition}", "Acquisitions that the candidate would have started, in its shared state since it was made; only with a candidate.")
	counter(&i.renewals, "renewals", "{renewal}", "Started renewals that ended, in the shared state since it was made, by result and class of failure; only where accounts are renewed.")
	counter(&i.lost, "lost_identities", "{identity}", "Accounts that ended, and accounts for which the state had no room (dropped), since the state was made; only where accounts are renewed.")
	current(&i.identities, "identities", "{identity}", "Accounts that the state knows, by what can be done with them; only where accounts are renewed.")
	current(&i.unreplaced, "unreplaced_identities", "{identity}", "Accounts that ended or expired while no other has come in their place, without those that were cleared; only where accounts are renewed.")
	current(&i.waiting, "waiting_calls", "{call}", "Calls of this process that wait for an acquisition.")
	current(&i.active, "active_acquisitions", "{acquisition}", "Acquisitions in progress over the store.")
	current(&i.cached, "tokens", "{token}", "Tokens in the cache.")
	gauge(&i.used, "acquisition.used", "{acquisition}", "Acquisitions that count in the window now.")
	gauge(&i.limit, "acquisition.limit", "{acquisition}", "Acquisitions that the window permits.")
	gauge(&i.failures, "consecutive_failures", "{acquisition}", "Failed acquisitions in a row.")
	gauge(&i.renewalUsed, "renewal.used", "{renewal}", "Renewals that count in the window now; only where accounts are renewed.")
	gauge(&i.renewalLimit, "renewal.limit", "{renewal}", "Renewals that the window permits; only of a process that renews.")
	gauge(&i.renewalFailures, "renewal.consecutive_failures", "{renewal}", "Failed renewals in a row, of the account that has the most; only where accounts are renewed.")
	gauge(&i.level, "predictor.level", "1", "1 for the level that the predictor reads now, 0 for the others.")
	gauge(&i.up, "store.up", "1", "1 if the state store answered this collection.")
	float(&i.next, "next_allowed.timestamp", "s", "Unix time at which the next acquisition may start, by every rule; not in the future: now; +Inf: waiting alone changes nothing.")
	float(&i.last, "last_success.timestamp", "s", "Unix time at which the newest token was acquired; 0: none is known.")
	float(&i.expiry, "token.expiry.timestamp", "s", "Unix time at which the last usable token expires; 0: none is usable.")
	float(&i.exhaustion, "predicted_exhaustion.timestamp", "s", "Unix time at which the newest token's quota is forecast to run out; 0: no forecast.")
	float(&i.nextRenewal, "next_renewal.timestamp", "s", "Unix time at which the next renewal is due; not in the future: with the next call; 0: none is; only where accounts are renewed.")
	float(&i.confidence, "predictor.confidence", "1", "Confidence of the predictor's level, from 0 to 1.")
	float(&i.brier, "predictor.brier", "1", "Mean squared error of the predictor's forecasts, from 0 (perfect) to 1.")
	return err
}

func (i *instruments) observe(o metric.Observer, s tokenguard.Stats) {
	guard := attribute.String("tokenguard.guard", s.Guard)
	with := func(kv ...attribute.KeyValue) metric.ObserveOption {
		return metric.WithAttributes(append([]attribute.KeyValue{guard}, kv...)...)
	}
	answers := func(to metric.Int64Observable, c tokenguard.CallStats) {
		for step, reasons := range c.Answers {
			for reason, n := range reasons {
				o.ObserveInt64(to, n, with(attribute.String("tokenguard.step", string(step)), attribute.String("tokenguard.reason", string(reason))))
			}
		}
	}
	answers(i.calls, s.Calls)
	if re := s.Renewals; re != nil {
		o.ObserveInt64(i.renewals, int64(re.Succeeded), with(success))
		for class, n := range re.Failures {
			o.ObserveInt64(i.renewals, int64(n), with(failure, errorType(string(class))))
		}
		o.ObserveInt64(i.renewalUsed, int64(re.Hour.Used), with(attribute.String("tokenguard.window", "hour")))
		if re.Renews {
			o.ObserveInt64(i.renewalLimit, int64(re.Hour.Limit), with(attribute.String("tokenguard.window", "hour")))
		}
		o.ObserveInt64(i.renewalFailures, int64(re.ConsecutiveFailures), with())
		o.ObserveFloat64(i.nextRenewal, unix(re.Next), with())
		for state, n := range re.States {
			o.ObserveInt64(i.identities, int64(n), with(attribute.String("tokenguard.state", state)))
		}
		o.ObserveInt64(i.unreplaced, int64(re.Unreplaced), with())
		o.ObserveInt64(i.lost, int64(re.Ended), with(attribute.String("tokenguard.reason", "ended")))
		o.ObserveInt64(i.lost, int64(re.Dropped), with(attribute.String("tokenguard.reason", "dropped")))
	}
	if sh := s.Shadow; sh != nil {
		o.ObserveInt64(i.shadow, sh.Served, with(success))
		o.ObserveInt64(i.shadow, sh.Failed, with(failure))
	}
	if c := s.Candidate; c != nil {
		answers(i.candidateCalls, c.Stats.Calls)
		o.ObserveInt64(i.differences, c.Gained, with(attribute.String("tokenguard.difference", "gained")))
		o.ObserveInt64(i.differences, c.Lost, with(attribute.String("tokenguard.difference", "lost")))
		o.ObserveInt64(i.candidateStarts, int64(c.Stats.Acquisitions.Attempts), with())
	}
	o.ObserveInt64(i.calls, s.Calls.Left, with(attribute.String("tokenguard.reason", "canceled")))
	o.ObserveInt64(i.acquisitions, int64(s.Acquisitions.Successes), with(success))
	for class, n := range s.Acquisitions.Failures {
		o.ObserveInt64(i.acquisitions, int64(n), with(failure, errorType(string(class))))
	}
	for class, n := range s.Calls.Outcomes {
		result := with(failure, errorType(class))
		if class == "success" {
			result = with(success)
		}
		o.ObserveInt64(i.outcomes, n, result)
	}
	for window, w := range map[string]tokenguard.WindowStats{"hour": s.Acquisitions.Hour, "day": s.Acquisitions.Day} {
		o.ObserveInt64(i.used, int64(w.Used), with(attribute.String("tokenguard.window", window)))
		o.ObserveInt64(i.limit, int64(w.Limit), with(attribute.String("tokenguard.window", window)))
	}
	o.ObserveInt64(i.waiting, s.Calls.Waiting, with())
	o.ObserveInt64(i.active, int64(s.Acquisitions.InProgress), with())
	o.ObserveInt64(i.cached, int64(s.Cache.Size), with())
	o.ObserveInt64(i.failures, int64(s.Limiter.ConsecutiveFailures), with())
	for _, l := range []tokenguard.Level{tokenguard.LevelHigh, tokenguard.LevelMedium, tokenguard.LevelLow, tokenguard.LevelCritical, tokenguard.LevelExhausted, tokenguard.LevelUnknown} {
		o.ObserveInt64(i.level, number(s.Predictor.Level == l), with(attribute.String("tokenguard.level", string(l))))
	}
	o.ObserveInt64(i.up, number(s.Store.Error == ""), with())
	o.ObserveFloat64(i.next, next(s.Limiter), with())
	o.ObserveFloat64(i.last, unix(s.Acquisitions.LastSuccess), with())
	o.ObserveFloat64(i.expiry, unix(s.Cache.Expiry), with())
	o.ObserveFloat64(i.exhaustion, unix(s.Predictor.ExhaustedAt), with())
	o.ObserveFloat64(i.confidence, s.Predictor.Confidence, with())
	o.ObserveFloat64(i.brier, s.Predictor.Accuracy.Brier, with())
}

// next is +Inf where waiting alone changes nothing: a past instant would read as now.
func next(l tokenguard.LimiterStats) float64 {
	if l.NextAllowed.IsZero() {
		return math.Inf(1)
	}
	return unix(l.NextAllowed)
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// unix is 0 for no time.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1e3
}
