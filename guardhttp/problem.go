package guardhttp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/answer"
)

// statusClientClosed is what nginx logs for a client that left; it has no name in RFC 9110.
const statusClientClosed = 499

const problemType = "application/problem+json"

// Problem is the body that WriteError writes: problem details (RFC 9457) of type about:blank. It holds no text but
// this package's own: what an upstream, a store or the source of a personal token said may name hosts, accounts and
// paths, and is for the log.
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says in general why there is no token, with the numbers of the limit.
	Detail string `json:"detail,omitempty"`
	// Step and Reason are those of the guard's verdict.
	Step   tokenguard.Step   `json:"step,omitempty"`
	Reason tokenguard.Reason `json:"reason,omitempty"`
	// Class of the failure of an acquisition.
	Class tokenguard.Class `json:"class,omitempty"`
	// RetryAt is when a token could be had.
	RetryAt time.Time `json:"retry_at,omitzero"`
}

// WriteError answers a request for which there was no token:
//
//   - 429 for a limit (ErrRateLimited, ErrUpstreamLimited), a duplicate, and a token that is not to be replaced yet
//     (ErrNotNeeded)
//   - 503 for every other refusal: a backoff, the store, a guard that is closed or busy, an upstream that forbids it
//   - 502 for a *tokenguard.RequestError
//   - 504 for a deadline that passed and 499 for a client that left
//   - 500 for anything else, nil included
//
// Where waiting helps, Retry-After says how long, in whole seconds and rounded up. The body is a Problem. The error
// may be wrapped, as in http.Client's *url.Error. The instants are the system clock's.
func WriteError(w http.ResponseWriter, err error) {
	p := problemOf(err)
	h := w.Header()
	h.Set("Content-Type", problemType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Del("Content-Length")
	if !p.RetryAt.IsZero() {
		h.Set("Retry-After", strconv.FormatInt(seconds(time.Until(p.RetryAt)), 10))
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// seconds rounds up: a client that comes early is refused again.
func seconds(d time.Duration) int64 {
	return int64((max(d, 0) + time.Second - 1) / time.Second)
}

func problemOf(err error) Problem {
	switch refused, failed := answer.Of(err); {
	case refused != nil:
		v := refused.Verdict
		return Problem{Title: "No token is available", Status: refusalStatus(refused), Detail: detailOf(&v),
			Step: v.Step, Reason: v.Reason, RetryAt: v.RetryAt}
	case failed != nil:
		return Problem{Title: "The upstream did not issue a token", Status: http.StatusBadGateway,
			Step: failed.Verdict.Step, Reason: failed.Verdict.Reason, Class: failed.Class, RetryAt: failed.RetryAt}
	case errors.Is(err, context.DeadlineExceeded):
		return Problem{Title: "The request took too long", Status: http.StatusGatewayTimeout}
	case errors.Is(err, context.Canceled):
		return Problem{Title: "The client closed the request", Status: statusClientClosed}
	}
	return Problem{Title: "Internal error", Status: http.StatusInternalServerError}
}

// refusalStatus goes by the refusal alone, whose cause may be one of another guard.
func refusalStatus(refused *tokenguard.RefusedError) int {
	for _, limit := range []error{tokenguard.ErrRateLimited, tokenguard.ErrUpstreamLimited, tokenguard.ErrDuplicate, tokenguard.ErrNotNeeded} {
		if refused.Is(limit) {
			return http.StatusTooManyRequests
		}
	}
	return http.StatusServiceUnavailable
}
