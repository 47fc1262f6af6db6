package guardhttp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/tokenguard/tokenguard"
)

// maxPeek is how much of an error's body is looked at.
const maxPeek = 4 << 10

// FailureFromResponse returns what a response says went wrong: its status, a copy of its header, and at most the first
// 4 KiB of its body, which it puts back, so that the body still reads from the start. It is zero for a status below
// 400, whose body is not touched, and for nil. The body of an error that is a stream of events or compressed is not
// looked at either.
func FailureFromResponse(resp *http.Response) tokenguard.Failure {
	if resp == nil || resp.StatusCode < 400 {
		return tokenguard.Failure{}
	}
	f := tokenguard.Failure{StatusCode: resp.StatusCode, Header: resp.Header.Clone()}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.Body == nil || kind == "text/event-stream" || resp.Header.Get("Content-Encoding") != "" {
		return f
	}
	// An error while reading comes again to whoever reads on.
	start, _ := io.ReadAll(io.LimitReader(resp.Body, maxPeek))
	resp.Body = &peeked{io.MultiReader(bytes.NewReader(start), resp.Body), resp.Body}
	f.Message = string(start)
	return f
}

type peeked struct {
	io.Reader
	io.Closer
}

// FailureFromError returns the failure that an error of http.Client or of an http.RoundTripper stands for. It is zero
// for nil and for the caller's own cancellation, which is no failure. The URL that http.Client puts into its errors is
// left out, since a query may hold secrets.
func FailureFromError(err error) tokenguard.Failure {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	if err == nil || errors.Is(err, context.Canceled) {
		return tokenguard.Failure{}
	}
	return tokenguard.Failure{Err: err}
}
