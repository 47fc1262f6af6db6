package classify

import (
	"strings"
	"time"
)

// Offsets from UTC run from -12 h (where a day ends last) to +14 h.
const (
	lastZone  = 12 * time.Hour
	firstZone = 14 * time.Hour
)

// zone is what is known of an offset from UTC: it is between west and east.
type zone struct {
	west, east time.Duration
	known      bool
	name       string // of the tz database, whose offset depends on the date
}

// apply reads the clock reading t, given as if in UTC, in this zone.
func (z zone) apply(t time.Time) moment {
	if !z.known {
		z.west, z.east = -lastZone, firstZone
	}
	if z.name != "" {
		if loc, err := time.LoadLocation(z.name); err == nil {
			year, month, day := t.Date()
			return moment{at: time.Date(year, month, day, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), loc).UTC(), instant: true}
		}
	}
	return moment{at: t.Add(-z.west), spread: z.east - z.west, instant: true}
}

// zoneNames are the abbreviations and names that answers use. Some mean several
// zones, and some change by an hour with the season: those are a range.
var zoneNames = []struct {
	text       string
	west, east float64
}{
	{"utc", 0, 0}, {"gmt", 0, 0}, {"z", 0, 0}, {"ut", 0, 0}, {"coordinated universal time", 0, 0}, {"greenwich mean time", 0, 0}, {"协调世界时", 0, 0},
	{"pacific standard time", -8, -8}, {"pacific daylight time", -7, -7}, {"pacific time", -8, -7}, {"pacific", -8, -7}, {"pst", -8, -8}, {"pdt", -7, -7}, {"pt", -8, -7},
	{"mountain time", -7, -6}, {"mst", -7, -7}, {"mdt", -6, -6},
	{"central time", -6, -5}, {"cdt", -5, -5}, {"cst", -6, 8}, // central or China
	{"eastern standard time", -5, -5}, {"eastern daylight time", -4, -4}, {"eastern time", -5, -4}, {"eastern", -5, -4}, {"est", -5, -5}, {"edt", -4, -4}, {"et", -5, -4},
	{"brt", -3, -3}, {"bst", 1, 6}, {"wet", 0, 0}, {"cet", 1, 1}, {"cest", 2, 2}, {"eet", 2, 2}, {"eest", 3, 3},
	{"mez", 1, 1}, {"mesz", 2, 2}, {"msk", 3, 3}, {"мск", 3, 3}, {"по москве", 3, 3}, {"trt", 3, 3}, {"ist", 1, 5.5}, {"wib", 7, 7}, {"ict", 7, 7},
	{"beijing time", 8, 8}, {"北京时间", 8, 8}, {"北京時間", 8, 8}, {"中国标准时间", 8, 8}, {"hkt", 8, 8}, {"sgt", 8, 8},
	{"jst", 9, 9}, {"日本時間", 9, 9}, {"kst", 9, 9}, {"한국시간", 9, 9}, {"한국 시간", 9, 9}, {"aest", 10, 10}, {"aedt", 11, 11},
}

// cutZone reads the zone that s starts with, after a blank or in brackets: Z,
// UTC+8, GMT-03:00, +0530, PST, Pacific Time (PT), America/New_York, and what
// Go prints, "+0000 UTC".
func cutZone(s string) (zone, string, bool) {
	t := strings.TrimLeft(s, " ")
	bracket := strings.HasPrefix(t, "(") || strings.HasPrefix(t, "（")
	if bracket {
		t = strings.TrimPrefix(strings.TrimPrefix(t, "("), "（")
	}
	z, rest, ok := cutPlainZone(t)
	if !ok {
		return zone{}, s, false
	}
	if bracket {
		rest = strings.TrimLeft(rest, " ")
		if after, closed := strings.CutPrefix(rest, ")"); closed {
			rest = after
		} else {
			rest = strings.TrimPrefix(rest, "）")
		}
		return z, rest, true
	}
	// A name repeated: "+0000 UTC", "Pacific Time (PT)".
	if again, after, ok := cutPlainZone(strings.TrimLeft(rest, " (")); ok && rest != "" && (rest[0] == ' ' || rest[0] == '(') && again.east >= z.west && again.west <= z.east {
		rest = strings.TrimPrefix(after, ")")
	}
	return z, rest, true
}

func cutPlainZone(s string) (zone, string, bool) {
	if s == "" {
		return zone{}, s, false
	}
	if s[0] == '+' || s[0] == '-' || strings.HasPrefix(s, "−") {
		return cutOffset(s)
	}
	for _, n := range zoneNames {
		size, ok := prefixFold(s, n.text)
		if !ok || n.text[0] < 0x80 && (startsWithLetter(s[size:]) || size < len(s) && s[size] == '/') {
			continue
		}
		z, rest := zone{west: time.Duration(n.west * float64(time.Hour)), east: time.Duration(n.east * float64(time.Hour)), known: true}, s[size:]
		if n.text == "utc" || n.text == "gmt" {
			if off, after, ok := cutOffset(strings.TrimLeft(rest, " ")); ok {
				return off, after, true
			}
			if rest != "" && (rest[0] == '+' || rest[0] == '-') {
				return zone{}, s, false // an offset that nobody can read
			}
		}
		return z, rest, true
	}
	return cutLocation(s)
}

// cutOffset reads +8, +08, +0800, +08:00.
func cutOffset(s string) (zone, string, bool) {
	rest, minus := strings.CutPrefix(s, "-")
	if !minus {
		if rest, minus = strings.CutPrefix(s, "−"); !minus {
			if !strings.HasPrefix(s, "+") {
				return zone{}, s, false
			}
			rest = s[1:]
		}
	}
	n, after, ok := cutInt(rest, 1, 4)
	if !ok {
		return zone{}, s, false
	}
	hours, minutes := n, 0
	if digits := len(rest) - len(after); digits > 2 {
		hours, minutes = n/100, n%100
	} else if m, last, ok := cutColon(after); ok {
		minutes, after = m, last
	}
	d := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if minus {
		d = -d
	}
	if minutes > 59 || d > firstZone || d < -lastZone {
		return zone{}, s, false
	}
	return zone{west: d, east: d, known: true}, after, true
}

// cutLocation reads a name of the tz database. Where the machine has none it
// is a time without a zone.
func cutLocation(s string) (zone, string, bool) {
	n, slashes := 0, 0
	for n < len(s) && n < 40 && (isLower(s[n]) || isUpper(s[n]) || s[n] == '_' || s[n] == '/' && n > 0) {
		if s[n] == '/' {
			slashes++
		}
		n++
	}
	if slashes == 0 || slashes > 2 || !isUpper(s[0]) {
		return zone{}, s, false
	}
	loc, err := time.LoadLocation(s[:n])
	if err != nil {
		return zone{}, s, false
	}
	_, offset := time.Unix(0, 0).In(loc).Zone()
	d := time.Duration(offset) * time.Second
	return zone{west: d, east: d, known: true, name: s[:n]}, s[n:], true
}
