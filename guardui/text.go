package guardui

import (
	"fmt"
	"html/template"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/tokenguard/tokenguard/internal/redact"
)

// What others wrote is masked, cut, and shown with its invisible characters made visible, so that it can neither leak a
// secret nor pass for something else. The templates escape it.

const maxName = 160 // bytes of a foreign name on the page

var funcs = template.FuncMap{
	"name":    foreign,
	"plain":   plain,
	"said":    func(s string) string { return plain(redact.Secrets(s, maxName)) },
	"stamp":   stamp,
	"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"unix":    func(t time.Time) int64 { return t.UnixMilli() },
	"span":    span,
	"count":   counted,
	"percent": func(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) },
	"strip":   func(t timeline, r row) strip { return strip{t, r} },
	"facts":   facts,
	"words":   func(s any) string { return strings.ReplaceAll(fmt.Sprint(s), "_", " ") },
}

// counted is a number of things: 1 call, 2 calls.
func counted(n any, one, more string) string {
	if number := fmt.Sprint(n); number != "1" {
		return number + " " + more
	}
	return "1 " + one
}

// foreign shows a name that a caller chose.
func foreign(s string) string { return visible(redact.Secrets(s, maxName)) }

// visible spells out what would not be seen or would turn the text around it.
func visible(s string) string {
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if hidden(r) {
			fmt.Fprintf(&b, "‹U+%04X›", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func hidden(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Co)
}

// stamp is the one form of an instant on the page.
func stamp(t time.Time) string { return t.UTC().Format("2 Jan 15:04:05 UTC") }

var rfc3339 = regexp.MustCompile(`\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})`)

var duration = regexp.MustCompile(`\b\d+h\d+m\d+s\b|\b\d+m\d+s\b`)

// plain is a text of the guard, its instants and durations in the form of the page.
func plain(s string) string {
	s = duration.ReplaceAllStringFunc(s, func(length string) string {
		d, err := time.ParseDuration(length)
		if err != nil {
			return length
		}
		return span(d)
	})
	return rfc3339.ReplaceAllStringFunc(visible(s), func(at string) string {
		t, err := time.Parse(time.RFC3339, at)
		if err != nil {
			return at
		}
		return stamp(t)
	})
}

// span is a duration in at most two units, as a person says it.
func span(d time.Duration) string {
	d = max(d.Round(time.Second), 0)
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case h > 0:
		return units(h, "h", m, "min")
	case m > 0:
		return units(m, "min", s, "s")
	}
	return fmt.Sprintf("%d s", s)
}

func units(n int, unit string, rest int, smaller string) string {
	if rest == 0 {
		return fmt.Sprintf("%d %s", n, unit)
	}
	return fmt.Sprintf("%d %s %d %s", n, unit, rest, smaller)
}
