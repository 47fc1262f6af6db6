package tokenguard

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/jsonconfig"
	"github.com/tokenguard/tokenguard/internal/period"
)

// Config is everything that operators set. A zero field keeps its default, and nothing switches a limit off.
//
// It decodes from JSON, with ParseConfig or as part of a larger document, under the names in parentheses
// below: {"rate_limit": {"max_requests_per_hour": 3}, "cache": {"cache_ttl": "1h"}, ...}. A duration is a number of
// seconds, fractions too, or a Go duration string. An explicit 0 keeps the default as an absent field does. Any other
// value out of bounds, an unknown or repeated field, and null are mistakes. It encodes to the same names.
type Config struct {
	RateLimit RateLimits      // (rate_limit)
	Cache     CacheConfig     // (cache)
	Dedup     DedupConfig     // (dedup)
	Manager   ManagerConfig   // (manager)
	Predictor PredictorConfig // (predictor)
}

// Conservative returns the defaults, spelled out.
func Conservative() Config {
	return Config{
		RateLimit: RateLimits{
			MaxRequestsPerHour: 3,
			MaxRequestsPerDay:  20,
			MinInterval:        300 * time.Second,
			FailureBackoffBase: 600 * time.Second,
			MaxBackoff:         3600 * time.Second,
			KeyBackoffBase:     time.Hour,
			MaxKeyBackoff:      24 * time.Hour,
		},
		Cache:     CacheConfig{TTL: 3600 * time.Second, MaxTokens: 100, CleanupInterval: 300 * time.Second},
		Dedup:     DedupConfig{Window: 300 * time.Second, Similarity: 0.8, MaxConcurrent: 3, MaxWaiters: 1 << 17},
		Manager:   ManagerConfig{MinTokenAge: 30 * time.Minute, RecentWindow: 5 * time.Minute, Confirmation: time.Minute},
		Predictor: PredictorConfig{Confidence: 0.7, SlowResponse: 5 * time.Second},
	}
}

// Moderate returns Conservative with 10 starts an hour, 50 a day, 60 s apart (which RecentWindow then is, too), and
// ReplaceSpentEarly. As every field is spelled out, put options that change it after it.
func Moderate() Config {
	c := Conservative()
	c.RateLimit.MaxRequestsPerHour = 10
	c.RateLimit.MaxRequestsPerDay = 50
	c.RateLimit.MinInterval = 60 * time.Second
	c.Manager.RecentWindow = 60 * time.Second
	c.Manager.ReplaceSpentEarly = true
	return c
}

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

// ParseConfig decodes a Config from a JSON document and checks it as New would, over the defaults. The error joins a
// *ConfigError with line and column for each mistake.
func ParseConfig(data []byte) (Config, error) {
	var c Config
	mistakes := c.decode(data)
	if len(mistakes) == 0 {
		return c, nil
	}
	jsonconfig.Locate(mistakes, data)
	return Config{}, errors.Join(configErrors(mistakes)...)
}

// UnmarshalJSON decodes as ParseConfig does, over what c holds: an absent field and a 0 keep it. On error c stays as it
// was. Offsets count from the start of the Config's own JSON. As for other types, null changes nothing.
func (c *Config) UnmarshalJSON(data []byte) error {
	if string(bytes.TrimSpace(data)) == "null" {
		return nil
	}
	next := *c
	if mistakes := next.decode(data); len(mistakes) > 0 {
		return errors.Join(configErrors(mistakes)...)
	}
	*c = next
	return nil
}

// MarshalJSON encodes the fields that are not zero, durations as Go duration strings. Decoding it gives the same Config
// again.
func (c Config) MarshalJSON() ([]byte, error) { return configFields.Encode(&c) }

const (
	maxPause        = float64(24 * time.Hour)
	pathBackoffBase = "rate_limit.failure_backoff_base"
	pathMaxBackoff  = "rate_limit.max_backoff"
	pathKeyBase     = "rate_limit.key_backoff_base"
	pathMaxKey      = "rate_limit.max_key_backoff"
)

// configFields are all fields of Config, with their names in JSON and their bounds.
var configFields = jsonconfig.Table[Config]{
	Fields: []jsonconfig.Field[Config]{
		{Path: "rate_limit.max_requests_per_hour", At: func(c *Config) any { return &c.RateLimit.MaxRequestsPerHour }, Max: 10000},
		{Path: "rate_limit.max_requests_per_day", At: func(c *Config) any { return &c.RateLimit.MaxRequestsPerDay }, Max: 10000},
		{Path: "rate_limit.min_interval", At: func(c *Config) any { return &c.RateLimit.MinInterval }, Max: maxPause},
		{Path: pathBackoffBase, At: func(c *Config) any { return &c.RateLimit.FailureBackoffBase }, Max: maxPause},
		{Path: pathMaxBackoff, At: func(c *Config) any { return &c.RateLimit.MaxBackoff }, Max: maxPause},
		{Path: pathKeyBase, At: func(c *Config) any { return &c.RateLimit.KeyBackoffBase }, Max: maxPause},
		{Path: pathMaxKey, At: func(c *Config) any { return &c.RateLimit.MaxKeyBackoff }, Max: maxPause},
		{Path: "cache.cache_ttl", At: func(c *Config) any { return &c.Cache.TTL }, Max: 30 * float64(24*time.Hour)},
		{Path: "cache.max_cache_size", At: func(c *Config) any { return &c.Cache.MaxTokens }, Max: 10000},
		{Path: "cache.cleanup_interval", At: func(c *Config) any { return &c.Cache.CleanupInterval }, Max: maxPause},
		{Path: "cache.strict", At: func(c *Config) any { return &c.Cache.Strict }},
		{Path: "dedup.dedup_window", At: func(c *Config) any { return &c.Dedup.Window }, Max: maxPause},
		{Path: "dedup.max_concurrent_requests", At: func(c *Config) any { return &c.Dedup.MaxConcurrent }, Max: 100},
		{Path: "dedup.max_waiters", At: func(c *Config) any { return &c.Dedup.MaxWaiters }, Max: 1 << 20},
		{Path: "dedup.similarity_threshold", At: func(c *Config) any { return &c.Dedup.Similarity }, Max: 1},
		{Path: "manager.min_token_age", At: func(c *Config) any { return &c.Manager.MinTokenAge }, Max: maxPause},
		{Path: "manager.recent_window", At: func(c *Config) any { return &c.Manager.RecentWindow }, Max: maxPause},
		{Path: "manager.confirmation", At: func(c *Config) any { return &c.Manager.Confirmation }, Max: maxPause},
		{Path: "manager.replace_spent_early", At: func(c *Config) any { return &c.Manager.ReplaceSpentEarly }},
		{Path: "manager.quota_period", At: func(c *Config) any { return &c.Manager.QuotaPeriod }, Form: period.Forms},
		{Path: "predictor.confidence", At: func(c *Config) any { return &c.Predictor.Confidence }, Max: 1, Below: true},
		{Path: "predictor.slow_response", At: func(c *Config) any { return &c.Predictor.SlowResponse }, Max: float64(time.Hour)},
	},
	AlwaysTrue: map[string]string{"rate_limit.consecutive_failure_backoff": "nothing switches a limit off"},
}

// decode sets what the document states.
func (c *Config) decode(data []byte) []jsonconfig.Mistake {
	d := configFields.Decode(data)
	if d.Offsets == nil {
		return d.Mistakes
	}
	configFields.Overlay(c, d.Config)
	complete := Conservative()
	configFields.Overlay(&complete, *c)
	for _, b := range complete.backoffs() {
		stated := func(m jsonconfig.Mistake) bool { return m.Field == b.pathMost || m.Field == b.pathBase }
		if m, ok := b.mistake(); ok && !slices.ContainsFunc(d.Mistakes, stated) { // else it would only repeat that one
			m.Offset = max(d.Offsets[b.pathMost], d.Offsets[b.pathBase])
			d.Mistakes = append(d.Mistakes, m)
		}
	}
	return d.Mistakes
}

// backoff is a pause and its maximum: the one rule between two fields of a complete Config.
type backoff struct {
	pathBase, pathMost string
	base, most         time.Duration
}

func (c *Config) backoffs() [2]backoff {
	l := &c.RateLimit
	return [...]backoff{{pathBackoffBase, pathMaxBackoff, l.FailureBackoffBase, l.MaxBackoff}, {pathKeyBase, pathMaxKey, l.KeyBackoffBase, l.MaxKeyBackoff}}
}

func (c *Config) backoffMistakes() (mistakes []jsonconfig.Mistake) {
	for _, b := range c.backoffs() {
		if m, wrong := b.mistake(); wrong {
			mistakes = append(mistakes, m)
		}
	}
	return mistakes
}

// mistake is a maximum below the base. Fields that are wrong by themselves are left out: that has a mistake of its own.
func (b backoff) mistake() (m jsonconfig.Mistake, wrong bool) {
	if b.most <= 0 || b.most >= b.base || float64(b.base) > maxPause {
		return m, false
	}
	return jsonconfig.Mistake{Field: b.pathMost, Value: b.most.String(), Bound: fmt.Sprintf("at least %s, %v", b.pathBase, b.base)}, true
}

// configErrors are mistakes as callers see them.
func configErrors(mistakes []jsonconfig.Mistake) []error {
	errs := make([]error, len(mistakes))
	for i, m := range mistakes {
		e := ConfigError(m)
		errs[i] = &e
	}
	return errs
}

// QuotaPeriod says when the quota of a spent token is full again, where the upstream does not state it: see
// ManagerConfig.QuotaPeriod. Daily, Monthly, Rolling and ParsePeriod make one; the zero QuotaPeriod is none. As text, and
// in JSON, it is what String writes.
type QuotaPeriod struct {
	p     period.Period
	fault error // why it cannot be used: New and ParseConfig report it
}

// Daily is the quota that is full again each day at this time of day, hour 0 to 23 and minute 0 to 59, in this time zone,
// which must not be nil. On a day on which the clocks leave that time out it is when they have left it out; where they
// show it twice, the first.
//
// time.LoadLocation finds a zone in the zone data of the system, or in those that a program embeds with
// import _ "time/tzdata". An impossible time is an error of New.
func Daily(hour, minute int, zone *time.Location) QuotaPeriod {
	p, err := period.Daily(hour, minute, zone)
	return QuotaPeriod{p, err}
}

// Monthly is the quota that is full again each month when this day begins in this time zone, day 1 to 31: the last of the
// month where it has fewer. An impossible day is an error of New.
func Monthly(day int, zone *time.Location) QuotaPeriod {
	p, err := period.Monthly(day, zone)
	return QuotaPeriod{p, err}
}

// Rolling is the quota that is full again this long after its first use, from a minute to 31 days. The first use is the
// first success that was reported (Guard.Report); where none was, it counts from when the quota was found spent. An
// impossible duration is an error of New.
func Rolling(d time.Duration) QuotaPeriod {
	p, err := period.Rolling(d)
	return QuotaPeriod{p, err}
}

// ParsePeriod reads "daily HH:MM ZONE", "monthly DAY ZONE" and "rolling DURATION", such as
// "daily 00:00 America/Los_Angeles". ZONE is a name of the IANA time zone database, UTC, Local, or a fixed offset such as
// UTC+05:30. The error says what is wrong; a zone that is not known is one, too.
func ParsePeriod(text string) (QuotaPeriod, error) {
	p, err := period.Parse(text)
	if err != nil {
		return QuotaPeriod{}, fmt.Errorf("tokenguard: the quota period %.60q: %w; want %s", text, err, period.Forms)
	}
	return QuotaPeriod{p: p}, nil
}

// IsZero reports whether no period is set.
func (q QuotaPeriod) IsZero() bool { return q.fault == nil && q.p == period.Period{} }

// String writes the period as ParsePeriod reads it; "" for none.
func (q QuotaPeriod) String() string {
	if q.fault != nil {
		return "invalid: " + q.fault.Error()
	}
	return q.p.String()
}

// MarshalText is String. The error is that of an impossible period.
func (q QuotaPeriod) MarshalText() ([]byte, error) {
	if q.fault != nil {
		return nil, fmt.Errorf("tokenguard: the quota period: %w", q.fault)
	}
	return []byte(q.p.String()), nil
}

// UnmarshalText is ParsePeriod; an empty text is none.
func (q *QuotaPeriod) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*q = QuotaPeriod{}
		return nil
	}
	read, err := ParsePeriod(string(text))
	if err == nil {
		*q = read
	}
	return err
}
