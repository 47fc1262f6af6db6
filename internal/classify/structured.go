package classify

import (
	"strings"
	"time"
)

// structured reads the RateLimit field of the IETF drafts: a list of named items
// ("default";r=0;t=30) and, before the eighth, one dictionary (limit=100,
// remaining=0, reset=30).
func (ws *windowSet) structured(value string) {
	dictionary := containsFold(value, "remaining=") || containsFold(value, "reset=")
	i := 0
	for item := range items(value) {
		if i == maxWindows {
			return
		}
		i++
		name := ""
		if !dictionary {
			name = policyName(item)
		}
		w := ws.named([]byte(name))
		for param := range strings.SplitSeq(item, ";") {
			k, f, ok := parameter(param)
			if !ok {
				continue
			}
			switch k {
			case "r", "remaining":
				w.remaining, w.hasLeft = int64(f), true
			case "t", "reset":
				if m, ok := numberMoment(f, time.Second); ok {
					m.bare = false
					ws.resets(w, m)
				}
			case "q", "limit":
				w.limit, w.hasLimit = int64(f), true
			case "w":
				ws.lasts(w, scale(f, time.Second))
			}
		}
	}
}

// policies reads RateLimit-Policy: "default";q=100;w=60, in the seventh draft
// 100;w=60.
func (ws *windowSet) policies(value string) {
	i := 0
	for item := range items(value) {
		if i == maxWindows {
			return
		}
		i++
		quota, _, _ := strings.Cut(item, ";")
		limit, older := parseNumber(strings.TrimSpace(quota))
		name := policyName(item)
		if older {
			name = listName("", i-1)
		}
		w := ws.named([]byte(name))
		if older && limit < 1<<62 {
			w.limit, w.hasLimit = int64(limit), true
		}
		for param := range strings.SplitSeq(item, ";") {
			k, f, ok := parameter(param)
			if !ok {
				continue
			}
			switch k {
			case "q":
				w.limit, w.hasLimit = int64(f), true
			case "w":
				ws.lasts(w, scale(f, time.Second))
			}
		}
	}
}

// parameter reads "k=v" where v is a number.
func parameter(s string) (key string, f float64, ok bool) {
	k, v, _ := strings.Cut(strings.TrimSpace(s), "=")
	f, ok = parseNumber(strings.Trim(v, "\""))
	return k, f, ok && f < 1<<62
}

// items yields the members of a list; a comma inside of quotes parts none.
func items(list string) func(func(string) bool) {
	return func(yield func(string) bool) {
		start, quoted := 0, false
		for i := range len(list) {
			switch {
			case list[i] == '"':
				quoted = !quoted
			case list[i] == ',' && !quoted:
				if !yield(list[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(list[start:])
	}
}

// policyName is the last quoted name of an item, since some send a kind before
// it, or the token that the item begins with.
func policyName(item string) string {
	head, _, _ := strings.Cut(item, "=")
	if end := strings.LastIndexByte(head, '"'); end > 0 {
		start := strings.LastIndexByte(head[:end], '"')
		return head[start+1 : end]
	}
	name, _, params := strings.Cut(strings.TrimSpace(item), ";")
	if !params || strings.Contains(name, "=") {
		return ""
	}
	return name
}
