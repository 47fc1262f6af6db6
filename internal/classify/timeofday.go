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

// wordStarts are the letters that numbers in words, months, weekdays and the
// words for days begin with.
var wordStarts = func() (starts [256]bool) {
	for i := range numeralsBy {
		starts[i] = len(numeralsBy[i]) > 0
	}
	for _, words := range [][]string{months[:], weekdays, {"p"}} {
		for _, list := range words {
			for w := range strings.SplitSeq(list, "|") {
				starts[w[0]] = true
			}
		}
	}
	for _, w := range dayWords {
		starts[w.text[0]] = true
	}
	return starts
}()

// startsTimeWord reports that the word that s begins with may begin a time.
func startsTimeWord(s string) bool {
	if s[0] == 'P' && len(s) > 2 && (isDigit(s[1]) || s[1] == 'T' && isDigit(s[2])) {
		return true
	}
	if startsMonth(s) {
		return true
	}
	if _, after, ok := cutNumeral(s); ok {
		if _, _, ok := cutUnit(after); ok {
			return true
		}
	}
	return startsWeekday(s) || startsDayWord(s)
}

func startsWeekday(s string) bool {
	t := cutWeekday(s)
	return len(t) < len(s) && (t != "" && isDigit(t[0]) || startsMonth(t))
}

func startsDayWord(s string) bool {
	for i := range dayWords {
		if _, ok := prefixFold(s, dayWords[i].text); ok {
			return true
		}
	}
	return false
}
