package guardhttp_test

import (
	"errors"
	"fmt"
	"net/http"
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
