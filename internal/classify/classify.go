// Package classify names what an API call ended with and reads from it how
// long to wait and how much is left.
//
// The question behind every class is what should happen to the token. Two
// classes permit a new one, [QuotaExhausted] and [AuthInvalid]; whatever
// leaves a doubt therefore goes to a class that permits none.
//
// The work is one pass that normalises the text (normalise.go), one that finds
// the words of the lexicons in it (match.go, words_en.go, words_zh.go), and a
// table of rules over what was found (rules.go). All of it is linear in the
// text, of which at most [MaxText] bytes are read.
package classify

// The classes.
const (
	QuotaExhausted = "quota_exhausted" // the allowance of the token or its account is consumed
	RateLimited    = "rate_limited"    // too much in too little time
	AuthInvalid    = "auth_invalid"    // the credential is missing, malformed, expired or revoked
	Forbidden      = "forbidden"       // the caller may not, whatever the token
	Transient      = "transient"       // the server or the network failed
	ClientError    = "client_error"    // this request is wrong
	Unknown        = "unknown"         // several causes of different classes, or none
)

// MaxText is how many bytes of a text are read; what follows is ignored.
const MaxText = 8 << 10

// Input is what an API call ended with. The zero Input says that it did not
// fail.
type Input struct {
	StatusCode int                 // HTTP status, 0 if there was none
	Header     map[string][]string // names in any case
	Text       string              // body or error text, of any size
}

func (in Input) isZero() bool {
	return in.StatusCode == 0 && in.Text == "" && len(in.Header) == 0
}

// Classify names the class of in, or "" for a zero Input. It never fails: an
// answer without a telling word is read by its status, and one without a
// status is [Unknown].
func Classify(in Input) string {
	if in.isZero() {
		return ""
	}
	return classify(weights, in)
}

func classify(weights string, in Input) string {
	ev := newEvidence(weights)
	defer ev.free()
	ev.read(in)
	return ev.judge().class
}

// read finds everything that the rules decide on.
func (ev *evidence) read(in Input) {
	ev.in = in
	ev.readHeader(in.Header)
	ev.readText(inBody, in.Text)
	ev.combine()
	ev.readWindows()
	ev.decide()
}

// byStatus reads a bare status by its HTTP meaning.
func byStatus(status int) string {
	switch {
	case status == 401:
		return AuthInvalid
	case status == 403 || status == 402 || status == 451:
		return Forbidden // 402: who never paid has consumed nothing
	case status == 429 || status == 420: // 420 was the code before 429 was one
		return RateLimited
	case status == 407 || status == 408 || status == 425 || status >= 500 && status < 600:
		return Transient
	case status >= 400 && status < 500:
		return ClientError
	}
	return Unknown
}
