package otelguard_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/otelguard"
)

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

const secret = "an anonymous secret"

func TestFigures(t *testing.T) {
	reader := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	observe, err := otelguard.Observer(provider)
	require.NoError(t, err)
	c, n := &clock{time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}, 0
	guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		c.now = c.now.Add(2 * time.Second)
		if n++; n == 1 {
			return tokenguard.Token{}, errors.New("503 service unavailable")
		}
		return tokenguard.NewTokenIn(secret, time.Hour), nil
	}, tokenguard.WithClock(c), tokenguard.WithObserver(observe))
	require.NoError(t, err)
	defer guard.Close()
	registration, err := otelguard.Register(provider, guard)
	require.NoError(t, err)

	for range 2 {
		_, err = guard.Token(t.Context())
		require.Error(t, err)
	}
	c.now = c.now.Add(10 * time.Minute)
	_, err = guard.Token(t.Context())
	require.NoError(t, err)

	var got metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &got))
	require.Len(t, got.ScopeMetrics, 1)
	assert.Equal(t, "github.com/tokenguard/tokenguard/otelguard", got.ScopeMetrics[0].Scope.Name)
	values := map[string]int64{}
	var took metricdata.Histogram[float64]
	for _, m := range got.ScopeMetrics[0].Metrics {
		switch d := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range d.DataPoints {
				reason, _ := p.Attributes.Value("tokenguard.reason")
				values[m.Name+" "+reason.AsString()] += p.Value
			}
		case metricdata.Gauge[int64]:
			for _, p := range d.DataPoints {
				window, _ := p.Attributes.Value("tokenguard.window")
				values[m.Name+" "+window.AsString()] += p.Value
			}
		case metricdata.Histogram[float64]:
			took = d
		}
	}
	for name, want := range map[string]int64{
		"tokenguard.calls acquired": 1, "tokenguard.calls backoff": 1, "tokenguard.calls request_failed": 1, "tokenguard.calls cached": 0,
		"tokenguard.acquisitions ": 2, "tokenguard.acquisition.used hour": 2, "tokenguard.acquisition.limit day": 20,
		"tokenguard.store.up ": 1, "tokenguard.predictor.level ": 1,
	} {
		v, ok := values[name]
		assert.True(t, ok, name)
		assert.Equal(t, want, v, name)
	}
	require.Len(t, took.DataPoints, 2, "a success and a failure")
	for _, p := range took.DataPoints {
		assert.InDelta(t, 2, p.Sum, 1e-9)
	}
	assert.NotContains(t, fmt.Sprint(got), secret)

	require.NoError(t, registration.Unregister())
	got = metricdata.ResourceMetrics{}
	require.NoError(t, reader.Collect(t.Context(), &got))
	for _, m := range got.ScopeMetrics[0].Metrics {
		assert.Contains(t, []string{"tokenguard.acquisition.duration", "tokenguard.warnings"}, m.Name, "the others went with the registration")
	}
}
