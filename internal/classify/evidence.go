package classify

import (
	"strings"
	"time"
)

// evidence is what was found in an answer.
type evidence struct {
	hits   [maxHits]hit
	n      int
	base   int32
	clause int32
	said   concept
	inText int // a status that the text names

	used     bool // the headers show a window that is used up
	usedLong bool // that window is a plan's own, not one of seconds to an hour
	retry    bool // a header states a wait
}

// readText finds the words of an answer's text.
func (ev *evidence) readText(text string) {
	if text == "" {
		return
	}
	var buf [1024]byte
	ev.scan(normalise(buf[:0], truncate(text, MaxText)))
}

// readHeader finds the words of the headers that carry an error's text.
func (ev *evidence) readHeader(header map[string][]string) {
	for name, values := range header {
		if !carriesError(name) {
			continue
		}
		for _, v := range values {
			ev.readText(v)
		}
	}
}

func carriesError(name string) bool {
	return containsFold(name, "error") || containsFold(name, "authenticate") || containsFold(name, "reason") ||
		containsFold(name, "mitigated") || containsFold(name, "grpc-message")
}

// containsFold reports whether s holds the lower-case ASCII text sub, in any
// case.
func containsFold(s, sub string) bool {
	for i := 0; i+len(sub) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(sub)], sub) {
			return true
		}
	}
	return false
}

// combine adds what pairs of hits say.
func (ev *evidence) combine() {
	for i := range ev.n {
		a := &ev.hits[i]
		for j := i + 1; j < ev.n; j++ {
			b := &ev.hits[j]
			gap := b.start - a.end
			if b.clause != a.clause || gap > maxGap {
				break
			}
			for _, p := range pairs {
				if gap <= p.gap && (a.says&p.a != 0 && b.says&p.b != 0 || a.says&p.b != 0 && b.says&p.a != 0) {
					ev.said |= p.says
				}
			}
		}
		for _, p := range pairs {
			if a.says&p.a != 0 && a.says&p.b != 0 {
				ev.said |= p.says
			}
		}
	}
}

const maxGap = 64

// decide returns the class of the first rule that fits, "" if none does.
func (ev *evidence) decide(in Input) string {
	for i := range rules {
		r := &rules[i]
		if (r.any == 0 || ev.said&r.any != 0) && (r.also == 0 || ev.said&r.also != 0) && ev.said&r.none == 0 &&
			(r.when == nil || r.when(ev, in)) {
			return r.class
		}
	}
	return ""
}

// status is the HTTP status, or what the text says of it where the transport
// shows none or success.
func (ev *evidence) status(status int) int {
	if status < 400 && ev.inText != 0 {
		return ev.inText
	}
	return status
}

func (ev *evidence) says(c concept) bool { return ev.said&c != 0 }

func twoCauses(ev *evidence, _ Input) bool {
	return ev.says(spent | overLimit | periodCap | noRight | noAddress | barred)
}

// serversOwn: room is missing at the server, not in the caller's pace.
func serversOwn(ev *evidence, _ Input) bool {
	return !ev.says(pace) || !ev.says(yours)
}

func blockedForPace(ev *evidence, _ Input) bool {
	return ev.says(barred|noAddress) && ev.says(temporary)
}

func shortWait(_ *evidence, in Input) bool {
	h := ReadHints(in, time.Time{})
	return h.HasRetryAfter && h.RetryAfter <= time.Hour
}

func longWindowUsed(ev *evidence, in Input) bool {
	return ev.usedLong && !ev.says(short) && (in.StatusCode == 429 || in.StatusCode == 402 || in.StatusCode == 0)
}

func windowUsed(ev *evidence, in Input) bool {
	return (ev.used || ev.retry) && (in.StatusCode == 403 || in.StatusCode == 429) && !ev.says(noRight)
}

// waitsForCaller: "please wait" is about the caller's pace unless the server
// has a fault.
func waitsForCaller(ev *evidence, in Input) bool {
	s := ev.status(in.StatusCode)
	return !ev.says(faulty|deadCred|loggedOut) && (s == 429 || s == 401 || s == 403)
}

func badRequestStatus(ev *evidence, in Input) bool {
	s := ev.status(in.StatusCode)
	return s == 400 || s == 422
}

func noStatus(ev *evidence, in Input) bool {
	s := ev.status(in.StatusCode)
	return s < 400
}

// refusedByServer: a credential that "is not found" may be the client's own
// search for one; only a server's status makes it dead.
func refusedByServer(ev *evidence, in Input) bool {
	s := ev.status(in.StatusCode)
	return s == 400 || s == 401 || s == 403
}

func noServerFault(ev *evidence, in Input) bool {
	s := ev.status(in.StatusCode)
	return s < 500 && s != 429 && s != 401 && s != 408
}

func noClientStatus(ev *evidence, in Input) bool {
	s := ev.status(in.StatusCode)
	return s == 0 || s == 200 || s == 408 || s >= 500
}

func limitStatus(ev *evidence, in Input) bool {
	s := ev.status(in.StatusCode)
	return s == 0 || s == 200 || s == 403 || s == 429
}

func unauthStatus(ev *evidence, in Input) bool {
	s := ev.status(in.StatusCode)
	return s == 0 || s == 200 || s == 401
}
