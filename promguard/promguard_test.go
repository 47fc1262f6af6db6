package promguard_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	"github.com/tokenguard/tokenguard/internal/metricsdoc"
	"github.com/tokenguard/tokenguard/promguard"
)

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

const secret = "an anonymous secret"

func renew(context.Context, tokenguard.Token) (tokenguard.Token, error) {
	return tokenguard.NewTokenIn("the next "+secret, time.Hour), nil
}

// lived is a collector over a guard that has lived a little: a failure, a refusal, a success, hits, a report, a renewal
// that failed and one that did not.
func lived(t *testing.T, opts ...promguard.Option) *promguard.Metrics {
	t.Helper()
	m, c, n, renewals := promguard.New(opts...), &clock{time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}, 0, 0
	guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		c.now = c.now.Add(2 * time.Second)
		if n++; n == 1 {
			return tokenguard.Token{}, errors.New("503 service unavailable")
		}
		return tokenguard.NewTokenIn(secret, time.Hour).WithRefreshToken("a refresh token", time.Time{}), nil
	}, tokenguard.WithClock(c), tokenguard.WithObserver(m.Observe), tokenguard.WithRenewal(func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
		c.now = c.now.Add(2 * time.Second)
		if renewals++; renewals == 1 {
			return tokenguard.Token{}, errors.New("503 service unavailable")
		}
		return renew(ctx, old)
	}))
	require.NoError(t, err)
	t.Cleanup(func() { _ = guard.Close() })
	m.Add(guard)
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
	c.now = c.now.Add(56 * time.Minute)
	for range 2 {
		token, err := guard.Token(ctx)
		require.NoError(t, err)
		require.NoError(t, guard.Report(ctx, tokenguard.Outcome{TokenID: token.ID(), Latency: time.Second}))
		c.now = c.now.Add(10 * time.Second)
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
tokenguard_calls_total{guard="default",outcome="cache"} 3
tokenguard_calls_total{guard="default",outcome="canceled"} 0
tokenguard_calls_total{guard="default",outcome="duplicate"} 0
tokenguard_calls_total{guard="default",outcome="failed"} 1
tokenguard_calls_total{guard="default",outcome="fetched"} 1
tokenguard_calls_total{guard="default",outcome="personal"} 0
tokenguard_calls_total{guard="default",outcome="refused"} 1
tokenguard_calls_total{guard="default",outcome="renewed"} 1
tokenguard_calls_total{guard="default",outcome="shared"} 0
# HELP tokenguard_acquisition_used Acquisitions that count in the window now.
# TYPE tokenguard_acquisition_used gauge
tokenguard_acquisition_used{guard="default",window="day"} 2
tokenguard_acquisition_used{guard="default",window="hour"} 1
# HELP tokenguard_renewals_total Started renewals that ended, in the shared state since it was made, by result and class of failure; only where accounts are renewed.
# TYPE tokenguard_renewals_total counter
tokenguard_renewals_total{class="",guard="default",result="success"} 1
tokenguard_renewals_total{class="auth_invalid",guard="default",result="failure"} 0
tokenguard_renewals_total{class="client_error",guard="default",result="failure"} 0
tokenguard_renewals_total{class="forbidden",guard="default",result="failure"} 0
tokenguard_renewals_total{class="quota_exhausted",guard="default",result="failure"} 0
tokenguard_renewals_total{class="rate_limited",guard="default",result="failure"} 0
tokenguard_renewals_total{class="transient",guard="default",result="failure"} 1
tokenguard_renewals_total{class="unknown",guard="default",result="failure"} 0
# HELP tokenguard_renewal_used Renewals that count in the window now; only where accounts are renewed.
# TYPE tokenguard_renewal_used gauge
tokenguard_renewal_used{guard="default",window="hour"} 2
# HELP tokenguard_next_renewal_timestamp_seconds When the next renewal is due; not in the future: with the next call; 0: none is; only where accounts are renewed.
# TYPE tokenguard_next_renewal_timestamp_seconds gauge
tokenguard_next_renewal_timestamp_seconds{guard="default"} 1.767276076e+09
# HELP tokenguard_identities Accounts that the state knows, by what can be done with them; only where accounts are renewed.
# TYPE tokenguard_identities gauge
tokenguard_identities{guard="default",state="backing_off"} 0
tokenguard_identities{guard="default",state="closed"} 0
tokenguard_identities{guard="default",state="ended"} 0
tokenguard_identities{guard="default",state="expired"} 0
tokenguard_identities{guard="default",state="failing"} 0
tokenguard_identities{guard="default",state="living"} 1
tokenguard_identities{guard="default",state="renewing"} 0
tokenguard_identities{guard="default",state="spent"} 0
# HELP tokenguard_predictor_level 1 for the level that the predictor reads now, 0 for the others.
# TYPE tokenguard_predictor_level gauge
tokenguard_predictor_level{guard="default",level="critical"} 0
tokenguard_predictor_level{guard="default",level="exhausted"} 0
tokenguard_predictor_level{guard="default",level="high"} 1
tokenguard_predictor_level{guard="default",level="low"} 0
tokenguard_predictor_level{guard="default",level="medium"} 0
tokenguard_predictor_level{guard="default",level="unknown"} 0
`), "tokenguard_calls_total", "tokenguard_acquisition_used", "tokenguard_predictor_level",
		"tokenguard_renewals_total", "tokenguard_renewal_used", "tokenguard_next_renewal_timestamp_seconds", "tokenguard_identities"))
	text, _ := gather(t, m)
	assert.NotContains(t, text, secret)
	assert.NotContains(t, text, "_tokens_total", "that reads as tokens of a language model")
	assert.Contains(t, text, "tokenguard_acquisition_duration_seconds")
	assert.NotContains(t, text, "refresh token")
}

// Every label value exists before anything happened.
func TestZeroFromTheStart(t *testing.T) {
	m := promguard.New()
	guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) { return tokenguard.Token{}, nil }, tokenguard.WithRenewal(renew))
	require.NoError(t, err)
	defer guard.Close()
	m.Add(guard)
	_, before := gather(t, m)
	_, after := gather(t, lived(t))
	assert.Equal(t, after, before)
	assert.Equal(t, testutil.CollectAndCount(lived(t)), testutil.CollectAndCount(m))
}

// The limit is that of the processes that renew: another one's default would make alerts of the ratio wrong.
func TestRenewalLimitOfAnotherProcess(t *testing.T) {
	for renews, want := range map[bool]int{true: 1, false: 0} {
		m := promguard.New()
		m.Add(&metricsdoc.Fixed{Is: tokenguard.Stats{Renewals: &tokenguard.RenewalStats{Renews: renews, Hour: tokenguard.WindowStats{Used: 30, Limit: 60}}}})
		assert.Equal(t, want, testutil.CollectAndCount(m, "tokenguard_renewal_limit"))
		assert.Equal(t, 1, testutil.CollectAndCount(m, "tokenguard_renewal_used"))
	}
	m := promguard.New()
	m.Add(&metricsdoc.Fixed{})
	assert.Zero(t, testutil.CollectAndCount(m, "tokenguard_renewal_used"), "nothing is renewed")
}

var metricName = regexp.MustCompile(`tokenguard_[a-z_]+`)

// Every metric that the dashboard and the alert rules name exists.
func TestShippedNamesExist(t *testing.T) {
	_, names := gather(t, lived(t, promguard.WithUsage(5)))
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

// promtool is of Debian's package prometheus.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIP: no promtool here: install Debian's package prometheus")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	assert.NoError(t, err, string(out))
}

func TestRules(t *testing.T) {
	promtool(t, "check", "rules", "../deploy/prometheus/tokenguard.rules.yml")
	promtool(t, "test", "rules", "../deploy/prometheus/tokenguard.test.yml") // two instances of each case
}

// Two instances show the same shared state: no query of the dashboard counts it twice, and what each counts for itself is
// summed.
func TestDashboardOfTwoInstances(t *testing.T) {
	shared := map[string]string{ // the series of both instances, and what a panel makes of them after 2 h
		`tokenguard_next_allowed_timestamp_seconds{%s}`:                "7200x200",
		`tokenguard_acquisition_used{window="hour",%s}`:                "2x200",
		`tokenguard_acquisition_limit{window="hour",%s}`:               "4x200",
		`tokenguard_acquisition_used{window="day",%s}`:                 "5x200",
		`tokenguard_acquisition_limit{window="day",%s}`:                "20x200",
		`tokenguard_last_success_timestamp_seconds{%s}`:                "100x200",
		`tokenguard_token_expiry_timestamp_seconds{%s}`:                "9000x200",
		`tokenguard_calls_total{outcome="cache",%s}`:                   "0+60x200",
		`tokenguard_refusals_total{reason="backoff",%s}`:               "0+60x200",
		`tokenguard_acquisitions_total{result="success",class="",%s}`:  "0+1x200",
		`tokenguard_outcomes_total{class="success",%s}`:                "0+60x200",
		`tokenguard_predictor_level{level="low",%s}`:                   "1x200",
		`tokenguard_predictor_confidence_ratio{%s}`:                    "0.5x200",
		`tokenguard_predictor_brier_ratio{%s}`:                         "0.25x200",
		`tokenguard_consecutive_failures{%s}`:                          "3x200",
		`tokenguard_waiting_calls{%s}`:                                 "4x200",
		`tokenguard_store_up{%s}`:                                      "1x200",
		`tokenguard_warnings_total{kind="state",%s}`:                   "0+1x200",
		`tokenguard_scope_acquisitions{scope="eu",%s}`:                 "6x200",
		`tokenguard_operation_acquisitions{operation="checkout",%s}`:   "7x200",
		`tokenguard_acquisition_duration_seconds_bucket{le="1",%s}`:    "0+1x200",
		`tokenguard_acquisition_duration_seconds_bucket{le="+Inf",%s}`: "0+1x200",
		`tokenguard_next_renewal_timestamp_seconds{%s}`:                "8000x200",
		`tokenguard_renewal_used{window="hour",%s}`:                    "15x200",
		`tokenguard_renewal_limit{window="hour",%s}`:                   "60x200",
		`tokenguard_renewal_consecutive_failures{%s}`:                  "2x200",
		`tokenguard_renewals_total{result="success",class="",%s}`:      "0+1x200",
		`tokenguard_identities{state="living",%s}`:                     "6x200",
		`tokenguard_unreplaced_identities{%s}`:                         "1x200",
		`tokenguard_lost_identities_total{reason="ended",%s}`:          "0+1x200",
		`tokenguard_renewal_duration_seconds_bucket{le="1",%s}`:        "0+1x200",
		`tokenguard_renewal_duration_seconds_bucket{le="+Inf",%s}`:     "0+1x200",
	}
	want := map[string]string{ // by the query's first metric
		"next_allowed_timestamp_seconds": "7200000", "acquisition_used": "0.5 0.25", "last_success_timestamp_seconds": "100000",
		"token_expiry_timestamp_seconds": "9000000", "calls_total": "2", "refusals_total": "2", "acquisitions_total": "60", "outcomes_total": "2",
		"predictor_level": "1", "predictor_confidence_ratio": "0.5", "predictor_brier_ratio": "0.25", "consecutive_failures": "3",
		"waiting_calls": "8", "store_up": "1", "warnings_total": "60", "scope_acquisitions": "6", "operation_acquisitions": "7",
		"acquisition_duration_seconds_bucket": "9.499999999999998E-01", "renewal_duration_seconds_bucket": "9.499999999999998E-01",
		"next_renewal_timestamp_seconds": "8000000", "renewal_used": "0.25", "renewal_consecutive_failures": "2", "renewals_total": "60",
		"identities": "6", "unreplaced_identities": "1", "lost_identities_total": "60",
	}
	var b strings.Builder
	b.WriteString("evaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n")
	for series, values := range shared {
		for _, instance := range []string{"a", "b"} {
			fmt.Fprintf(&b, "      - {series: '%s', values: '%s'}\n", fmt.Sprintf(series, `guard="shop",instance="`+instance+`"`), values)
		}
	}
	b.WriteString("    promql_expr_test:\n")
	for _, q := range queries(t) {
		name := strings.TrimPrefix(metricName.FindString(q.expr), "tokenguard_")
		value, rest, _ := strings.Cut(want[name], " ")
		require.NotEmpty(t, value, "%s: no series for it here", q.expr)
		if rest != "" {
			want[name] = rest
		}
		labels := regexp.MustCompile(`by \(([^)]*)\)`).FindStringSubmatch(q.expr)
		require.NotNil(t, labels, "%s: it shows a line of each instance", q.expr)
		var set []string
		for _, l := range strings.Split(labels[1], ", ") {
			if l == "le" {
				continue
			}
			is := map[string]string{"guard": "shop", "outcome": "cache", "reason": "backoff", "result": "success", "class": "success", "level": "low", "kind": "state", "state": "living", "scope": "eu", "operation": "checkout"}[l]
			if strings.Contains(q.expr, "_lost_identities_") && l == "reason" {
				is = "ended"
			}
			set = append(set, l+`="`+is+`"`)
		}
		of := strings.Replace(strings.Join(set, ","), `result="success",class="success"`, `result="success"`, 1)
		fmt.Fprintf(&b, "      - {expr: '%s', eval_time: 2h, exp_samples: [{labels: '{%s}', value: %s}]}\n", strings.ReplaceAll(q.expr, "$guard", ".+"), of, value)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o600))
	promtool(t, "test", "rules", file)
}

// The names of scopes and callers are shown only where that was asked for: so many, and the rest together, and no name can
// pass for the rest.
func TestUsage(t *testing.T) {
	s := tokenguard.Stats{Guard: "shop", Usage: tokenguard.UsageStats{
		Scopes:     []tokenguard.Usage{{Name: "(rest)", Acquisitions: 5, Refused: 1, Hits: 900}, {Acquisitions: 4}, {Name: "us", Acquisitions: 3, Hits: 30}, {Rest: true, Acquisitions: 2, Renewals: 1, Refused: 7, Hits: 4}},
		Operations: []tokenguard.Usage{{Name: "checkout", Acquisitions: 14, Renewals: 3, Refused: 8}}}}
	m := promguard.New(promguard.WithUsage(2))
	m.Add(&metricsdoc.Fixed{Is: s})
	assert.NoError(t, testutil.CollectAndCompare(m, strings.NewReader(`
# HELP tokenguard_scope_acquisitions Acquisitions that the day window counts, of every process on the state, by scope: the first few and the rest; only WithUsage.
# TYPE tokenguard_scope_acquisitions gauge
tokenguard_scope_acquisitions{guard="shop",scope="\"(rest)\""} 5
tokenguard_scope_acquisitions{guard="shop",scope="(none)"} 4
tokenguard_scope_acquisitions{guard="shop",scope="(rest)"} 5
# HELP tokenguard_operation_refusals Refused calls of this process, by operation: the first few and the rest; only WithUsage.
# TYPE tokenguard_operation_refusals gauge
tokenguard_operation_refusals{guard="shop",operation="(rest)"} 0
tokenguard_operation_refusals{guard="shop",operation="checkout"} 8
# HELP tokenguard_scope_hits Calls of this process that the cache answered, by scope: the first few and the rest; only WithUsage.
# TYPE tokenguard_scope_hits gauge
tokenguard_scope_hits{guard="shop",scope="\"(rest)\""} 900
tokenguard_scope_hits{guard="shop",scope="(none)"} 0
tokenguard_scope_hits{guard="shop",scope="(rest)"} 34
# HELP tokenguard_scope_renewals Renewals that this process began, by scope: the first few and the rest; only WithUsage.
# TYPE tokenguard_scope_renewals gauge
tokenguard_scope_renewals{guard="shop",scope="\"(rest)\""} 0
tokenguard_scope_renewals{guard="shop",scope="(none)"} 0
tokenguard_scope_renewals{guard="shop",scope="(rest)"} 1
# HELP tokenguard_operation_renewals Renewals that this process began, by operation: the first few and the rest; only WithUsage.
# TYPE tokenguard_operation_renewals gauge
tokenguard_operation_renewals{guard="shop",operation="(rest)"} 0
tokenguard_operation_renewals{guard="shop",operation="checkout"} 3
`), "tokenguard_scope_acquisitions", "tokenguard_operation_refusals", "tokenguard_scope_hits", "tokenguard_scope_renewals", "tokenguard_operation_renewals"))

	quiet := promguard.New()
	quiet.Add(&metricsdoc.Fixed{Is: s})
	text, _ := gather(t, quiet)
	assert.NotContains(t, text, "checkout")
}
