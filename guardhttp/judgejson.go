package guardhttp

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/tokenguard/tokenguard"
)

// mediaType is the type of a body without its parameters, which some servers send twice, or broken.
func mediaType(h http.Header) string {
	kind := h.Get("Content-Type")
	if i := strings.IndexAny(kind, ";,"); i >= 0 {
		kind = kind[:i]
	}
	return strings.ToLower(strings.TrimSpace(kind))
}

func isJSON(kind string) bool {
	return kind == "application/json" || strings.HasSuffix(kind, "+json")
}

// told are "error" and "errors", and the neighbours that are passed on with them. All others may hold what a user or a
// model wrote, which says nothing about the call.
var told = map[string]bool{
	"error": true, "errors": true, "code": true, "status": true, "message": true, "msg": true, "type": true, "reason": true, "detail": true,
	"error_code": true, "error_type": true, "error_message": true, "error_description": true, "statusCode": true,
	"status_code": true, "retry_after": true, "retryAfter": true, "request_id": true,
}

// besideErrors are neighbours of "errors" that are no result of the call, whatever they hold.
var besideErrors = map[string]bool{
	"error": true, "errors": true, "extensions": true, "meta": true, "metadata": true, "links": true, "jsonapi": true, "status": true,
	"request": true,
}

const maxKey = 24 // longer than any that is told

// jsonJudge follows a JSON object without keeping it.
type jsonJudge struct {
	depth   int  // of open objects and arrays
	begun   bool // the first byte was seen
	ended   bool // the object is closed, or there is none
	quoted  bool // within a string
	escaped bool
	isKey   bool // that string is a key of the object itself, or the next one is

	key   []byte // the current one, of the object itself; cut at maxKey
	value []byte // of a key that is told, cut at maxPeek
	keep  bool
	text  []byte // the fields that are told, so far
	wrong bool   // there is an error
	many  bool   // there are errors, in an array
	some  bool   // there is a result beside them

	isNested bool // the value is an object or an array
	isResult bool // it is true, or a number other than 0
	holds    bool // something other than null is in it
	pending  bool // the string that was read last is such a thing, if no colon follows it
}

// Feed reports true when the object is closed.
func (j *jsonJudge) Feed(p []byte) (decided bool) {
	for _, c := range p {
		if j.next(c); j.ended {
			break
		}
	}
	return j.ended
}

func (j *jsonJudge) next(c byte) {
	switch {
	case j.ended:
		return
	case !j.begun:
		j.first(c)
		return
	case j.quoted:
		j.inString(c)
		return
	}
	switch c {
	case '"':
		j.quoted = true
		if j.depth == 1 && j.isKey {
			j.key = j.key[:0]
			return
		}
		j.pending = true
	case '{', '[':
		j.isNested = true
		j.depth++
	case '}', ']':
		j.settle()
		if j.depth == 1 {
			j.field()
			j.ended = true
			return
		}
		j.depth--
	case ',':
		j.settle()
		if j.depth == 1 {
			j.field()
			j.isKey = true
			return
		}
	case ':':
		j.pending = false
		if j.depth == 1 {
			j.isKey, j.keep = false, told[string(j.key)]
			j.isNested, j.isResult, j.holds = false, false, false
			return
		}
	case ' ', '\t', '\r', '\n':
		return
	case 't', 'f', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		j.holds = true
		j.isResult = j.isResult || c == 't' || '1' <= c && c <= '9'
	}
	j.put(c)
}

// first waits for the object.
func (j *jsonJudge) first(c byte) {
	switch {
	case c == '{':
		j.begun, j.isKey, j.depth = true, true, 1
	case !isMark(c) && c != ' ' && c != '\t' && c != '\r' && c != '\n':
		j.ended = true
	}
}

func (j *jsonJudge) inString(c byte) {
	key := j.depth == 1 && j.isKey
	switch {
	case j.escaped:
		j.escaped = false
	case c == '\\':
		j.escaped = true
	case c == '"':
		j.quoted = false
		if key {
			return
		}
	}
	switch {
	case !key:
		j.put(c)
	case len(j.key) <= maxKey:
		j.key = append(j.key, c)
	}
}

func (j *jsonJudge) put(c byte) {
	if j.keep {
		j.value = appendMax(j.value, maxPeek, c)
	}
}

// settle ends a value within the current field.
func (j *jsonJudge) settle() {
	j.holds, j.pending = j.holds || j.pending, false
}

// field ends a field of the object.
func (j *jsonJudge) field() {
	value, keep := j.value, j.keep
	j.value, j.keep = j.value[:0], false
	isError, isErrors := string(j.key) == "error", string(j.key) == "errors"
	if beside := besideErrors[string(j.key)] || keep && !j.isNested; !beside && j.holds && (j.isNested || j.isResult || string(j.key) == "data") {
		j.some = true
	}
	if isErrors {
		if !j.holds || len(value) == 0 || value[0] != '[' { // none, their number, or those of a form by its fields
			return
		}
		j.many = true
	}
	if !keep || j.isNested && !isError && !isErrors {
		return
	}
	j.wrong = j.wrong || isError && !isNothing(value)
	if room := maxPeek - len(j.text) - len(j.key); room > 0 {
		j.text = append(append(append(j.text, ",\""...), j.key...), "\":"...)
		j.text = append(j.text, value[:min(len(value), room)]...)
	}
}

// reset makes it ready for another object.
func (j *jsonJudge) reset() {
	*j = jsonJudge{key: j.key[:0], value: j.value[:0], text: j.text[:0]}
}

// isNothing reports whether a value of "error" says that there is none.
func isNothing(value []byte) bool {
	switch string(value) {
	case "", "null", "false", "0", `""`, "{}", "[]":
		return true
	}
	return false
}

// message is what is passed on.
func (j *jsonJudge) message() string {
	return "{" + string(bytes.TrimPrefix(j.text, []byte(","))) + "}"
}

// failed reports whether what was seen is a failure. Errors beside a result are those of its parts, which a body
// that breaks off has not shown.
func (j *jsonJudge) failed() bool { return j.wrong || j.many && !j.some && j.ended }

// Verdict of a body that breaks off is a failure if the error was seen, and open if not.
func (j *jsonJudge) Verdict(whole bool) (f tokenguard.Failure, ok bool) {
	if j.failed() {
		return tokenguard.Failure{Message: j.message()}, true
	}
	return f, whole && (j.ended || !j.many)
}
