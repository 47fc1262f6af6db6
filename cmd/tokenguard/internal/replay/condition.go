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

// metrics are what a condition may name; shares are of all calls, in [0,1].
var metrics = map[string]func(*Result) float64{
	"served":       (*Result).Served,
	"refused":      func(r *Result) float64 { return r.share(r.Refused) },
	"failed":       func(r *Result) float64 { return r.share(r.Failed) },
	"used_up":      func(r *Result) float64 { return r.share(r.UsedUp) },
	"calls":        func(r *Result) float64 { return float64(r.Calls) },
	"acquisitions": func(r *Result) float64 { return float64(r.Acquisitions()) },
}

var conditionSyntax = regexp.MustCompile(`^\s*([a-z_]+)\s*(<=|>=|<|>|==|!=)\s*([0-9.]+%?)\s*$`)

// ParseCondition reads METRIC OP NUMBER; the number may be a percentage.
func ParseCondition(s string) (Condition, error) {
	m := conditionSyntax.FindStringSubmatch(s)
	if m == nil {
		return Condition{}, fmt.Errorf("tokenguard: condition %q: want METRIC<NUMBER, such as served<0.95", s)
	}
	if metrics[m[1]] == nil {
		return Condition{}, fmt.Errorf("tokenguard: condition %q: no metric %q: there are %s", s, m[1], strings.Join(slices.Sorted(maps.Keys(metrics)), ", "))
	}
	number, percent := strings.CutSuffix(m[3], "%")
	bound, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return Condition{}, fmt.Errorf("tokenguard: condition %q: %q is no number", s, m[3])
	}
	if percent {
		bound /= 100
	}
	return Condition{text: strings.TrimSpace(s), metric: m[1], op: m[2], bound: bound}, nil
}

func (c Condition) String() string { return c.text }

// Holds reports whether the condition is true of r, and the number that it looked at.
func (c Condition) Holds(r *Result) (bool, float64) {
	v := metrics[c.metric](r)
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
