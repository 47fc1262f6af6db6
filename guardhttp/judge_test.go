package guardhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

func TestTransportHandsBackTheAnswerForTheSameToken(t *testing.T) {
	// The transport is told that a 500 is about quota, the guard thinks otherwise and gives the same token again.
	requests := 0
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		requests++
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, "answer ", requests)
	})
	r.warm(t)
	r.transport.Classify = func(tokenguard.Failure) tokenguard.Class { return tokenguard.ClassQuotaExhausted }
	_, body := r.do(t, http.MethodGet, nil)
	require.Equal(t, "answer 1", body)
	require.Equal(t, 1, requests)
}

// broken is a base that never answers.
type broken struct{ err error }

func (b broken) RoundTrip(*http.Request) (*http.Response, error) { return nil, b.err }

func TestTransportNeverRepeatsWhatGotNoAnswer(t *testing.T) {
	r := newRig(t, only("t1"))
	r.warm(t)
	r.transport.Base = broken{errors.New("proxy: 401 unauthorized: invalid token")}
	r.transport.Classify = func(tokenguard.Failure) tokenguard.Class { return tokenguard.ClassAuthInvalid }
	_, err := r.client.Get(r.server.URL)
	require.ErrorContains(t, err, "invalid token")
}

func TestTransportReportsOneInstantForOneFailure(t *testing.T) {
	r := newRig(t, only("t2"))
	var mu sync.Mutex
	seen := map[time.Time]int{}
	guard, err := tokenguard.New(r.script.Request, tokenguard.WithClock(r.clock), tokenguard.WithClassifier(func(f tokenguard.Failure) tokenguard.Class {
		mu.Lock()
		defer mu.Unlock()
		seen[f.At]++
		return tokenguard.Classify(f)
	}))
	require.NoError(t, err)
	defer guard.Close()
	r.guard, r.transport.Guard = guard, guard
	r.warm(t)
	resp, _ := r.do(t, http.MethodGet, nil)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, map[time.Time]int{r.clock.Now(): 2}, seen, "told twice, as the outcome and with the next request")
}

func TestTransportPassesARefusalOn(t *testing.T) {
	// A guard that must not start anything hands nothing out to a second scope.
	clock := tokenguardtest.NewClock(time.Time{})
	guard, err := tokenguard.New(tokenguardtest.NewScript(clock).Request, tokenguard.WithClock(clock))
	require.NoError(t, err)
	defer guard.Close()
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) { fmt.Fprint(w, bearer(req)) })
	r.transport.Guard = guard
	r.transport.Scope = func(req *http.Request) string { return req.URL.Path }
	resp, err := r.client.Get(r.server.URL + "/one")
	require.NoError(t, err)
	resp.Body.Close()
	_, err = r.client.Get(r.server.URL + "/two")
	require.ErrorIs(t, err, tokenguard.ErrRateLimited)
}

// silent is a base that answers nothing until the request's time is over.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// strict is a store that looks at its context, as one over a network does.
type strict struct{ tokenguard.Store }

func (s strict) View(ctx context.Context, name string) (tokenguard.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return tokenguard.Snapshot{}, err
	}
	return s.Store.View(ctx, name)
}

func TestTransportReportsACallThatRanOutOfTime(t *testing.T) {
	r := newRig(t, only("t1"))
	guard, err := tokenguard.New(r.script.Request, tokenguard.WithClock(r.clock), tokenguard.WithName("strict"),
		tokenguard.WithStore(strict{tokenguard.NewMemoryStore()}))
	require.NoError(t, err)
	defer guard.Close()
	r.guard, r.transport.Guard = guard, guard
	r.warm(t)
	r.transport.Base = silent{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.server.URL, nil)
	require.NoError(t, err)
	_, err = r.transport.RoundTrip(req)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.EqualValues(t, 1, r.guard.Stats().Calls.Outcomes["transient"])
}

func TestTransportKeepsTheAnswerIfTheBodyCannotBeHadAgain(t *testing.T) {
	r := newRig(t, only("t2"))
	r.warm(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL, strings.NewReader("once"))
	require.NoError(t, err)
	req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("the file is gone") }
	resp, err := r.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Equal(t, "invalid token\n", string(body))
}

func TestTransportPassesOnWhatASuccessSaysOfTheQuota(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-RateLimit-Limit", "100")
		w.Header().Set("X-RateLimit-Remaining", "7")
	})
	r.do(t, http.MethodGet, nil)
	require.EqualValues(t, 7, r.guard.Stats().Predictor.UsesLeft)
}
