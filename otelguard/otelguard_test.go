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
	c, n, renewals := &clock{time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}, 0, 0
	guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		c.now = c.now.Add(2 * time.Second)
		if n++; n == 1 {
			return tokenguard.Token{}, errors.New("503 service unavailable")
		}
		return tokenguard.NewTokenIn(secret, time.Hour).WithRefreshToken("a refresh token", time.Time{}), nil
	}, tokenguard.WithClock(c), tokenguard.WithObserver(observe), tokenguard.WithRenewal(func(context.Context, tokenguard.Token) (tokenguard.Token, error) {
		c.now = c.now.Add(time.Second)
		if renewals++; renewals == 1 {
			return tokenguard.Token{}, errors.New("503 service unavailable")
		}
		return tokenguard.NewTokenIn("the next "+secret, time.Hour), nil
	}))
	require.NoError(t, err)
	defer guard.Close()
	registration, err := otelguard.Register(provider, guard)
	require.NoError(t, err)

	for range 2 {
		_, err = guard.Token(t.Context())
		require.Error(t, err)
	}
	c.now = c.now.Add(10 * time.Minute)
	for _, later := range []time.Duration{0, 56 * time.Minute, 10 * time.Second} { // a renewal fails, the next does not
		c.now = c.now.Add(later)
		_, err = guard.Token(t.Context())
		require.NoError(t, err)
	}

	var got metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &got))
	require.Len(t, got.ScopeMetrics, 1)
	assert.Equal(t, "github.com/tokenguard/tokenguard/otelguard", got.ScopeMetrics[0].Scope.Name)
	values := map[string]int64{}
	took := map[string]metricdata.Histogram[float64]{}
	for _, m := range got.ScopeMetrics[0].Metrics {
		switch d := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range d.DataPoints {
				label, ok := p.Attributes.Value("tokenguard.reason")
				if !ok {
					label, _ = p.Attributes.Value("tokenguard.state")
				}
				if class, ok := p.Attributes.Value("error.type"); ok && m.Name == "tokenguard.renewals" {
					label = class
				}
				values[m.Name+" "+label.AsString()] += p.Value
			}
		case metricdata.Gauge[int64]:
			for _, p := range d.DataPoints {
				window, _ := p.Attributes.Value("tokenguard.window")
				values[m.Name+" "+window.AsString()] += p.Value
			}
		case metricdata.Histogram[float64]:
			took[m.Name] = d
		}
	}
	for name, want := range map[string]int64{
		"tokenguard.calls acquired": 1, "tokenguard.calls backoff": 1, "tokenguard.calls request_failed": 1, "tokenguard.calls cached": 1,
		"tokenguard.acquisitions ": 2, "tokenguard.acquisition.used day": 2, "tokenguard.acquisition.limit day": 20,
		"tokenguard.store.up ": 1, "tokenguard.predictor.level ": 1,
		"tokenguard.calls renewed": 1, "tokenguard.renewals ": 1, "tokenguard.renewals transient": 1, "tokenguard.renewals unknown": 0,
		"tokenguard.renewal.used hour": 2, "tokenguard.renewal.limit hour": 60, "tokenguard.renewal.consecutive_failures ": 0,
		"tokenguard.identities living": 1, "tokenguard.identities ended": 0, "tokenguard.unreplaced_identities ": 0,
		"tokenguard.lost_identities ended": 0, "tokenguard.lost_identities dropped": 0,
	} {
		v, ok := values[name]
		assert.True(t, ok, name)
		assert.Equal(t, want, v, name)
	}
	for name, seconds := range map[string]float64{"tokenguard.acquisition.duration": 2, "tokenguard.renewal.duration": 1} {
		require.Len(t, took[name].DataPoints, 2, "a success and a failure")
		for _, p := range took[name].DataPoints {
			assert.InDelta(t, seconds, p.Sum, 1e-9)
		}
	}
	assert.NotContains(t, fmt.Sprint(got), secret)

	require.NoError(t, registration.Unregister())
	got = metricdata.ResourceMetrics{}
	require.NoError(t, reader.Collect(t.Context(), &got))
	for _, m := range got.ScopeMetrics[0].Metrics {
		assert.Contains(t, []string{"tokenguard.acquisition.duration", "tokenguard.renewal.duration", "tokenguard.warnings"}, m.Name, "the others went with the registration")
	}
}
