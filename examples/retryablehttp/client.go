// Package client puts hashicorp/go-retryablehttp on a guardhttp.Transport: the Transport replaces tokens and knows when
// waiting helps, retryablehttp repeats what is left.
package client

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
)

// New returns a client whose calls to the hosts carry the guard's token.
func New(guard *tokenguard.Guard, hosts ...string) (*retryablehttp.Client, error) {
	transport, err := guardhttp.NewTransport(guard, hosts, func(t *guardhttp.Transport) {
		t.Pause = guardhttp.PauseRefuse // what the upstream asked to wait for is not sent again and again
	})
	if err != nil {
		return nil, err
	}
	client := retryablehttp.NewClient()
	client.Logger = nil // it logs whole URLs
	client.HTTPClient = &http.Client{Transport: transport}
	client.CheckRetry = Policy(client.RetryWaitMax)
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler // the upstream's own answer, not "giving up after 5 attempts"
	return client, nil
}

// Policy is retryablehttp's own, but for answers of the guard: they are as final as the guard says. Nothing is gained
// by asking it four times for a token that it has refused, and it has repeated already what a new token can cure.
func Policy(most time.Duration) retryablehttp.CheckRetry {
	return func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		var refused *tokenguard.RefusedError
		var failed *tokenguard.RequestError
		switch {
		case errors.As(err, &refused) || errors.As(err, &failed):
			return false, err
		case err == nil && resp.StatusCode == http.StatusTooManyRequests && tooLong(guardhttp.FailureFromResponse(resp), most):
			return false, nil
		}
		return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
	}
}

// tooLong reports whether an answer is not worth a retry: it is about the token's quota, or the wait is longer than
// most, which is how long a call is held here.
func tooLong(f tokenguard.Failure, most time.Duration) bool {
	if tokenguard.Classify(f) == tokenguard.ClassQuotaExhausted {
		return true
	}
	wait, err := time.ParseDuration(http.Header(f.Header).Get("Retry-After") + "s")
	return err == nil && wait > most
}
