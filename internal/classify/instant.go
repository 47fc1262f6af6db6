package classify

import (
	"strings"
	"time"
)

// civil is a date and a time of day as written, before a zone is known.
type civil struct {
	year, month, day  int
	hour, minute, sec int
	nano              int
	hasTime, asctime  bool
	zone              zone
}

// cutInstant reads the date that s starts with, with or without a weekday, a
// year, a time of day and a zone: ISO 8601 and RFC 3339, the three HTTP dates,
// what Go and Python print, 2 March 2026, 02.03.2026, 2026年3月2日. Without a
// year it is the next such day after base, if that is near. 03/02/2026 is read
// only where the day is above 12: nobody can tell otherwise.
func cutInstant(s string, base time.Time) (moment, string, bool) {
	s = cutWeekday(s)
	if s == "" || !isDigit(s[0]) && !startsMonth(s) {
		return moment{}, s, false
	}
	var c civil
	rest, ok := c.cutDate(s)
	if !ok || rest != "" && isDigit(rest[0]) {
		return moment{}, s, false
	}
	if after, ok := c.cutTime(cutDateJoiner(rest)); ok {
		rest = after
		if z, after, ok := cutZone(rest); ok {
			c.zone, rest = z, after
		}
		if year, after, ok := cutInt(strings.TrimLeft(rest, " "), 4, 4); ok && c.year == 0 && len(rest) > 0 && rest[0] == ' ' {
			c.year, c.asctime, rest = year, !c.zone.known, after // the order of asctime and date(1)
		}
	}
	m, ok := c.moment(base)
	return m, rest, ok
}

// cutHTTPDate reads an HTTP date, whose oldest form has no zone and means UTC.
func cutHTTPDate(s string, base time.Time) (moment, bool) {
	m, rest, ok := cutInstant(s, base)
	if ok && m.asctime {
		m.at, m.spread = m.at.Add(-lastZone), 0
	}
	return m, ok && rest == ""
}

// moment applies the zone, or all of them.
func (c *civil) moment(base time.Time) (moment, bool) {
	if c.year != 0 {
		return c.inYear(c.year)
	}
	if base.IsZero() {
		return moment{}, false
	}
	for _, year := range []int{base.Year(), base.Year() + 1} {
		m, ok := c.inYear(year)
		if ok && m.at.After(base) {
			return m, m.at.Sub(base) <= LongestWait
		}
	}
	return moment{}, false
}

func (c *civil) inYear(year int) (moment, bool) {
	if year < 1970 || year > 2200 || c.hour == 24 && c.minute+c.sec > 0 {
		return moment{}, false
	}
	t := time.Date(year, time.Month(c.month), c.day, 0, 0, 0, 0, time.UTC)
	if t.Day() != c.day || int(t.Month()) != c.month {
		return moment{}, false // 31 April
	}
	t = t.Add(time.Duration(c.hour)*time.Hour + time.Duration(c.minute)*time.Minute + time.Duration(c.sec)*time.Second + time.Duration(c.nano))
	m := c.zone.apply(t)
	m.asctime = c.asctime
	return m, true
}

func (c *civil) cutDate(s string) (rest string, ok bool) {
	if !isDigit(s[0]) {
		return c.cutMonthFirst(s)
	}
	first, rest, ok := cutInt(s, 1, 4)
	if !ok || rest == "" {
		return s, false
	}
	if len(s)-len(rest) == 4 {
		c.year = first
		return c.cutYearFirst(rest)
	}
	if len(s)-len(rest) > 2 {
		return s, false
	}
	c.day = first
	if after, ok := strings.CutPrefix(rest, "月"); ok {
		c.month, c.day = first, 0
		return c.cutCJKDay(after)
	}
	if after, ok := strings.CutPrefix(rest, "월"); ok {
		c.month, c.day = first, 0
		return c.cutCJKDay(after)
	}
	switch sep := rest[0]; sep {
	case '.':
		if c.month, rest, ok = cutInt(rest[1:], 1, 2); ok && strings.HasPrefix(rest, ".") {
			c.year, rest, ok = cutInt(rest[1:], 4, 4)
			return rest, ok && inRange(c.month, 1, 12)
		}
		rest = strings.TrimPrefix(s[2:], ".") // "1. März 2026"
		if len(s) > 1 && s[1] == '.' {
			rest = s[2:]
		}
		return c.cutMonthThenYear(rest)
	case '/':
		second, rest, ok := cutInt(rest[1:], 1, 2)
		if !ok || !strings.HasPrefix(rest, "/") {
			return s, false
		}
		if c.year, rest, ok = cutInt(rest[1:], 4, 4); !ok {
			return s, false
		}
		switch {
		case first > 12 && inRange(second, 1, 12):
			c.day, c.month = first, second
		case second > 12 && inRange(first, 1, 12), first == second:
			c.day, c.month = second, first
		default:
			return s, false
		}
		return rest, true
	case ' ', '-', 's', 'n', 'r', 't': // 2 March, 02-Mar-26, 2nd of March
		for _, ordinal := range []string{"st", "nd", "rd", "th"} {
			rest = strings.TrimPrefix(rest, ordinal)
		}
		return c.cutMonthThenYear(rest)
	}
	return s, false
}

func (c *civil) cutMonthThenYear(s string) (rest string, ok bool) {
	rest = strings.TrimLeft(s, " -")
	rest = strings.TrimPrefix(rest, "of ")
	rest = strings.TrimPrefix(rest, "de ")
	if c.month, rest, ok = cutMonth(rest); !ok {
		return s, false
	}
	year := strings.TrimLeft(rest, " -,.")
	year = strings.TrimPrefix(year, "de ")
	if y, after, ok := cutInt(year, 4, 4); ok && !strings.HasPrefix(after, ":") {
		c.year, rest = y, after
	} else if y, after, ok := cutInt(year, 2, 2); ok && strings.HasPrefix(rest, "-") {
		c.year, rest = 2000+y, after // RFC 850
	}
	return rest, inRange(c.day, 1, 31)
}

func (c *civil) cutMonthFirst(s string) (rest string, ok bool) {
	if c.month, rest, ok = cutMonth(s); !ok {
		return s, false
	}
	if c.day, rest, ok = cutInt(strings.TrimLeft(rest, " ."), 1, 2); !ok {
		return s, false
	}
	for _, ordinal := range []string{"st", "nd", "rd", "th"} {
		rest = strings.TrimPrefix(rest, ordinal)
	}
	if strings.HasPrefix(rest, ":") {
		return s, false // "May 5:30"
	}
	year := strings.TrimLeft(rest, " ,")
	if y, after, ok := cutInt(year, 4, 4); ok && !strings.HasPrefix(after, ":") {
		c.year, rest = y, after
	}
	return rest, inRange(c.day, 1, 31)
}

// cutYearFirst reads what follows the year: -03-02, /3/2, .03.02, -Mar-02, 年3月2日.
func (c *civil) cutYearFirst(s string) (rest string, ok bool) {
	for _, sign := range []string{"年", "년"} {
		if after, isCJK := strings.CutPrefix(s, sign); isCJK {
			if c.month, rest, ok = cutInt(strings.TrimLeft(after, " "), 1, 2); !ok {
				return s, false
			}
			rest, ok = strings.CutPrefix(rest, "月")
			if !ok {
				rest, ok = strings.CutPrefix(rest, "월")
			}
			if !ok {
				return s, false
			}
			return c.cutCJKDay(rest)
		}
	}
	sep := s[0]
	if sep != '-' && sep != '/' && sep != '.' {
		return s, false
	}
	if c.month, rest, ok = cutInt(s[1:], 1, 2); !ok {
		if c.month, rest, ok = cutMonth(s[1:]); !ok {
			return s, false
		}
	}
	if rest == "" || rest[0] != sep {
		return s, false
	}
	c.day, rest, ok = cutInt(rest[1:], 1, 2)
	return rest, ok && inRange(c.month, 1, 12) && inRange(c.day, 1, 31)
}

func (c *civil) cutCJKDay(s string) (rest string, ok bool) {
	if c.day, rest, ok = cutInt(strings.TrimLeft(s, " "), 1, 2); !ok {
		return s, false
	}
	for _, sign := range []string{"日", "号", "號", "일"} {
		if after, ok := strings.CutPrefix(rest, sign); ok {
			return after, inRange(c.month, 1, 12) && inRange(c.day, 1, 31)
		}
	}
	return s, false
}

// cutDateJoiner skips what stands between a date and a time of day.
func cutDateJoiner(s string) string {
	if s == "" {
		return s
	}
	if s[0] == 'T' || s[0] == '_' || s[0] == ':' {
		return s[1:]
	}
	s = strings.TrimLeft(s, " ,")
	for _, word := range []string{"at ", "um ", "à ", "a las ", "às ", "alle ", "alle ore ", "в ", "klo ", "saat ", "pukul ", "lúc ", "o "} {
		if rest, ok := strings.CutPrefix(s, word); ok {
			return rest
		}
	}
	return s
}

// cutInt reads an integer of least to most digits.
func cutInt(s string, least, most int) (n int, rest string, ok bool) {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		if i == most {
			return 0, s, false
		}
		n = n*10 + int(s[i]-'0')
		i++
	}
	return n, s[i:], i >= least
}

func inRange(n, low, high int) bool { return low <= n && n <= high }
