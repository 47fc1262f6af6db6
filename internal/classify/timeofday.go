package classify

import (
	"strings"
	"time"
)

// dayWords are the words for the next day and for its beginning.
var dayWords = []struct {
	text     string
	midnight bool
}{
	{"tomorrow", false}, {"midnight", true}, {"mitternacht", true}, {"demain", false}, {"minuit", true}, {"mañana", false}, {"medianoche", true}, {"amanhã", false},
	{"meia-noite", true}, {"domani", false}, {"mezzanotte", true}, {"завтра", false}, {"полночь", true}, {"полуночи", true}, {"yarın", false}, {"jutro", false},
	{"besok", false}, {"明天", false}, {"明日", false}, {"午夜", true}, {"내일", false}, {"자정", true}, {"morgen", false},
}

// cutTimeOfDay reads a time that has no date: "midnight UTC", "5 PM PST",
// "3am (America/Los_Angeles)", "tomorrow", "tomorrow at 9:00 UTC". It is the
// next such time after base. Without a zone a plain time of day may have passed
// today and is not read; "tomorrow" and "midnight" are ahead everywhere.
func cutTimeOfDay(s string, base time.Time) (moment, string, bool) {
	if base.IsZero() {
		return moment{}, s, false
	}
	for _, w := range dayWords {
		if isDigit(s[0]) {
			break
		}
		size, ok := prefixFold(s, w.text)
		if !ok || startsWithLetter(s[size:]) {
			continue
		}
		var c civil
		rest := s[size:]
		if !w.midnight {
			t := cutDateJoiner(rest)
			if after, ok := c.cutTime(t); ok {
				rest = after
			} else if after, ok := cutMidnight(t); ok {
				rest = after
			} else {
				c = civil{}
			}
		}
		if z, after, ok := cutZone(rest); ok {
			c.zone, rest = z, after
		}
		m, ok := c.nextDay(base)
		return m, rest, ok
	}
	if !isDigit(s[0]) {
		return moment{}, s, false
	}
	var c civil
	rest, ok := c.cutTime(s)
	if !ok {
		return moment{}, s, false
	}
	if c.zone, rest, ok = cutZone(rest); !ok {
		return moment{}, s, false
	}
	m, ok := c.next(base)
	return m, rest, ok
}

func cutMidnight(s string) (string, bool) {
	for _, w := range dayWords {
		if size, ok := prefixFold(s, w.text); ok && w.midnight {
			return s[size:], true
		}
	}
	return s, false
}

// next is the next such time of day after base in c's zone.
func (c *civil) next(base time.Time) (moment, bool) {
	m, ok := c.on(base, 0)
	if ok && !m.at.After(base) {
		m, ok = c.on(base, 1)
	}
	return m, ok && m.at.Sub(base) > m.spread // a range of zones must agree on the day
}

// nextDay is this time on the day after base's, in c's zone or, without one, in
// the zone where that comes last.
func (c *civil) nextDay(base time.Time) (moment, bool) {
	if c.zone.known {
		return c.on(base, 1)
	}
	var latest time.Time
	for offset := -lastZone; offset <= firstZone; offset += 15 * time.Minute {
		d := *c
		d.zone = zone{west: offset, east: offset, known: true}
		if m, ok := d.on(base, 1); ok && m.at.After(latest) {
			latest = m.at
		}
	}
	return moment{at: latest, instant: true, spread: time.Nanosecond}, !latest.IsZero()
}

// on is this time on the day of base, or days after it, as the zone counts days.
func (c *civil) on(base time.Time, days int) (moment, bool) {
	local := base.UTC().Add(c.zone.west)
	if c.zone.name != "" {
		if loc, err := time.LoadLocation(c.zone.name); err == nil {
			local = base.In(loc)
		}
	}
	d := *c
	year, month, dayOf := local.Date()
	year, month, dayOf = time.Date(year, month, dayOf+days, 0, 0, 0, 0, time.UTC).Date()
	d.year, d.month, d.day = year, int(month), dayOf
	return d.inYear(year)
}

// cutTime reads a time of day: 13:56, 13:56:47.5, 5 PM, 5:30 p.m., 下午5点30分.
func (c *civil) cutTime(s string) (rest string, ok bool) {
	afternoon := 0
	for i, words := range [][]string{{"上午", "凌晨", "早上", "午前", "오전 "}, {"下午", "晚上", "午後", "오후 "}} {
		for _, word := range words {
			if after, found := strings.CutPrefix(s, word); found {
				s, afternoon = strings.TrimLeft(after, " "), i+1
			}
		}
	}
	if c.hour, rest, ok = cutInt(s, 1, 2); !ok {
		return s, false
	}
	worded := false
	if minute, after, ok := cutColon(rest); ok {
		c.minute, rest = minute, after
		worded = true
		if sec, after, ok := cutColon(rest); ok {
			c.sec, rest = sec, after
			if len(rest) > 1 && (rest[0] == '.' || rest[0] == ',') && isDigit(rest[1]) {
				n, after, _ := cutDigits("0." + rest[1:])
				c.nano, rest = int(n.value*1e9), after
			}
		}
	} else {
		for _, sign := range []string{"点", "點", "時", "시"} {
			after, ok := strings.CutPrefix(rest, sign)
			if !ok || strings.HasPrefix(after, "間") || strings.HasPrefix(after, "간") {
				continue
			}
			worded, rest = true, after
			if minute, after, ok := cutInt(strings.TrimLeft(rest, " "), 1, 2); ok {
				for _, sign := range []string{"分", "분"} {
					if after, ok := strings.CutPrefix(after, sign); ok {
						c.minute, rest = minute, after
					}
				}
			}
		}
	}
	half, after := cutHalfDay(rest)
	if half != 0 {
		afternoon, rest, worded = half, after, true
		if c.hour < 1 || c.hour > 12 {
			return s, false
		}
	}
	switch {
	case !worded, c.hour > 24, c.minute > 59, c.sec > 60, rest != "" && isDigit(rest[0]):
		return s, false
	case afternoon == 2 && c.hour < 12:
		c.hour += 12
	case afternoon == 1 && c.hour == 12:
		c.hour = 0
	}
	c.hasTime = true
	return rest, true
}

// cutHalfDay reads AM (1) or PM (2), 0 for neither.
func cutHalfDay(s string) (int, string) {
	t := strings.TrimLeft(s, " ")
	for i, words := range [][]string{{"a.m.", "am"}, {"p.m.", "pm"}} {
		for _, word := range words {
			if len(t) >= len(word) && strings.EqualFold(t[:len(word)], word) && !startsWithLetter(t[len(word):]) {
				return i + 1, t[len(word):]
			}
		}
	}
	return 0, s
}

func cutColon(s string) (int, string, bool) {
	if s == "" || s[0] != ':' {
		return 0, s, false
	}
	return cutInt(s[1:], 2, 2)
}
