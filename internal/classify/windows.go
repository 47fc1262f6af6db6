package classify

import (
	"strconv"
	"strings"
	"time"
)

// A window is one limit that headers describe: RateLimit and X-RateLimit
// fields, and vendors' own, told by what their names end in.
type window struct {
	remaining, limit int64
	hasRemaining     bool
	used             float64 // per cent
	hasUsed          bool
	length           time.Duration
	reset            time.Duration
	hasReset         bool
}

// empty reports whether nothing is left in the window.
func (w *window) empty() bool {
	return w.hasRemaining && w.remaining <= 0 || w.hasUsed && w.used >= 100
}

// maxWindows bounds the windows that are told apart in one answer.
const maxWindows = 16

// readWindows sums the windows up: the one that is used up counts, of several
// the one that resets last.
func readWindows(header map[string][]string, now time.Time) Hints {
	var h Hints
	var best *window
	windows := parseWindows(header, now)
	for i := range windows {
		w := &windows[i]
		switch {
		case best == nil,
			w.empty() && !best.empty(),
			w.empty() == best.empty() && w.reset > best.reset:
			best = w
		}
	}
	if best == nil {
		return h
	}
	h.window = best.length
	switch {
	case best.hasRemaining && (best.limit > 0 || best.remaining == 0):
		h.Remaining, h.Limit = max(best.remaining, 0), max(best.limit, 1)
	case best.hasUsed:
		h.Remaining, h.Limit = int64(max(100-best.used, 0)), 100
	}
	if best.hasReset {
		h.ResetAt = now.Add(best.reset)
		if best.empty() {
			h.RetryAfter, h.HasRetryAfter = best.reset, true
		}
	}
	return h
}

// parseWindows files the fields by what is left of their names without the
// part that says what they are.
func parseWindows(header map[string][]string, now time.Time) []window {
	var names []string
	var windows []window
	at := func(name string) *window {
		for i, n := range names {
			if n == name {
				return &windows[i]
			}
		}
		if len(windows) >= maxWindows {
			return nil
		}
		names, windows = append(names, name), append(windows, window{})
		return &windows[len(windows)-1]
	}
	for name, values := range header {
		if len(values) == 0 || len(name) > 80 {
			continue
		}
		name := strings.ToLower(name)
		switch {
		case name == "ratelimit", name == "x-ratelimit", name == "x-rate-limit":
			for _, v := range values {
				structured(v, at, now)
			}
		case name == "ratelimit-policy", name == "x-ratelimit-policy":
			for _, v := range values {
				policy(v, at)
			}
		case strings.Contains(name, "ratelimit") || strings.Contains(name, "rate-limit") ||
			strings.Contains(name, "used-percent") || strings.Contains(name, "reset-after") ||
			strings.Contains(name, "window-minutes") || strings.Contains(name, "quota"):
			plain(name, values[0], at, now)
		}
	}
	return windows
}

// parts are the words in a field's name that say what it is; the rest names
// the window.
var parts = []string{"-used-percent", "-window-minutes", "-reset-after-seconds", "-reset-after", "-resetafter",
	"-reset-requests", "-reset-tokens", "-remaining-requests", "-remaining-tokens", "-limit-requests", "-limit-tokens",
	"-remaining", "-reset", "-limit", "-used", "-resource"}

func plain(name, value string, at func(string) *window, now time.Time) {
	for _, part := range parts {
		i := strings.LastIndex(name, part)
		if i < 0 || i+len(part) < len(name) && name[i+len(part)] != '-' {
			continue
		}
		what := part
		for _, of := range [...]string{"-requests", "-tokens"} {
			what = strings.TrimSuffix(what, of)
		}
		if what == "-limit" && strings.HasSuffix(name[:i], "-rate") && i+len(part) == len(name) {
			return // X-Rate-Limit alone says nothing
		}
		w := at(name[:i] + strings.TrimPrefix(part, what) + name[i+len(part):])
		if w == nil {
			return
		}
		first, _, _ := strings.Cut(value, ",")
		first, _, _ = strings.Cut(first, ";")
		first = strings.TrimSpace(first)
		n, err := strconv.ParseInt(first, 10, 64)
		switch what {
		case "-remaining":
			if err == nil && n >= 0 {
				w.remaining, w.hasRemaining = n, true
			}
		case "-limit":
			if err == nil && n > 0 {
				w.limit = n
			}
		case "-used-percent":
			if p, err := strconv.ParseFloat(first, 64); err == nil && p >= 0 {
				w.used, w.hasUsed = p, true
			}
		case "-window-minutes":
			if err == nil && n > 0 && n < 1<<20 {
				w.length = time.Duration(n) * time.Minute
			}
		case "-reset", "-reset-after", "-reset-after-seconds", "-resetafter":
			if d, ok := span(value, now); ok {
				w.reset, w.hasReset = d, true
			}
		}
		return
	}
}

// structured reads a RateLimit field of draft-ietf-httpapi-ratelimit-headers:
// "default";r=0;t=30, several with commas, or the older limit=100, remaining=0,
// reset=30.
func structured(value string, at func(string) *window, now time.Time) {
	name := ""
	for _, item := range strings.Split(value, ",") {
		for _, p := range strings.Split(item, ";") {
			key, v, ok := strings.Cut(strings.TrimSpace(p), "=")
			if !ok {
				name = strings.Trim(key, `"`)
				continue
			}
			w := at("ratelimit " + name)
			if w == nil {
				return
			}
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			if err != nil || n < 0 {
				continue
			}
			switch strings.ToLower(strings.TrimSpace(key)) {
			case "r", "remaining":
				w.remaining, w.hasRemaining = n, true
			case "limit", "q":
				w.limit = n
			case "t", "reset":
				if d, ok := number(v, time.Second, now); ok {
					w.reset, w.hasReset = d, true
				}
			}
		}
	}
}

// policy reads a RateLimit-Policy field: q is the quota and w its window in
// seconds.
func policy(value string, at func(string) *window) {
	name := ""
	for _, item := range strings.Split(value, ",") {
		for _, p := range strings.Split(item, ";") {
			key, v, ok := strings.Cut(strings.TrimSpace(p), "=")
			if !ok {
				name = strings.Trim(key, `"`)
				continue
			}
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			w := at("ratelimit " + name)
			if err != nil || n <= 0 || w == nil {
				continue
			}
			switch strings.TrimSpace(key) {
			case "q":
				w.limit = n
			case "w":
				w.length = time.Duration(min(n, 1<<31)) * time.Second
			}
		}
	}
}

// planWindow is the length from which a window is a plan's own period and not
// a pace.
const planWindow = 4 * time.Hour

// readWindows takes the headers' windows into the evidence.
func (ev *evidence) readWindows(in Input) {
	_, ev.retry = retryAfter(in.Header, time.Time{})
	for _, w := range parseWindows(in.Header, time.Time{}) {
		if w.empty() {
			ev.used = true
			ev.usedLong = ev.usedLong || w.length >= planWindow
		}
	}
}
