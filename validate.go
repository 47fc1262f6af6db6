package tokenguard

import (
	"fmt"
	"math"
	"reflect"
	"time"
)

// ConfigError is one configuration mistake. ParseConfig and New return all of them, joined; errors.As finds the first.
type ConfigError struct {
	// Field is the path under which operators know it, such as "rate_limit.min_interval", the option's name, or
	// "config" for the JSON document as a whole.
	Field string
	// Value is what was given, cut where it is long, or what is wrong with the field itself. Of an unknown field and of a
	// key it shows nothing.
	Value string
	// Bound is what would be right.
	Bound string
	// Offset is where it stands in the JSON, in bytes from the start; 0 for options.
	Offset int64
	// Line and Column say the same, counted from 1, columns in bytes. Only ParseConfig fills them; 0: not known.
	Line, Column int
}

func (e *ConfigError) Error() string {
	at := ""
	if e.Line > 0 {
		at = fmt.Sprintf("line %d, column %d: ", e.Line, e.Column)
	}
	return fmt.Sprintf("tokenguard: %s%s is %s, must be %s", at, e.Field, e.Value, e.Bound)
}

// setting is one field of Config: its name in JSON and its bounds. A value is above 0 up to max.
type setting struct {
	path  string
	at    func(*Config) any // *int, *time.Duration, *float64 or *bool
	max   float64           // durations in nanoseconds
	below bool              // max itself is too much
}

const maxPause = float64(24 * time.Hour)

// settings are all fields of Config.
var settings = []setting{
	{path: "rate_limit.max_requests_per_hour", at: func(c *Config) any { return &c.RateLimit.MaxRequestsPerHour }, max: 10000},
	{path: "rate_limit.max_requests_per_day", at: func(c *Config) any { return &c.RateLimit.MaxRequestsPerDay }, max: 10000},
	{path: "rate_limit.min_interval", at: func(c *Config) any { return &c.RateLimit.MinInterval }, max: maxPause},
	{path: pathBackoffBase, at: func(c *Config) any { return &c.RateLimit.FailureBackoffBase }, max: maxPause},
	{path: pathMaxBackoff, at: func(c *Config) any { return &c.RateLimit.MaxBackoff }, max: maxPause},
	{path: "cache.cache_ttl", at: func(c *Config) any { return &c.Cache.TTL }, max: 30 * float64(24*time.Hour)},
	{path: "cache.max_cache_size", at: func(c *Config) any { return &c.Cache.MaxTokens }, max: 10000},
	{path: "cache.cleanup_interval", at: func(c *Config) any { return &c.Cache.CleanupInterval }, max: maxPause},
	{path: "cache.strict", at: func(c *Config) any { return &c.Cache.Strict }},
	{path: "dedup.dedup_window", at: func(c *Config) any { return &c.Dedup.Window }, max: maxPause},
	{path: "dedup.max_concurrent_requests", at: func(c *Config) any { return &c.Dedup.MaxConcurrent }, max: 100},
	{path: "dedup.similarity_threshold", at: func(c *Config) any { return &c.Dedup.Similarity }, max: 1},
	{path: "manager.min_token_age", at: func(c *Config) any { return &c.Manager.MinTokenAge }, max: maxPause},
	{path: "manager.recent_window", at: func(c *Config) any { return &c.Manager.RecentWindow }, max: maxPause},
	{path: "manager.confirmation", at: func(c *Config) any { return &c.Manager.Confirmation }, max: maxPause},
	{path: "manager.replace_spent_early", at: func(c *Config) any { return &c.Manager.ReplaceSpentEarly }},
	{path: "predictor.confidence", at: func(c *Config) any { return &c.Predictor.Confidence }, max: 1, below: true},
	{path: "predictor.slow_response", at: func(c *Config) any { return &c.Predictor.SlowResponse }, max: float64(time.Hour)},
}

const (
	pathBackoffBase = "rate_limit.failure_backoff_base"
	pathMaxBackoff  = "rate_limit.max_backoff"
)

// value returns the field of c that s describes.
func (s setting) value(c *Config) reflect.Value { return reflect.ValueOf(s.at(c)).Elem() }

// inBounds reports whether a number other than 0 may stand; durations are in nanoseconds. NaN may not.
func (s setting) inBounds(f float64) bool {
	least := 1.0
	if _, ok := s.at(new(Config)).(*float64); ok {
		least = math.SmallestNonzeroFloat64
	}
	return f >= least && (f < s.max || f == s.max && !s.below)
}

func (s setting) bound() string {
	switch s.at(new(Config)).(type) {
	case *bool:
		return "true or false"
	case *int:
		return fmt.Sprintf("a whole number from 1 to %g", s.max)
	case *time.Duration:
		return fmt.Sprintf("a duration above 0 up to %v", time.Duration(s.max))
	}
	if s.below {
		return fmt.Sprintf("a number above 0 and below %g", s.max)
	}
	return fmt.Sprintf("a number above 0 up to %g", s.max)
}

// overlay sets the fields of c that are not zero in over and returns the mistakes among these.
func (c *Config) overlay(over Config) (mistakes []*ConfigError) {
	for _, s := range settings {
		v := s.value(&over)
		if v.IsZero() {
			continue
		}
		s.value(c).Set(v)
		if v.CanConvert(reflect.TypeFor[float64]()) && !s.inBounds(v.Convert(reflect.TypeFor[float64]()).Float()) {
			mistakes = append(mistakes, &ConfigError{Field: s.path, Value: fmt.Sprint(v), Bound: s.bound()})
		}
	}
	return mistakes
}

// checkTogether finds what is wrong between fields of a complete Config. Fields that are wrong by themselves are left
// out: that was said already.
func (c *Config) checkTogether() *ConfigError {
	base, most := c.RateLimit.FailureBackoffBase, c.RateLimit.MaxBackoff
	if most <= 0 || most >= base || float64(base) > maxPause {
		return nil
	}
	return &ConfigError{Field: pathMaxBackoff, Value: most.String(),
		Bound: fmt.Sprintf("at least %s, %v", pathBackoffBase, base)}
}
