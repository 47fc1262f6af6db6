package otelguard_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/metricsdoc"
	"github.com/tokenguard/tokenguard/otelguard"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

// one is a metric as a reader collected it.
type one struct {
	metricdata.Metrics
	kind   string
	points []string
	labels []attribute.Set
}

func collect(t *testing.T, s tokenguard.Stats, events ...tokenguard.Event) (out []one) {
	t.Helper()
	reader := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	observe, err := otelguard.Observer(provider)
	require.NoError(t, err)
	_, err = otelguard.Register(provider, &metricsdoc.Fixed{Is: s})
	require.NoError(t, err)
	for _, e := range events {
		observe(e)
	}
	var got metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &got))
	for _, m := range got.ScopeMetrics[0].Metrics {
		o := one{Metrics: m}
		switch d := m.Data.(type) {
		case metricdata.Sum[int64]:
			o.kind = "counter"
			if !d.IsMonotonic {
				o.kind = "up-down counter"
			}
			o.add(d.DataPoints)
		case metricdata.Gauge[int64]:
			o.kind = "gauge"
			o.add(d.DataPoints)
		case metricdata.Gauge[float64]:
			o.kind = "gauge"
			for _, p := range d.DataPoints {
				o.point(p.Attributes, p.Value)
			}
		case metricdata.Histogram[float64]:
			o.kind = "histogram"
			for _, p := range d.DataPoints {
				o.point(p.Attributes, p.Count)
			}
		default:
			t.Fatalf("%s is %T", m.Name, m.Data)
		}
		slices.Sort(o.points)
		out = append(out, o)
	}
	return out
}

func (o *one) add(points []metricdata.DataPoint[int64]) {
	for _, p := range points {
		o.point(p.Attributes, p.Value)
	}
}

func (o *one) point(labels attribute.Set, v any) {
	o.labels = append(o.labels, labels)
	o.points = append(o.points, fmt.Sprint(labels.Encoded(attribute.DefaultEncoder()), " ", v))
}

func points(all []one) map[string]string {
	out := map[string]string{}
	for _, o := range all {
		out[o.Name] = strings.Join(o.points, "\n")
	}
	return out
}

func TestReference(t *testing.T) {
	guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) { return tokenguard.Token{}, nil },
		metricsdoc.Options()...)
	require.NoError(t, err)
	defer guard.Close()
	base := guard.Stats()
	sources := metricsdoc.Sources(base, func(s tokenguard.Stats) map[string]string { return points(collect(t, s)) })
	events := metricsdoc.SourcesOfEvents(func(told []tokenguard.Event) map[string]string { return points(collect(t, base, told...)) })
	var told []tokenguard.Event
	for _, kind := range metricsdoc.Kinds {
		told = append(told, tokenguard.Event{Kind: kind, Guard: "default", Verdict: tokenguard.Verdict{Class: tokenguard.ClassTransient}})
	}
	var all []metricsdoc.Metric
	for _, o := range collect(t, base, told...) {
		m := metricsdoc.Metric{Name: o.Name, Kind: o.kind, Help: o.Description, Labels: map[string][]string{}, From: append(sources[o.Name], events[o.Name]...)}
		if o.Unit != "1" {
			m.Unit = "`" + o.Unit + "`"
		}
		for _, set := range o.labels {
			for _, kv := range set.ToSlice() {
				if kv.Key != "tokenguard.guard" && (o.kind != "histogram" || kv.Key != "error.type") {
					m.Labels[string(kv.Key)] = append(m.Labels[string(kv.Key)], kv.Value.AsString())
				}
			}
			if o.kind == "histogram" && set.HasValue("error.type") {
				for class := range base.Acquisitions.Failures {
					m.Labels["error.type"] = append(m.Labels["error.type"], string(class))
				}
			}
		}
		assert.NotEmpty(t, m.From, "%s shows nothing of Stats", m.Name)
		all = append(all, m)
	}
	metricsdoc.Check(t, "../docs/metrics.md", "otelguard", metricsdoc.Markdown(all), *update)
}
