package classify

import "strings"

var weekdays = []string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "mon", "tue", "wed", "thu", "fri", "sat", "sun", "tues", "thurs"}

// cutWeekday skips the name of a weekday, which adds nothing to a date.
func cutWeekday(s string) string {
	n := 0
	for n < len(s) && n < 10 && (isLower(s[n]) || isUpper(s[n])) {
		n++
	}
	if n < 3 || n == len(s) || s[n] != ',' && s[n] != ' ' && s[n] != '.' {
		return s
	}
	for _, name := range weekdays {
		if strings.EqualFold(s[:n], name) {
			return strings.TrimLeft(s[n:], ",. ")
		}
	}
	return s
}

var months = [12]string{
	"january|jan|januar|janvier|enero|janeiro|gennaio|января", "february|feb|februar|février|febrero|fevereiro|febbraio|февраля",
	"march|mar|märz|mars|marzo|março|марта", "april|apr|avril|abril|aprile|апреля", "may|mai|mayo|maio|maggio|мая", "june|jun|juni|juin|junio|junho|giugno|июня",
	"july|jul|juli|juillet|julio|julho|luglio|июля", "august|aug|août|agosto|августа", "september|sept|sep|septembre|septiembre|setembro|settembre|сентября",
	"october|oct|oktober|octobre|octubre|outubro|ottobre|октября", "november|nov|novembre|noviembre|novembro|ноября", "december|dec|dezember|décembre|diciembre|dezembro|dicembre|декабря",
}

func startsMonth(s string) bool {
	_, _, ok := cutMonth(s)
	return ok
}

func cutMonth(s string) (int, string, bool) {
	if s == "" {
		return 0, s, false
	}
	for _, m := range monthsBy[lowerByte(s[0])] {
		if size, ok := prefixFold(s, m.text); ok && !startsWithLetter(s[size:]) {
			return m.month, s[size:], true
		}
	}
	return 0, s, false
}

type monthName struct {
	text  string
	month int
}

var monthsBy = func() (by [256][]monthName) {
	for i, names := range months {
		for text := range strings.SplitSeq(names, "|") {
			by[text[0]] = append(by[text[0]], monthName{text, i + 1})
		}
	}
	return by
}()
