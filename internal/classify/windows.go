package classify

import (
	"bytes"
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
	header                     string // the one that states the reset, or else the length
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
	part   string
	kind   fieldKind
	unit   time.Duration
	stated bool // the name states the unit
}{
	{"reset-after-seconds", fieldReset, time.Second, true},
	{"reset-after-ms", fieldReset, time.Millisecond, true},
	{"reset-after", fieldReset, time.Second, false},
	{"reset-in-seconds", fieldReset, time.Second, true},
	{"reset-in", fieldReset, time.Second, false},
	{"reset-at", fieldReset, time.Second, false},
	{"reset-milliseconds", fieldReset, time.Millisecond, true},
	{"reset-ms", fieldReset, time.Millisecond, true},
	{"reset-seconds", fieldReset, time.Second, true},
	{"reset", fieldReset, time.Second, false},
	{"remaining", fieldRemaining, 0, false},
	{"used-percent", fieldPercent, 0, false},
	{"used", fieldUsed, 0, false},
	{"usage", fieldUsed, 0, false},
	{"window-minutes", fieldLength, time.Minute, true},
	{"window-seconds", fieldLength, time.Second, true},
	{"limit", fieldLimit, 0, false},
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

// statesWindow reports a header that says something of a window.
func statesWindow(name string) bool {
	return containsFold(name, "limit") || containsFold(name, "used-percent") || containsFold(name, "reset") || containsFold(name, "window-minutes") ||
		containsFold(name, "quota")
}

// readWindowHeaders collects the windows of all headers that state one, in an
// order that does not depend on that of the map.
func readWindowHeaders(header map[string][]string, base time.Time) []window {
	ws := windowSet{base: base}
	names := make([]string, 0, 16)
	for name, values := range header {
		if len(values) == 0 || !statesWindow(name) {
			continue
		}
		if _, asksToWait := waitHeader(name); !asksToWait {
			names = append(names, name)
		}
	}
	slices.Sort(names) // where two headers speak of one window, the last one counts
	for _, name := range names {
		values := header[name]
		value := values[0]
		if len(values) > 1 {
			value = strings.Join(values, ",")
		}
		value = truncate(value, MaxText)
		ws.header = name
		switch {
		case strings.EqualFold(name, "RateLimit"), strings.EqualFold(name, "X-RateLimit"):
			ws.structured(value)
		case strings.EqualFold(name, "RateLimit-Policy"), strings.EqualFold(name, "X-RateLimit-Policy"):
			ws.policies(value)
		default:
			ws.field(name, value)
		}
	}
	slices.SortFunc(ws.windows, func(a, b window) int { return cmp.Compare(a.name, b.name) })
	return ws.windows
}

// windowSet is the windows found so far.
type windowSet struct {
	windows []window
	base    time.Time
	header  string // the one that is being read
}

func (ws *windowSet) named(name []byte) *window {
	for i := range ws.windows {
		if ws.windows[i].name == string(name) {
			return &ws.windows[i]
		}
	}
	ws.windows = append(ws.windows, window{name: string(name)})
	return &ws.windows[len(ws.windows)-1]
}

func (ws *windowSet) resets(w *window, m moment) { w.reset, w.hasReset, w.header = m, true, ws.header }

func (ws *windowSet) lasts(w *window, length time.Duration) {
	w.length = length
	if !w.hasReset {
		w.header = ws.header
	}
}

// maxWindows bounds the windows of one header.
const maxWindows = 8

// field reads one header of a family such as X-RateLimit-Remaining-Tokens. A
// list holds one value a window.
func (ws *windowSet) field(name, value string) {
	var buf [96]byte
	if len(name) > len(buf) {
		return
	}
	family := lowerInto(buf[:0], name)
	for _, own := range []string{"rate-limit", "ratelimit"} { // without its own "limit", which is no field
		if i := bytes.Index(family, []byte(own)); i >= 0 {
			family = slices.Delete(family, i, i+len(own))
			break
		}
	}
	for _, f := range fields {
		i := bytes.Index(family, []byte(f.part))
		if i < 0 {
			continue
		}
		base := slices.Delete(family, i, i+len(f.part))
		if f.kind == fieldReset && ws.resetField(base, f.unit, f.stated, value) {
			return
		}
		n := 0
		for item := range strings.SplitSeq(value, ",") {
			if n == maxWindows {
				break
			}
			item = strings.TrimSpace(item)
			if n > 0 {
				base = append(base[:len(family)-len(f.part)], '#', byte('0'+n))
			}
			if f.kind != fieldReset {
				ws.item(base, f.kind, f.unit, item)
			} else {
				ws.resetField(base, f.unit, f.stated, item)
			}
			n++
		}
		return
	}
}

func (ws *windowSet) resetField(name []byte, unit time.Duration, stated bool, value string) bool {
	m, ok := parseHeader(value, unit, ws.base)
	if ok {
		m.bare = m.bare && !stated
		ws.resets(ws.named(name), m)
	}
	return ok
}

func listName(base string, i int) string {
	if i == 0 {
		return base
	}
	return base + "#" + string(rune('0'+i))
}

func (ws *windowSet) item(name []byte, kind fieldKind, unit time.Duration, item string) {
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
		ws.lasts(w, scale(f, unit))
	}
	for param := range strings.SplitSeq(params, ";") {
		if s, ok := strings.CutPrefix(strings.TrimSpace(param), "w="); ok {
			if f, ok := parseNumber(s); ok && f > 0 {
				ws.lasts(w, scale(f, time.Second))
			}
		}
	}
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
	if !w.hasReset {
		return false
	}
	wait, ok := w.reset.until(clock{base: now, now: now}, longestReset)
	return ok && wait >= planWindow
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
	f.retry = statesWait(f.in.Header)
	date := AnswerTime(f.in.Header, time.Time{})
	for _, w := range readWindowHeaders(f.in.Header, date) {
		if w.exhausted() {
			f.used = true
			f.usedLong = f.usedLong || w.planOwned(date)
		}
	}
}
