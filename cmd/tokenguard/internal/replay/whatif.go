package replay

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tokenguard/tokenguard"
)

// Variant is one changed setting.
type Variant struct {
	Name   string // setting=value
	Config tokenguard.Config
}

// ParseWhatIf reads SETTING=VALUE,VALUE,... into a variant for each value. The setting is named as in the
// configuration, with or without its section.
func ParseWhatIf(s string) ([]Variant, error) {
	key, values, ok := strings.Cut(s, "=")
	if !ok || key == "" || values == "" {
		return nil, fmt.Errorf("tokenguard: --what-if %q: want SETTING=VALUE,VALUE,... such as max_requests_per_hour=3,5,10", s)
	}
	section, name, nested := strings.Cut(strings.TrimSpace(key), ".")
	if !nested {
		name = section
		section = sectionOf(name)
	}
	var out []Variant
	for value := range strings.SplitSeq(values, ",") {
		value = strings.TrimSpace(value)
		raw := json.RawMessage(value)
		if !json.Valid(raw) {
			raw, _ = json.Marshal(value)
		}
		doc, err := json.Marshal(map[string]any{section: map[string]any{name: raw}})
		if err != nil {
			return nil, err
		}
		config, err := tokenguard.ParseConfig(doc)
		if mistake, ok := errors.AsType[*tokenguard.ConfigError](err); ok {
			mistake.Line = 0 // there is no document
		}
		if err != nil {
			return nil, fmt.Errorf("%w (in --what-if %s)", err, s)
		}
		out = append(out, Variant{Name: key + "=" + value, Config: config})
	}
	return out, nil
}

// sectionOf is the section that holds the setting; for an unknown one, the first, whose error names the one meant.
func sectionOf(name string) string {
	all := tokenguard.Conservative()
	all.Cache.Strict, all.Manager.ReplaceSpentEarly = true, true // false is left out
	data, err := json.Marshal(all)
	var sections map[string]map[string]any
	if err == nil && json.Unmarshal(data, &sections) == nil {
		for section, names := range sections {
			if _, ok := names[name]; ok {
				return section
			}
		}
	}
	return "rate_limit"
}
