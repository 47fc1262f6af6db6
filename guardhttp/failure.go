package guardhttp

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/classify"
)

// FailureFromResponse returns what a response says went wrong: its status, a copy of its header, and the beginning of
// its body: at most 4 KiB, and no more than comes within a second. It puts the body back, so that it still reads from
// the start and as it came. It is zero for a status below 400, whose body is not touched, and for nil.
//
// The text of a body in gzip or deflate is read, and of a stream of events the data. A body in another encoding (br,
// zstd) is not looked at: Transport asks for none.
func FailureFromResponse(resp *http.Response) tokenguard.Failure {
	if resp == nil || resp.StatusCode < 400 {
		return tokenguard.Failure{}
	}
	late, stop := lateAfter(peekTime)
	defer stop()
	return failureOf(resp, late)
}

// failureOf reads an error until late is closed.
func failureOf(resp *http.Response, late <-chan struct{}) tokenguard.Failure {
	f := tokenguard.Failure{StatusCode: resp.StatusCode, Header: resp.Header.Clone()}
	openers, err := openersOf(resp.Header)
	if resp.Body == nil || resp.Body == http.NoBody || err != nil {
		return f
	}
	f.Message = string(decoded(peek(resp, late), openers))
	if mediaType(resp.Header) == "text/event-stream" {
		f.Message = dataOf(f.Message)
	}
	return f
}

// FailureFromError returns the failure that an error of http.Client or of an http.RoundTripper stands for. It is zero
// for nil and for the caller's own cancellation, which is no failure. The URL that http.Client puts into its errors is
// left out, since a query may hold secrets.
//
// Such an error comes in place of an answer, so it says nothing of the token: a text that would read otherwise, such as a
// proxy's "Forbidden", is wrapped, and reads as what the network said.
func FailureFromError(err error) tokenguard.Failure {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	if err == nil || errors.Is(err, context.Canceled) {
		return tokenguard.Failure{}
	}
	f := tokenguard.Failure{Err: err}
	switch tokenguard.Classify(f) {
	case tokenguard.ClassTransient, tokenguard.ClassUnknown:
	default:
		f.Err = unanswered{err}
	}
	return f
}

// unanswered is an error of a request that nobody answered, whatever its words.
type unanswered struct{ error }

func (e unanswered) Error() string { return classify.Unanswered + e.error.Error() }
func (e unanswered) Unwrap() error { return e.error }
