package classify

import (
	"strings"
	"time"
	"unicode/utf8"
)

// maxStatements bounds the times of one text that are looked at closely.
const maxStatements = 64

// readProse calls yield with every wait that the sentences of text state: "try
// again in 6m12s", "请在 30 秒后重试", "resets at midnight UTC". A time counts only
// where words right before or behind it say that one has to wait for it
// (cues.go); fillers may stand between.
func readProse(text string, c clock, yield func(found)) {
	for i, n := 0, 0; i < len(text) && n < maxStatements; {
		next := nextTime(text, i)
		if next < 0 {
			return
		}
		s := statement{text: text, start: next, clock: c}
		if s.read() {
			n++
			if hit, ok := s.judge(); ok {
				yield(hit)
			}
			i = s.end
			continue
		}
		i = skipWord(text, next)
	}
}

// nextTime returns where the next word stands that a time may begin with.
func nextTime(text string, i int) int {
	for i < len(text) {
		b := text[i]
		switch {
		case isDigit(b):
			if i == 0 || !isAlnum(text[i-1]) && !midNumber(text, i) {
				return i
			}
			i = skipWord(text, i)
		case b < utf8.RuneSelf:
			if !wordBytes[b] {
				i++
				continue
			}
			n := wordLength(text[i:])
			if at := shape(text[i:], n); shapes[at/64]>>(at%64)&1 != 0 && oneStarts(text[i:], n, shapedWords[at]) || b == 'P' && startsISO(text[i:]) {
				return i
			}
			i += n
		case b == 0xd0 || b == 0xd1 || b == 0xc3 || b == 0xc5: // Cyrillic, accented Latin
			if startsTimeWord(text[i:]) {
				return i
			}
			i = skipWord(text, i)
		case isHan(text, i):
			if r := hanAt(text, i) - firstHan; hanTimes[r/64]>>(r%64)&1 != 0 {
				return i
			}
			i += 3
		default:
			r, size := utf8.DecodeRuneInString(text[i:])
			if cjkNumeral(r) != 0 || r >= '０' && r <= '９' || r == '明' || r == '午' || r == '내' || r == '자' {
				return i
			}
			i += size
		}
	}
	return -1
}

// hanTimes are the Chinese characters that a time may begin with.
var hanTimes = func() (set [(lastHan-firstHan)/64 + 1]uint64) {
	for r := rune(firstHan); r <= lastHan; r++ {
		if cjkNumeral(r) != 0 || r == '明' || r == '午' {
			set[(r-firstHan)/64] |= 1 << ((r - firstHan) % 64)
		}
	}
	return set
}()

// midNumber reports that text[i] is inside of a number, or a price or a serial
// number, or negative.
func midNumber(text string, i int) bool {
	switch b := text[i-1]; b {
	case '.', ',', ':', '/':
		return i > 1 && isDigit(text[i-2])
	case '#', '$':
		return true
	case '-':
		return i < 2 || !isDigit(text[i-2])
	case ' ': // thousands: "1 500 seconds"
		if i < 2 || !isDigit(text[i-2]) {
			return false
		}
		n := 0
		for i+n < len(text) && isDigit(text[i+n]) {
			n++
		}
		return n == 3
	}
	return strings.HasSuffix(text[:i], "第") || strings.HasSuffix(text[:i], "€") || strings.HasSuffix(text[:i], "£") || strings.HasSuffix(text[:i], "\u00a0") && i > 2 && isDigit(text[i-3])
}

// skipWord moves past the digits, the word or the one wide character at i.
func skipWord(text string, i int) int {
	b := text[i]
	switch {
	case isDigit(b):
		for i < len(text) && isDigit(text[i]) {
			i++
		}
		return i
	case b < 0xe0:
		for i < len(text) && wordBytes[text[i]] {
			i++
		}
		for i < len(text) && text[i]&0xc0 == 0x80 {
			i++ // the rest of a rune
		}
		return i
	}
	_, size := utf8.DecodeRuneInString(text[i:])
	return i + size
}

// wordBytes are the bytes of words in alphabetic scripts.
var wordBytes = func() (in [256]bool) {
	for b := range 256 {
		in[b] = isAlnum(byte(b)) || b >= utf8.RuneSelf && b < 0xe0
	}
	return in
}()

// statement is a time in running text.
type statement struct {
	text       string
	clock      clock
	start, end int
	moment
	vague  bool // "a few minutes"
	colons bool // hh:mm:ss, which may be a time of day as well
	number bool // neither unit nor zone
	day    bool // "tomorrow", "midnight"
}

// read reads the time at s.start in whatever notation it is in.
func (s *statement) read() bool {
	t := s.text[s.start:]
	set := func(m moment, rest string) bool {
		s.moment, s.end = m, len(s.text)-len(rest)
		return true
	}
	if isDigit(t[0]) || startsMonth(t) || s.clock.base.Year() > 1 && startsWeekday(t) {
		if m, rest, ok := cutInstant(t, s.clock.base); ok && !s.midDate() {
			return set(m, rest)
		}
	}
	if m, rest, ok := cutTimeOfDay(t, s.clock.base); ok {
		s.day = !isDigit(t[0])
		return set(m, rest)
	}
	if isDigit(t[0]) {
		if d, rest, ok := cutClockDuration(t); ok {
			s.colons = true
			return set(moment{wait: d}, rest)
		}
	}
	if d, rest, vague, ok := cutVagueDuration(t); ok && !s.midDate() {
		s.vague = vague || isIdiom(t[:len(t)-len(rest)])
		return set(moment{wait: d}, rest)
	}
	if d, rest, ok := cutISODuration(t); ok {
		return set(moment{wait: d}, rest)
	}
	if n, rest, ok := cutDigits(t); ok && n.point != ',' && endsNumber(rest) {
		if m, ok := numberMoment(n.value, time.Second); ok {
			s.number = true
			return set(m, rest)
		}
	}
	return false
}

// midDate reports that the number belongs to a date or a larger number before
// it: 3月2日 is no two days, 13点5分 no five minutes, 一个半小时 no half an hour.
func (s *statement) midDate() bool {
	before := s.text[:s.start]
	for _, sign := range []string{"月", "年", "点", "點", "个", "個", "第", "월", "년", "每", "毎"} {
		if strings.HasSuffix(strings.TrimRight(before, " "), sign) {
			return true
		}
	}
	return false
}

// isIdiom: who says "wait a second" has not counted.
func isIdiom(s string) bool { return strings.EqualFold(s, "a second") || strings.EqualFold(s, "a sec") }

// judge asks whether the words around a time make a wait of it.
func (s *statement) judge() (found, bool) {
	from := s.start
	lower := rangeStart(s.text[:s.start])
	if lower < from {
		from = lower // the upper end of "5-10 minutes" counts, and is vague
		s.vague = true
	}
	lead := leadOf(s.text[:from], s.number)
	follow := followOf(s.text[s.end:], !s.instant)
	if follow.denied {
		return found{}, false
	}
	hit := found{moment: s.moment}
	if s.vague && hit.wait < few*time.Second {
		hit.wait = defaultWait
	}
	start, end := from, s.end
	switch {
	case lead.cue && s.fits(lead):
		hit.advice, start = lead.advice, from-lead.size
	case follow.cue && !s.number && (!s.colons || follow.after) && !boundsSize(s.text[:from]):
		hit.advice, end = follow.advice, s.end+follow.size
	default:
		return found{}, false
	}
	hit.vague = s.vague || lead.preps&prepWithin != 0 && !s.instant
	hit.source = Source{SourceText, strings.TrimSpace(truncate(s.text[start:end], maxQuote))}
	return hit, true
}

// bounds stand before the most that something may take, which is no wait:
// "shorten it to at most 2 minutes and try again".
var bounds = []string{"most", "max", "max.", "maximum", "up to", "than", "under", "höchstens", "maximal", "au plus", "au maximum", "máximo", "massimo", "не более", "до", "hoogstens", "不超过", "最多", "以内"}

func boundsSize(before string) bool {
	before = strings.TrimRight(before, " ")
	for _, bound := range bounds {
		if strings.HasSuffix(before, bound) {
			return true
		}
	}
	return false
}

// fits reports that the words between the cue and the time go with its kind.
func (s *statement) fits(lead lead) bool {
	switch {
	case s.number && !s.instant:
		return lead.bare && lead.preps&(prepIn|prepAfter|prepColon) != 0
	case s.colons:
		return lead.preps&prepIn != 0 // after "after" it may be a time of day
	case s.instant:
		return lead.takesDate || lead.takesDay && s.day
	}
	return lead.takesDelay
}

// rangeStart returns where the lower number of a range begins that ends with
// text: "5-", "5 to ", "5～".
func rangeStart(text string) int {
	rest := strings.TrimRight(text, " ")
	for _, sign := range []string{"-", "–", "~", "～", "〜", "至", "到", " to", " bis", " à", " a", " до", " до"} {
		before, ok := strings.CutSuffix(rest, sign)
		if !ok {
			continue
		}
		before = strings.TrimRight(before, " ")
		i := len(before)
		for i > 0 && isDigit(before[i-1]) {
			i--
		}
		if i < len(before) && (i == 0 || !isAlnum(before[i-1])) {
			return i
		}
	}
	return len(text)
}
