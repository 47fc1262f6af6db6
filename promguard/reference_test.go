package promguard_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/metricsdoc"
	"github.com/tokenguard/tokenguard/promguard"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

const page = "../docs/metrics.md"

// families shows some Stats and events to a registry of their own.
func families(t *testing.T, s tokenguard.Stats, events ...tokenguard.Event) []*dto.MetricFamily {
	t.Helper()
	m := promguard.New(promguard.WithUsage(5))
	m.Add(&metricsdoc.Fixed{Is: s})
	for _, e := range events {
		m.Observe(e)
	}
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(m))
	all, err := registry.Gather()
	require.NoError(t, err)
	return all
}

func points(all []*dto.MetricFamily) map[string]string {
	out := map[string]string{}
	for _, f := range all {
		for _, p := range f.GetMetric() { // without the instant at which a counter was made
			out[f.GetName()] += fmt.Sprint(p.GetLabel(), p.GetCounter().GetValue(), p.GetGauge().GetValue(), p.GetHistogram().GetSampleCount(), "\n")
		}
	}
	return out
}

func TestReference(t *testing.T) {
	guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) { return tokenguard.Token{}, nil },
		metricsdoc.Options()...)
	require.NoError(t, err)
	defer guard.Close()
	base := guard.Stats()
	base.Usage = metricsdoc.Usage
	sources := metricsdoc.Sources(base, func(s tokenguard.Stats) map[string]string { return points(families(t, s)) })
	events := metricsdoc.SourcesOfEvents(func(told []tokenguard.Event) map[string]string { return points(families(t, base, told...)) })
	alerts, queries := alerts(t), queries(t)
	var all []metricsdoc.Metric
	for _, f := range families(t, base) {
		m := metricsdoc.Metric{Name: f.GetName(), Kind: strings.ToLower(f.GetType().String()), Unit: unit(f.GetName()), Help: f.GetHelp(),
			Labels: map[string][]string{}, From: append(sources[f.GetName()], events[f.GetName()]...)}
		for _, p := range f.GetMetric() {
			for _, l := range p.GetLabel() {
				if l.GetName() != "guard" {
					m.Labels[l.GetName()] = append(m.Labels[l.GetName()], l.GetValue())
				}
			}
		}
		for _, rule := range append(alerts, queries...) {
			if names(rule.expr, m.Name) {
				m.Used = append(m.Used, fmt.Sprintf("%s *%s*", rule.kind, rule.name))
			}
		}
		assert.NotEmpty(t, m.From, "%s shows nothing of Stats", m.Name)
		all = append(all, m)
	}
	metricsdoc.Check(t, page, "promguard", metricsdoc.Markdown(all), *update)
	metricsdoc.Check(t, page, "alerts", table("Alert", alerts), *update)
	metricsdoc.Check(t, page, "queries", table("Panel", queries), *update)
}

func unit(name string) string {
	switch {
	case strings.HasSuffix(name, "_timestamp_seconds"):
		return "seconds of Unix time"
	case strings.HasSuffix(name, "_seconds"):
		return "seconds"
	}
	return ""
}

// names reports whether an expression uses a metric, or a part of a histogram.
func names(expr, metric string) bool {
	return regexp.MustCompile(`\b` + metric + `(_bucket|_sum|_count)?\b`).MatchString(expr)
}

// rule is an expression that we ship.
type rule struct{ kind, name, expr string }

func alerts(t *testing.T) (out []rule) {
	b, err := os.ReadFile("../deploy/prometheus/tokenguard.rules.yml")
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`- alert: (\S+)\n +expr: (.*)\n +for: (\S+)`).FindAllStringSubmatch(string(b), -1) {
		out = append(out, rule{"alert", m[1], m[2] + " for " + m[3]})
	}
	require.Len(t, out, strings.Count(string(b), "alert:"))
	return out
}

func queries(t *testing.T) (out []rule) {
	b, err := os.ReadFile("../deploy/grafana/tokenguard.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(b, &dashboard))
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			out = append(out, rule{"panel", panel.Title, target.Expr})
		}
	}
	require.NotEmpty(t, out)
	return out
}

func table(heading string, rules []rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n| %s | PromQL |\n| --- | --- |\n", heading)
	for _, r := range rules {
		expr, after, _ := strings.Cut(r.expr, " for ")
		if after != "" {
			after = " for " + after
		}
		fmt.Fprintf(&b, "| %s | `%s`%s |\n", r.name, strings.ReplaceAll(expr, "|", `\|`), after)
	}
	return b.String()
}
