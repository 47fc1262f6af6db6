package template

import (
	"bytes"
	"unicode/utf8"
)

// top returns the last word written, empty at the start.
func (m *scanner) top() []byte { return m.out[lastWord(m.out[:m.n]):m.n] }

// below returns the word before the last one.
func (m *scanner) below() []byte {
	text := bytes.TrimSuffix(m.out[:lastWord(m.out[:m.n])], space)
	return text[lastWord(text):]
}

var space = []byte{' '}

// pop takes back the last word.
func (m *scanner) pop() {
	m.n = len(bytes.TrimSuffix(m.out[:lastWord(m.out[:m.n])], space))
}

func (m *scanner) masked() bool { return m.n > 0 && m.out[m.n-1] == '#' }

// endsNumber reports whether a unit would join the masked number before it. It
// does not in "per 5 minutes": that is a quota's period, not a time to wait.
func (m *scanner) endsNumber() bool { return m.masked() && !isPer(m.below()) }

// push writes a word of letters, in lower case, unless it is the unit of a
// masked number before it.
func (m *scanner) push(w string) {
	if m.masked() && isUnit(w) && m.endsNumber() {
		return
	}
	m.write(w)
}

// pushCJK writes one character of a script without spaces, unless it belongs to
// a masked date or duration before it.
func (m *scanner) pushCJK(w string, r rune) {
	switch r {
	case '年', '月', '日', '号', '天', '点', '分', '秒', '钟', '鐘', '周', '週', '个', '個', '초', '분', '일':
		if m.endsNumber() {
			return
		}
	case '时', '時':
		if m.endsNumber() {
			return
		}
		if string(m.top()) == "小" && string(m.below()) == "#" {
			before := m.n
			if m.pop(); m.endsNumber() {
				return
			}
			m.n = before
		}
	}
	m.write(w)
}

// pushMask writes a mask, which includes a month or weekday before it and a
// mask before it.
func (m *scanner) pushMask() {
	for isCalendar(m.top()) {
		m.pop()
	}
	if !m.masked() {
		m.write("#")
	}
}

// write appends a word, or ends the scan if it does not fit.
func (m *scanner) write(w string) {
	n, gap := m.n, 0
	if n > 0 && !(w[0] >= utf8.RuneSelf && m.out[n-1] >= utf8.RuneSelf && m.joinsCJK(w)) {
		gap = 1
	}
	if n+gap+len(w) > maxOutput {
		m.full = true
		return
	}
	if gap > 0 {
		m.out[n] = ' '
		n++
	}
	out := m.out[n : n+len(w)]
	for i := range len(w) {
		out[i] = lowers[w[i]]
	}
	m.n = n + len(w)
}

// joinsCJK reports whether w and the last word are both characters that stand
// without a space between them.
func (m *scanner) joinsCJK(w string) bool {
	if lead := m.out[max(m.n-3, 0)]; lead >= 0xE5 && lead <= 0xE9 && isHan(w, 0) {
		return true
	}
	r, _ := utf8.DecodeRuneInString(w)
	before, _ := utf8.DecodeLastRune(m.out[:m.n])
	return isCJK(r) && isCJK(before)
}

// number reads the digits src[i:j]: a status, an error code, or one to mask.
func (m *scanner) number(i, j int) {
	digits := m.src[i:j]
	top := m.top()
	switch {
	case isStatus(digits) && (namesStatus(top) || m.enclosed(i, j) || m.opensLine(i) && digits[0] >= '4' || m.phrased(j)):
		m.pushKept("http", digits)
	case isCode(digits) && namesCode(top):
		m.pushKept("code", digits)
	default:
		m.pushMask()
	}
}

// pushKept writes a number that survives, in place of its kind's word before it.
func (m *scanner) pushKept(kind, digits string) {
	if kind == "code" && isStatus(digits) {
		kind = "http"
	}
	for string(m.top()) == kind {
		m.pop()
	}
	m.write(kind + digits)
}

// isStatus reports whether digits can be an HTTP status: 100 to 599.
func isStatus(digits string) bool {
	return len(digits) == 3 && digits[0] >= '1' && digits[0] <= '5'
}

func isCode(digits string) bool { return len(digits) <= 6 }

func namesCode(word []byte) bool {
	switch string(word) {
	case "code", "errno", "errcode", "码":
		return true
	}
	return false
}

func namesStatus(word []byte) bool {
	switch string(word) {
	case "http", "https", "status", "statuscode", "error", "err", "误":
		return true
	}
	return namesCode(word)
}

// enclosed reports whether src[i:j] stands alone in brackets, as in (429).
func (m *scanner) enclosed(i, j int) bool {
	return i > 0 && j < len(m.src) && (m.src[i-1] == '(' && m.src[j] == ')' || m.src[i-1] == '[' && m.src[j] == ']')
}

// opensLine reports whether src[i] is the first of its line.
func (m *scanner) opensLine(i int) bool {
	for i > 0 && (m.src[i-1] == ' ' || m.src[i-1] == '"') {
		i--
	}
	return i == 0 || m.src[i-1] == '\n'
}

// phrased reports whether the first word of a status's standard text follows.
func (m *scanner) phrased(j int) bool {
	for j < len(m.src) && (m.src[j] == ' ' || m.src[j] == '-' || m.src[j] == ':') {
		j++
	}
	end := j
	for end < len(m.src) && end-j < maxKeyword && isLetter(m.src[end]) {
		end++
	}
	var buf [maxKeyword]byte
	switch string(lowered(&buf, m.src[j:end])) {
	case "too", "unauthorized", "forbidden", "bad", "not", "internal", "service", "gateway", "payment",
		"conflict", "gone", "unprocessable", "status", "error":
		return true
	}
	return false
}

// isCalendar reports whether word names a month or a weekday, which next to a
// number is part of a date.
func isCalendar(word []byte) bool {
	switch string(word) {
	case "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
		"january", "february", "march", "april", "june", "july", "august", "september", "october", "november", "december",
		"mon", "tue", "wed", "thu", "fri", "sat", "sun",
		"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday":
		return true
	}
	return false
}

// isUnit reports whether word after a number is part of a duration, a time or
// a size.
func isUnit(word string) bool {
	var buf [maxKeyword]byte
	w := lowered(&buf, word)
	switch string(w) {
	case "ns", "ms", "s", "sec", "secs", "second", "seconds", "m", "min", "mins", "minute", "minutes",
		"h", "hr", "hrs", "hour", "hours", "d", "day", "days", "week", "weeks", "month", "months",
		"utc", "gmt", "am", "pm", "kb", "mb", "gb", "kib", "mib", "gib":
		return true
	case "may":
		return false
	}
	return isCalendar(w)
}

// isPer reports whether word before a number makes it the length of a quota's
// period, whose unit tells one limit from another.
func isPer(word []byte) bool {
	switch string(word) {
	case "per", "every", "each", "每":
		return true
	}
	return false
}

// isModel reports whether run is the name of a language model that holds a
// digit: what follows the word model, or a known family's name.
func (m *scanner) isModel(run string) bool {
	if len(run) > maxWord || !isLetter(run[0]) {
		return false
	}
	digits, row := 0, 0
	for i := range len(run) {
		c := run[i]
		switch {
		case isDigit(c):
			digits++
			if row++; row > 8 {
				return false
			}
		case isLetter(c) || c == '-' || c == '.' || c == '_':
			row = 0
		default:
			return false
		}
	}
	if digits == 0 || allHex(run) || isVarying(run) {
		return false
	}
	if top := string(m.top()); top == "model" || top == "型" {
		return true
	}
	n := 0
	for n < len(run) && isLetter(run[n]) {
		n++
	}
	var buf [maxKeyword]byte
	switch string(lowered(&buf, run[:n])) {
	case "gpt", "chatgpt", "claude", "gemini", "gemma", "llama", "qwen", "glm", "deepseek", "grok", "mistral", "mixtral",
		"phi", "ernie", "doubao", "kimi", "o":
		return true
	}
	return false
}

// isDomain reports whether label ends host names, and not those of files and
// of types in dotted code.
func isDomain(label string) bool {
	var buf [maxKeyword]byte
	switch string(lowered(&buf, label)) {
	case "com", "net", "org", "io", "dev", "ai", "app", "cn", "co", "jp", "kr", "uk", "de", "eu", "us",
		"cloud", "local", "internal", "localhost", "lan", "test", "example", "invalid":
		return true
	}
	return false
}
