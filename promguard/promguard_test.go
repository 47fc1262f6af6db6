package promguard_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/promguard"
)

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

const secret = "an anonymous secret"

// lived is a collector over a guard that has lived a little: a failure, a refusal, a success, hits, a report.
func lived(t *testing.T) *promguard.Metrics {
	t.Helper()
	m, c, n := promguard.New(), &clock{time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}, 0
	guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		c.now = c.now.Add(2 * time.Second)
		if n++; n == 1 {
			return tokenguard.Token{}, errors.New("503 service unavailable")
		}
		return tokenguard.NewTokenIn(secret, time.Hour), nil
	}, tokenguard.WithClock(c), tokenguard.WithObserver(m.Observe))
	require.NoError(t, err)
	t.Cleanup(func() { _ = guard.Close() })
	m.Add("default", guard)
	ctx := t.Context()
	for range 2 {
		_, err = guard.Token(ctx)
		require.Error(t, err)
	}
	c.now = c.now.Add(10 * time.Minute)
	for range 3 {
		token, err := guard.Token(ctx)
		require.NoError(t, err)
		require.NoError(t, guard.Report(ctx, tokenguard.Outcome{TokenID: token.ID(), Latency: time.Second}))
	}
	return m
}

func gather(t *testing.T, m *promguard.Metrics) (text string, names map[string]bool) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(m))
	families, err := registry.Gather()
	require.NoError(t, err)
	names = map[string]bool{}
	var b strings.Builder
	for _, f := range families {
		names[f.GetName()] = true
		b.WriteString(f.String() + "\n")
	}
	return b.String(), names
}

func TestLint(t *testing.T) {
	problems, err := testutil.CollectAndLint(lived(t))
	require.NoError(t, err)
	assert.Empty(t, problems)
}

func TestFigures(t *testing.T) {
	m := lived(t)
	assert.NoError(t, testutil.CollectAndCompare(m, strings.NewReader(`
# HELP tokenguard_calls_total Calls of this process, by outcome: the funnel.
# TYPE tokenguard_calls_total counter
tokenguard_calls_total{guard="default",outcome="cache"} 2
tokenguard_calls_total{guard="default",outcome="canceled"} 0
tokenguard_calls_total{guard="default",outcome="duplicate"} 0
tokenguard_calls_total{guard="default",outcome="failed"} 1
tokenguard_calls_total{guard="default",outcome="fetched"} 1
tokenguard_calls_total{guard="default",outcome="personal"} 0
tokenguard_calls_total{guard="default",outcome="refused"} 1
tokenguard_calls_total{guard="default",outcome="renewed"} 0
tokenguard_calls_total{guard="default",outcome="shared"} 0
# HELP tokenguard_acquisition_used Starts that count in the window now.
# TYPE tokenguard_acquisition_used gauge
tokenguard_acquisition_used{guard="default",window="day"} 2
tokenguard_acquisition_used{guard="default",window="hour"} 2
# HELP tokenguard_predictor_level 1 for the level that the predictor reads now, 0 for the others.
# TYPE tokenguard_predictor_level gauge
tokenguard_predictor_level{guard="default",level="critical"} 0
tokenguard_predictor_level{guard="default",level="exhausted"} 0
tokenguard_predictor_level{guard="default",level="high"} 1
tokenguard_predictor_level{guard="default",level="low"} 0
tokenguard_predictor_level{guard="default",level="medium"} 0
tokenguard_predictor_level{guard="default",level="unknown"} 0
`), "tokenguard_calls_total", "tokenguard_acquisition_used", "tokenguard_predictor_level"))
	text, _ := gather(t, m)
	assert.NotContains(t, text, secret)
	assert.NotContains(t, text, "_tokens_total", "that reads as tokens of a language model")
	assert.Contains(t, text, "tokenguard_acquisition_duration_seconds")
}

// Every label value exists before anything happened.
func TestZeroFromTheStart(t *testing.T) {
	m := promguard.New()
	guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) { return tokenguard.Token{}, nil })
	require.NoError(t, err)
	defer guard.Close()
	m.Add("default", guard)
	_, before := gather(t, m)
	_, after := gather(t, lived(t))
	assert.Equal(t, after, before)
	assert.Equal(t, testutil.CollectAndCount(lived(t)), testutil.CollectAndCount(m))
}

var metricName = regexp.MustCompile(`tokenguard_[a-z_]+`)

// Every metric that the dashboard and the alert rules name exists.
func TestShippedNamesExist(t *testing.T) {
	_, names := gather(t, lived(t))
	for _, path := range []string{"../deploy/grafana/tokenguard.json", "../deploy/prometheus/tokenguard.rules.yml"} {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		found := metricName.FindAllString(string(b), -1)
		assert.NotEmpty(t, found, path)
		for _, name := range found {
			base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count"), "_sum")
			assert.True(t, names[name] || names[base], "%s names %s", filepath.Base(path), name)
		}
		if filepath.Ext(path) == ".json" {
			assert.True(t, json.Valid(b), path)
		}
	}
}

// promtool, from Debian's prometheus, reads the rules.
func TestRulesAreValid(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIP: no promtool here: install Debian's package prometheus")
	}
	out, err := exec.Command(promtool, "check", "rules", "../deploy/prometheus/tokenguard.rules.yml").CombinedOutput()
	assert.NoError(t, err, string(out))
}
