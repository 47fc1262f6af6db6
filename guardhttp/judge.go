package guardhttp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/tokenguard/tokenguard"
)

// Judge decides from the body of an answer whether the call succeeded, for upstreams that report an error under a
// status of 200. It sees the body as the caller reads it, so that nothing is delayed and nothing is kept for it; the
// guard hears of no success before it has decided. JudgeJSON and JudgeEvents are ready ones.
//
// The calls of one Judge never overlap. They are made from Read and Close of the body, which is where a panic of it ends
// up; it is not called again then, and the guard hears nothing.
type Judge interface {
	// Feed takes the next bytes of the body, with its encoding taken off; they must not be kept or changed. It reports
	// whether the judge has decided and needs to see no more.
	Feed(p []byte) (decided bool)
	// Verdict is called once: as soon as Feed has decided, at the end of the body (whole is true in both cases), or
	// when the body was closed or broke off before that. A zero Failure is a success. If ok is false, the judge cannot
	// tell, and the guard hears nothing. StatusCode and Header are taken from the response where the Failure has none.
	Verdict(whole bool) (f tokenguard.Failure, ok bool)
}

// JudgeJSON is a Transport.Judge for bodies that are a JSON object. The call failed if it has a field "error" that is
// anything but null, false, zero or empty, or, as GraphQL and JSON:API have it, an array "errors" that holds anything but
// null and no result beside it: no "data" with a value other than null, and nothing else that holds one (an object, an
// array, true, a number other than 0), but for what is said of the errors ("extensions", "meta", "code" and the like). A
// result beside errors is a success, of which a part failed. Other bodies are not judged. What the guard is told is the field and its
// neighbours with a known name, such as "message" and "code"; nothing else of the body, which may be a user's text.
func JudgeJSON(resp *http.Response) Judge {
	if !isJSON(mediaType(resp.Header)) {
		return nil
	}
	return &jsonJudge{}
}

// JudgeEvents is a Transport.Judge for streams of server-sent events: the call failed with the first event that is
// named "error", or whose data is a JSON object that JudgeJSON takes for a failure. "[DONE]" and the events "message_stop" and
// "response.completed" are a good end, and so is the end of the stream. Other bodies are not judged.
func JudgeEvents(resp *http.Response) Judge {
	if mediaType(resp.Header) != "text/event-stream" {
		return nil
	}
	return &eventJudge{}
}

// JudgeErrors is JudgeJSON and JudgeEvents, by the type of the body.
func JudgeErrors(resp *http.Response) Judge {
	if j := JudgeEvents(resp); j != nil {
		return j
	}
	return JudgeJSON(resp)
}

// judged is a body that a judge watches.
type judged struct {
	io.ReadCloser
	report func(tokenguard.Failure)

	mu    sync.Mutex // guards what follows: Close may be called beside Read
	judge Judge
	plain *inflater // nil for a body without an encoding
	fed   bool      // Feed has decided
	done  bool      // the judge is not asked any more
}

// watch puts a watched body into resp. report is called at most once.
func watch(resp *http.Response, judge Judge, openers []opener, report func(tokenguard.Failure)) {
	b := &judged{ReadCloser: resp.Body, judge: judge, report: report}
	if len(openers) > 0 {
		b.plain = newInflater(openers, func(p []byte) bool {
			b.fed = judge.Feed(p)
			return b.fed
		})
	}
	resp.Body = b
}

func (b *judged) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 || err != nil {
		b.see(p[:n], err)
	}
	return n, err
}

func (b *judged) Close() error {
	err := b.ReadCloser.Close()
	b.see(nil, errClosedEarly)
	return err
}

// errClosedEarly is how see hears of Close: as of a caller that left.
var errClosedEarly = context.Canceled

// see lets the judge see the next bytes, and what ended the body, if something did.
func (b *judged) see(p []byte, end error) {
	if f, ok := b.decide(p, end); ok {
		b.report(f) // not under the lock: it may wait for a store
	}
}

func (b *judged) decide(p []byte, end error) (f tokenguard.Failure, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done {
		return f, false
	}
	b.done = true // also where the judge panics
	if len(p) > 0 {
		if b.plain == nil {
			b.fed = b.judge.Feed(p)
		} else {
			b.plain.push(p)
		}
	}
	if !b.fed && end == nil {
		b.done = false
		return f, false
	}
	if b.plain != nil {
		b.plain.end()
	}
	whole := b.fed || errors.Is(end, io.EOF)
	if f, ok = b.judge.Verdict(whole); ok || whole {
		return f, ok
	}
	// Of a body that broke off only this is known; and of one that the caller closed, nothing.
	f = FailureFromError(end)
	return f, !f.IsZero()
}
