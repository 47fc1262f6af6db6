// Package otelguard shows a guard to OpenTelemetry. It needs the API alone; the SDK is the program's choice.
//
// The names take their shape from the stable aspnetcore.rate_limiting metrics: a counter of calls by outcome, an
// up-down counter of waiting ones, a histogram of durations. No attribute holds a scope, a caller or a token.
package otelguard

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/tokenguard/tokenguard"
)

// scope is the instrumentation scope: the import path.
const scope = "github.com/tokenguard/tokenguard/otelguard"

// Observer returns a function for tokenguard.WithObserver that records how long acquisitions took.
func Observer(provider metric.MeterProvider) (func(tokenguard.Event), error) {
	took, err := provider.Meter(scope).Float64Histogram("tokenguard.acquisition.duration",
		metric.WithUnit("s"), metric.WithDescription("How long started acquisitions took."),
		metric.WithExplicitBucketBoundaries(.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60))
	if err != nil {
		return nil, err
	}
	return func(e tokenguard.Event) {
		result := ""
		switch e.Kind {
		case tokenguard.EventAcquired:
			result = "success"
		case tokenguard.EventFailed:
			result = "failure"
		default:
			return
		}
		took.Record(context.Background(), e.Took.Seconds(), metric.WithAttributes(
			attribute.String("tokenguard.guard", e.Guard), attribute.String("tokenguard.result", result),
			attribute.String("error.type", string(e.Verdict.Class))))
	}, nil
}

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
	}, i.calls, i.acquisitions, i.outcomes, i.waiting, i.used, i.limit, i.failures, i.next, i.confidence, i.level, i.store)
}

type instruments struct {
	calls, acquisitions, outcomes metric.Int64ObservableCounter
	waiting                       metric.Int64ObservableUpDownCounter
	used, limit, failures, level  metric.Int64ObservableGauge
	store                         metric.Int64ObservableGauge
	next, confidence              metric.Float64ObservableGauge
}

func (i *instruments) make(m metric.Meter) (err error) {
	counter := func(to *metric.Int64ObservableCounter, name, unit, help string) {
		if err == nil {
			*to, err = m.Int64ObservableCounter("tokenguard."+name, metric.WithUnit(unit), metric.WithDescription(help))
		}
	}
	gauge := func(to *metric.Int64ObservableGauge, name, unit, help string) {
		if err == nil {
			*to, err = m.Int64ObservableGauge("tokenguard."+name, metric.WithUnit(unit), metric.WithDescription(help))
		}
	}
	counter(&i.calls, "calls", "{call}", "Calls of this process by step and reason.")
	counter(&i.acquisitions, "acquisitions", "{acquisition}", "Acquisitions that ended, in the shared state, by result and class.")
	counter(&i.outcomes, "outcomes", "{call}", "Reported outcomes of calls made with credentials, by class.")
	gauge(&i.used, "acquisitions.used", "{acquisition}", "Starts that count in the window now.")
	gauge(&i.limit, "acquisitions.limit", "{acquisition}", "Starts that the window permits.")
	gauge(&i.failures, "consecutive_failures", "{acquisition}", "Failed acquisitions in a row.")
	gauge(&i.level, "predictor.level", "1", "1 for the level that the predictor reads now.")
	gauge(&i.store, "store.up", "1", "1 if the state store answered.")
	if err == nil {
		i.waiting, err = m.Int64ObservableUpDownCounter("tokenguard.calls.waiting", metric.WithUnit("{call}"),
			metric.WithDescription("Calls of this process that wait for an acquisition."))
	}
	if err == nil {
		i.next, err = m.Float64ObservableGauge("tokenguard.next_allowed.timestamp", metric.WithUnit("s"),
			metric.WithDescription("When the next acquisition may start, in Unix time."))
	}
	if err == nil {
		i.confidence, err = m.Float64ObservableGauge("tokenguard.predictor.confidence", metric.WithUnit("1"),
			metric.WithDescription("Confidence of the predictor's level."))
	}
	return err
}

func (i *instruments) observe(o metric.Observer, s tokenguard.Stats) {
	guard := attribute.String("tokenguard.guard", s.Guard)
	with := func(kv ...attribute.KeyValue) metric.ObserveOption {
		return metric.WithAttributes(append([]attribute.KeyValue{guard}, kv...)...)
	}
	for step, reasons := range s.Calls.Answers {
		for reason, n := range reasons {
			o.ObserveInt64(i.calls, n, with(attribute.String("tokenguard.step", string(step)), attribute.String("tokenguard.reason", string(reason))))
		}
	}
	o.ObserveInt64(i.acquisitions, int64(s.Acquisitions.Successes), with(attribute.String("tokenguard.result", "success")))
	for class, n := range s.Acquisitions.Failures {
		o.ObserveInt64(i.acquisitions, int64(n), with(attribute.String("tokenguard.result", "failure"), attribute.String("error.type", string(class))))
	}
	for class, n := range s.Calls.Outcomes {
		o.ObserveInt64(i.outcomes, n, with(attribute.String("tokenguard.class", class)))
	}
	o.ObserveInt64(i.waiting, s.Calls.Waiting, with())
	for window, w := range map[string]tokenguard.WindowStats{"hour": s.Acquisitions.Hour, "day": s.Acquisitions.Day} {
		o.ObserveInt64(i.used, int64(w.Used), with(attribute.String("tokenguard.window", window)))
		o.ObserveInt64(i.limit, int64(w.Limit), with(attribute.String("tokenguard.window", window)))
	}
	o.ObserveInt64(i.failures, int64(s.Limiter.ConsecutiveFailures), with())
	o.ObserveFloat64(i.next, float64(s.Limiter.NextAllowed.UnixMilli())/1e3, with())
	o.ObserveFloat64(i.confidence, s.Predictor.Confidence, with())
	o.ObserveInt64(i.level, 1, with(attribute.String("tokenguard.level", string(s.Predictor.Level))))
	up := int64(1)
	if s.Store.Error != "" {
		up = 0
	}
	o.ObserveInt64(i.store, up, with())
}
