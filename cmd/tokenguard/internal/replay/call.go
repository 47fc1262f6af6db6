package replay

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
)

// Call is one line of a log: somebody wanted a token, or said how one did.
type Call struct {
	File    string // "" if there is one log alone
	Line    int
	At      time.Time
	Cause   string
	Caller  string
	Scope   string
	Status  int              // what the call ended with for which a token is wanted; 0: not known
	Body    string           // its text
	Class   tokenguard.Class // what an earlier guard made of it; "": Status and Body decide
	Failing string           // the token with which it failed: an ID, any name, Current or Personal
	Token   string           // the ID of the one that an earlier guard handed out or heard of
	Event   tokenguard.EventKind
	Repeats int // like calls at the same instant
}

const (
	// Current, as Call.Failing, is the token that the replay handed out last.
	Current = "current"
	// Personal, as Call.Failing, is the account's own token, which no acquisition replaces.
	Personal = "personal"
)

// Place is where the call stands in the log.
func (c *Call) Place() string {
	if c.File == "" {
		return fmt.Sprintf("line %d", c.Line)
	}
	return fmt.Sprintf("%s:%d", c.File, c.Line)
}

// failure is the one that the line carries; zero: none. A status below 400 is one only where the text says what failed.
func (c *Call) failure() (f tokenguard.Failure) {
	switch {
	case c.Class != "":
		return tokenguard.Failure{Message: c.Body, Err: recorded{c.Class}, At: c.At}
	case c.Status == 0 && (c.Body == "" || c.Event != ""), c.Status > 0 && c.Status < 400 && c.Body == "":
		return f
	}
	f = tokenguard.Failure{StatusCode: c.Status, Message: c.Body, At: c.At}
	if c.Status > 0 && c.Status < 400 && tokenguard.Classify(f) == tokenguard.ClassUnknown {
		return tokenguard.Failure{}
	}
	return f
}

var classes = []tokenguard.Class{tokenguard.ClassQuotaExhausted, tokenguard.ClassRateLimited, tokenguard.ClassAuthInvalid,
	tokenguard.ClassForbidden, tokenguard.ClassTransient, tokenguard.ClassClientError, tokenguard.ClassUnknown}

// class reads a class that a log states.
func class(s string) (tokenguard.Class, error) {
	if s == "" {
		return "", nil
	}
	var names []string
	for _, c := range classes {
		if s == string(c) {
			return c, nil
		}
		names = append(names, string(c))
	}
	return "", fmt.Errorf("class %q: want one of %s", shorten(s), strings.Join(names, ", "))
}

// status reads 429, 429.0, "429 Too Many Requests"; nothing and - are 0.
func status(s string) (int, error) {
	number, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	if number == "" || number == "-" {
		return 0, nil
	}
	if f, err := strconv.ParseFloat(number, 64); err == nil && f == float64(int(f)) && (f == 0 || f >= 100 && f < 1000) {
		return int(f), nil
	}
	return 0, fmt.Errorf("status %q: want a number from 100 to 999, or 0 for none", shorten(s))
}
