package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
)

// Setup is everything that a replay may be asked to change.
type Setup struct {
	Config       tokenguard.Config
	RefreshAhead time.Duration
	Upstream     Upstream
}

// Variant is a setup with one changed setting.
type Variant struct {
	Name string // setting=value
	Setup
}

// besides are the settings that a configuration does not hold, with what is wrong with a value.
var besides = map[string]func(*Setup, string) (bound string){
	"refresh_ahead": func(s *Setup, v string) string {
		d, err := duration(v)
		if s.RefreshAhead = d; err != nil || d <= 0 || d > 24*time.Hour {
			return "a duration above 0 up to 24h0m0s"
		}
		return ""
	},
	"lifetime": func(s *Setup, v string) string {
		d, err := duration(v)
		if s.Upstream.Lifetime = d; err != nil || d < 0 {
			return "a duration of 0 (not stated) or more"
		}
		return ""
	},
	"uses": func(s *Setup, v string) string {
		n, err := strconv.Atoi(v)
		if s.Upstream.Uses = n; err != nil || n < 0 {
			return "a whole number of 0 (no limit) or more"
		}
		return ""
	},
}

// duration reads seconds or a Go duration, as configurations hold them.
func duration(s string) (time.Duration, error) {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return time.Duration(f * float64(time.Second)), nil
	}
	return time.ParseDuration(s)
}

// document is a configuration as its JSON.
type document = map[string]map[string]any

// Settings are the names that ParseWhatIf knows, in full.
func Settings() []string {
	names := slices.Collect(maps.Keys(besides))
	for section, fields := range everything() {
		for name := range fields {
			names = append(names, section+"."+name)
		}
	}
	slices.Sort(names)
	return names
}

// everything is a configuration with each setting set: false and 0 are left out of the JSON.
func everything() document {
	all := tokenguard.Conservative()
	all.Cache.Strict, all.Manager.ReplaceSpentEarly, all.Manager.QuotaPeriod = true, true, tokenguard.Rolling(24*time.Hour)
	doc := encode(all)
	doc["rate_limit"]["consecutive_failure_backoff"] = true // which has one position
	return doc
}

func encode(c tokenguard.Config) document {
	doc := document{}
	if data, err := json.Marshal(c); err == nil {
		_ = json.Unmarshal(data, &doc)
	}
	return doc
}

// ParseWhatIf reads SETTING=VALUE,VALUE,... into a variant of base for each value. The setting is named as in the
// configuration, with or without its section, or is one of refresh_ahead, lifetime and uses.
func ParseWhatIf(s string, base Setup) ([]Variant, error) {
	key, values, ok := strings.Cut(s, "=")
	if key = strings.TrimSpace(key); !ok || key == "" || values == "" {
		return nil, fmt.Errorf("tokenguard: --what-if %q: want SETTING=VALUE,VALUE,... such as max_requests_per_hour=3,5,10", s)
	}
	var out []Variant
	for value := range strings.SplitSeq(values, ",") {
		value = strings.TrimSpace(value)
		v := Variant{key + "=" + value, base}
		var err error
		if set := besides[key]; set != nil {
			if bound := set(&v.Setup, value); bound != "" {
				err = &tokenguard.ConfigError{Field: key, Value: strconv.Quote(value), Bound: bound}
			}
		} else {
			v.Config, err = change(base.Config, key, value)
		}
		if err != nil {
			return nil, fmt.Errorf("%w (in --what-if %s)", err, s)
		}
		out = append(out, v)
	}
	return out, nil
}

// change returns the configuration with one setting changed. It goes through the JSON, in which false can be set.
func change(base tokenguard.Config, key, value string) (tokenguard.Config, error) {
	section, name, nested := strings.Cut(key, ".")
	if !nested {
		if section, name = sectionOf(key), key; section == "" {
			return base, unknown(key)
		}
	}
	raw := json.RawMessage(value)
	if !json.Valid(raw) {
		raw, _ = json.Marshal(value)
	}
	if zero(value) { // which a configuration reads as left out
		_, err := parse(document{section: {name: -1}})
		if e, ok := errors.AsType[*tokenguard.ConfigError](err); ok {
			e.Value = value
		}
		if err != nil {
			return base, err
		}
	}
	doc := encode(base)
	if doc[section] == nil {
		doc[section] = map[string]any{}
	}
	doc[section][name] = raw
	return parse(doc)
}

// zero reports whether the value is a number or a duration of nothing.
func zero(value string) bool {
	d, err := duration(strings.Trim(value, `"`))
	return err == nil && d == 0
}

func parse(doc document) (tokenguard.Config, error) {
	data, err := json.Marshal(doc)
	if err != nil {
		return tokenguard.Config{}, err
	}
	config, err := tokenguard.ParseConfig(data)
	if mistake, ok := errors.AsType[*tokenguard.ConfigError](err); ok {
		mistake.Line = 0 // there is no document
	}
	return config, err
}

// sectionOf is the section that holds the setting; "": none does.
func sectionOf(name string) string {
	for section, names := range everything() {
		if _, ok := names[name]; ok {
			return section
		}
	}
	return ""
}

// unknown is an error that names the setting that was meant, or all.
func unknown(name string) error {
	bound := "one of " + strings.Join(Settings(), ", ")
	// The library knows what is near; which section it looks in does not matter.
	_, err := parse(document{"rate_limit": {name: 1}})
	if e, ok := errors.AsType[*tokenguard.ConfigError](err); ok && strings.Contains(e.Bound, "did you mean") {
		bound = e.Bound
	}
	return &tokenguard.ConfigError{Field: name, Value: "an unknown setting", Bound: bound}
}
