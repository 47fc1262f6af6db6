package classify

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// window is a limit that headers state, as far as they do.
type window struct {
	name                       string // the header's name without the part that tells the fields apart, or the policy's
	limit, remaining, used     int64
	hasLimit, hasLeft, hasUsed bool
	length                     time.Duration
	reset                      moment
	hasReset                   bool
}

// left is what remains, derived from what was used if need be.
func (w *window) left() (int64, bool) {
	switch {
	case w.hasLeft:
		return w.remaining, true
	case w.hasUsed && w.hasLimit:
		return max(w.limit-w.used, 0), true
	}
	return 0, false
}

func (w *window) exhausted() bool {
	left, known := w.left()
	return known && left == 0
}

// fields are the parts of a header's name that say what its value is, the
// longer before those they hold.
var fields = []struct {
	part string
	kind fieldKind
	unit time.Duration
}{
	{"reset-after-seconds", fieldReset, time.Second},
	{"reset-after-ms", fieldReset, time.Millisecond},
	{"reset-after", fieldReset, time.Second},
	{"reset-in", fieldReset, time.Second},
	{"reset-at", fieldReset, time.Second},
	{"reset-ms", fieldReset, time.Millisecond},
	{"reset", fieldReset, time.Second},
	{"remaining", fieldRemaining, 0},
	{"used-percent", fieldPercent, 0},
	{"used", fieldUsed, 0},
	{"usage", fieldUsed, 0},
	{"window-minutes", fieldLength, time.Minute},
	{"window-seconds", fieldLength, time.Second},
	{"limit", fieldLimit, 0},
}

type fieldKind int

const (
	fieldLimit fieldKind = iota
	fieldRemaining
	fieldUsed
	fieldPercent
	fieldReset
	fieldLength
)

// readWindowHeaders collects the windows of all headers that state one, in an
// order that does not depend on that of the map.
func readWindowHeaders(header map[string][]string) []window {
	var ws windowSet
	for name, values := range header {
		if len(values) == 0 || !containsFold(name, "limit") && !containsFold(name, "used-percent") &&
			!containsFold(name, "reset") && !containsFold(name, "window-minutes") {
			continue
		}
		name = strings.ToLower(name)
		value := truncate(strings.Join(values, ","), MaxText)
		switch name {
		case "ratelimit", "x-ratelimit":
			ws.structured(value)
		case "ratelimit-policy", "x-ratelimit-policy":
			ws.policies(value)
		default:
			ws.field(name, value)
		}
	}
	slices.SortFunc(ws, func(a, b window) int { return cmp.Compare(a.name, b.name) })
	return ws
}

type windowSet []window

func (ws *windowSet) named(name string) *window {
	for i := range *ws {
		if (*ws)[i].name == name {
			return &(*ws)[i]
		}
	}
	*ws = append(*ws, window{name: name})
	return &(*ws)[len(*ws)-1]
}

// maxWindows bounds the windows of one header.
const maxWindows = 8

// field reads one header of a family such as X-RateLimit-Remaining-Tokens. A
// list holds one value a window.
func (ws *windowSet) field(name, value string) {
	family := name // without its own "limit", which is no field
	for _, own := range []string{"rate-limit", "ratelimit"} {
		if i := strings.Index(name, own); i >= 0 {
			family = name[:i] + name[i+len(own):]
			break
		}
	}
	for _, f := range fields {
		before, after, ok := strings.Cut(family, f.part)
		if !ok {
			continue
		}
		base := before + after
		if f.kind == fieldReset {
			if m, ok := parseMoment(value, f.unit); ok {
				w := ws.named(base)
				w.reset, w.hasReset = m, true
			}
			return
		}
		i := 0
		for item := range strings.SplitSeq(value, ",") {
			if i == maxWindows {
				break
			}
			ws.item(listName(base, i), f.kind, f.unit, item)
			i++
		}
		return
	}
}

func listName(base string, i int) string {
	if i == 0 {
		return base
	}
	return base + "#" + string(rune('0'+i))
}

func (ws *windowSet) item(name string, kind fieldKind, unit time.Duration, item string) {
	number, params, _ := strings.Cut(strings.TrimSpace(item), ";")
	f, ok := parseNumber(number)
	if !ok || f >= 1<<62 {
		return
	}
	w := ws.named(name)
	switch kind {
	case fieldLimit:
		w.limit, w.hasLimit = int64(f), true
	case fieldRemaining:
		w.remaining, w.hasLeft = int64(f), true
	case fieldUsed:
		w.used, w.hasUsed = int64(f), true
	case fieldPercent:
		w.limit, w.hasLimit = 100, true
		w.remaining, w.hasLeft = max(100-int64(f), 0), true
	case fieldLength:
		w.length = scale(f, unit)
	}
	if s, ok := strings.CutPrefix(strings.TrimSpace(params), "w="); ok {
		if f, ok := parseNumber(s); ok {
			w.length = scale(f, time.Second)
		}
	}
}

// structured reads the RateLimit field of the IETF draft, as a list of named
// items ("default";r=0;t=30) and in its older form (limit=100, remaining=0,
// reset=30).
func (ws *windowSet) structured(value string) {
	old := containsFold(value, "remaining=")
	i := 0
	for item := range strings.SplitSeq(value, ",") {
		if i == maxWindows {
			return
		}
		i++
		w := ws.named("")
		if !old {
			w = ws.named(policyName(item))
		}
		for param := range strings.SplitSeq(item, ";") {
			k, v, _ := strings.Cut(strings.TrimSpace(param), "=")
			f, ok := parseNumber(v)
			if !ok || f >= 1<<62 {
				continue
			}
			switch k {
			case "r", "remaining":
				w.remaining, w.hasLeft = int64(f), true
			case "t", "reset":
				w.reset, w.hasReset = numberMoment(f, time.Second), true
			case "limit":
				w.limit, w.hasLimit = int64(f), true
			}
		}
	}
}

// policies reads RateLimit-Policy: "default";q=100;w=60 or 100;w=60.
func (ws *windowSet) policies(value string) {
	i := 0
	for item := range strings.SplitSeq(value, ",") {
		if i == maxWindows {
			return
		}
		i++
		w := ws.named(policyName(item))
		for param := range strings.SplitSeq(item, ";") {
			k, v, _ := strings.Cut(strings.TrimSpace(param), "=")
			f, ok := parseNumber(v)
			if !ok || f >= 1<<62 {
				continue
			}
			switch k {
			case "q":
				w.limit, w.hasLimit = int64(f), true
			case "w":
				w.length = scale(f, time.Second)
			}
		}
	}
}

// policyName is the last quoted name of an item: some send a kind before it.
func policyName(item string) string {
	end := strings.LastIndexByte(item, '"')
	if end <= 0 {
		return ""
	}
	start := strings.LastIndexByte(item[:end], '"')
	return item[start+1 : end]
}

// planWindow is how far away the end of a window is that belongs to a plan; the
// windows of paces last an hour.
const planWindow = 2 * time.Hour

// planOwned reports a window of a day or longer, or one that stays closed for
// hours.
func (w *window) planOwned(now time.Time) bool {
	for _, period := range []string{"day", "daily", "week", "month"} {
		if strings.Contains(w.name, period) {
			return true
		}
	}
	if w.length >= 24*time.Hour {
		return true
	}
	return w.hasReset && (!w.reset.instant || !now.IsZero()) && w.reset.until(now) >= planWindow
}

// readWindows notes whether the headers show a window that is used up. The
// answer's own Date is the only clock there is.
func (f *facts) readWindows() {
	switch f.in.StatusCode {
	case 0, 402, 403, 429:
	default:
		return // no window explains another status
	}
	if len(f.in.Header) == 0 {
		return
	}
	_, f.retry = headerWait(f.in.Header, time.Time{})
	var now time.Time
	for name, values := range f.in.Header {
		if strings.EqualFold(name, "date") && len(values) > 0 {
			if m, ok := parseMoment(values[0], time.Second); ok && m.instant {
				now = m.at
			}
		}
	}
	for _, w := range readWindowHeaders(f.in.Header) {
		if w.exhausted() {
			f.used = true
			f.usedLong = f.usedLong || w.planOwned(now)
		}
	}
}
