package replay

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Condition is a bound on a result, such as served<0.95.
type Condition struct {
	text, metric, op string
	bound            float64
}

// metric is a number of a report.
type metric struct {
	of    func(*Report, *Result) float64
	share bool // of all calls, in [0,1]
}

// metrics are what a condition may name.
var metrics = map[string]metric{
	"served":       {func(_ *Report, r *Result) float64 { return r.Served() }, true},
	"refused":      {func(_ *Report, r *Result) float64 { return r.share(r.Refused) }, true},
	"failed":       {func(_ *Report, r *Result) float64 { return r.share(r.Failed) }, true},
	"used_up":      {func(_ *Report, r *Result) float64 { return r.share(r.UsedUp) }, true},
	"calls":        {func(_ *Report, r *Result) float64 { return float64(r.Calls) }, false},
	"acquisitions": {func(_ *Report, r *Result) float64 { return float64(r.Acquisitions()) }, false},
	"wrong":        {func(p *Report, _ *Result) float64 { return float64(p.Wrong) }, false},
	"skipped":      {func(p *Report, _ *Result) float64 { return float64(p.Skipped) }, false},
	"unnamed":      {func(p *Report, _ *Result) float64 { return float64(p.Unnamed) }, false},
}

// Metrics are what a condition may name.
func Metrics() []string { return slices.Sorted(maps.Keys(metrics)) }

var conditionSyntax = regexp.MustCompile(`^\s*([a-z_]+)\s*(<=|>=|<|>|==|!=)\s*([0-9.]+%?)\s*$`)

// ParseCondition reads METRIC OP NUMBER; the number may be a percentage.
func ParseCondition(s string) (Condition, error) {
	m := conditionSyntax.FindStringSubmatch(s)
	if m == nil {
		return Condition{}, fmt.Errorf("tokenguard: condition %q: want METRIC<NUMBER, such as served<0.95", s)
	}
	what, ok := metrics[m[1]]
	if !ok {
		return Condition{}, fmt.Errorf("tokenguard: condition %q: no metric %q: there are %s", s, m[1], strings.Join(Metrics(), ", "))
	}
	number, percent := strings.CutSuffix(m[3], "%")
	bound, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return Condition{}, fmt.Errorf("tokenguard: condition %q: %q is no number", s, m[3])
	}
	if percent {
		bound /= 100
	}
	switch {
	case what.share && bound > 1:
		return Condition{}, fmt.Errorf("tokenguard: condition %q: %s is a share of the calls, from 0 to 1 or 0%% to 100%%", s, m[1])
	case !what.share && percent:
		return Condition{}, fmt.Errorf("tokenguard: condition %q: %s is a number, not a share", s, m[1])
	}
	return Condition{text: strings.TrimSpace(s), metric: m[1], op: m[2], bound: bound}, nil
}

func (c Condition) String() string { return c.text }

// Holds reports whether the condition is true of the report's first result, and the number that it looked at.
func (c Condition) Holds(r *Report) (bool, float64) {
	v := metrics[c.metric].of(r, r.Results[0])
	switch c.op {
	case "<":
		return v < c.bound, v
	case "<=":
		return v <= c.bound, v
	case ">":
		return v > c.bound, v
	case ">=":
		return v >= c.bound, v
	case "==":
		return v == c.bound, v
	}
	return v != c.bound, v
}
