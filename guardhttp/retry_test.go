package guardhttp_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

func TestTransportRetriesOnceWithAnotherToken(t *testing.T) {
	for name, body := range map[string]func() io.Reader{
		"no body":      func() io.Reader { return nil },
		"http.NoBody":  func() io.Reader { return http.NoBody },
		"with GetBody": func() io.Reader { return strings.NewReader("twice") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, only("t2"))
			r.warm(t)
			resp, text := r.do(t, http.MethodPost, body())
			require.Equal(t, http.StatusOK, resp.StatusCode)
			want := "hello "
			if name == "with GetBody" {
				want += "twice"
			}
			require.Equal(t, want, text)
			require.Len(t, r.script.Calls(), 2)
			require.EqualValues(t, 1, r.conns.Load(), "the first answer was drained, so its connection serves again")
		})
	}
}

func TestTransportRetriesOnlyOnce(t *testing.T) {
	requests := 0
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		http.Error(w, "invalid token "+bearer(r), http.StatusUnauthorized)
	})
	r.warm(t)
	resp, body := r.do(t, http.MethodGet, nil)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Contains(t, body, "t2", "the second answer")
	require.Equal(t, 2, requests)
}

func TestTransportNeverRepeatsABodyItCannotHaveAgain(t *testing.T) {
	r := newRig(t, only("t2"))
	r.warm(t)
	resp, body := r.do(t, http.MethodPost, io.MultiReader(strings.NewReader("once")))
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Equal(t, "invalid token\n", body)
	// But the guard knows: the next request has another token.
	resp, _ = r.do(t, http.MethodGet, nil)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Len(t, r.script.Calls(), 2)
}

func TestTransportHandsBackTheAnswerWhenTheGuardRefuses(t *testing.T) {
	// The token is too new to be replaced for its quota: the upstream's own words reach the caller.
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Request-Id", "42")
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, `{"error":"No remaining quota: No AI requests remaining"}`)
	})
	resp, body := r.do(t, http.MethodGet, nil)
	require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
	require.Equal(t, "42", resp.Header.Get("X-Request-Id"))
	require.JSONEq(t, `{"error":"No remaining quota: No AI requests remaining"}`, body)
	require.Len(t, r.script.Calls(), 1)
	e, err := r.guard.Explain(t.Context(), tokenguard.Request{})
	require.NoError(t, err)
	require.Equal(t, tokenguard.ReasonCached, e.Verdict.Reason, "suspect, and still good for others")
}

func TestTransportLeavesTheOtherFailuresToTheCaller(t *testing.T) {
	requests := 0
	status := 0
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		requests++
		http.Error(w, "no", status)
	})
	r.warm(t)
	for _, status = range []int{http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusServiceUnavailable} {
		requests = 0
		resp, _ := r.do(t, http.MethodGet, nil)
		require.Equal(t, status, resp.StatusCode)
		require.Equal(t, 1, requests)
	}
	require.Len(t, r.script.Calls(), 1)
}

func TestTransportRejectsByCompareAndSwap(t *testing.T) {
	// Ten requests go out with t1 and all come back as 401 after t2 is there: none of them may hurt t2.
	inside, answer := make(chan struct{}, 10), make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		if bearer(r) == "t1" {
			inside <- struct{}{}
			<-answer
			http.Error(w, "invalid token", http.StatusUnauthorized)
		}
	})
	r.warm(t)
	var wg sync.WaitGroup
	statuses := make([]int, 10)
	for i := range statuses {
		wg.Go(func() {
			resp, err := r.client.Get(r.server.URL)
			if err == nil {
				statuses[i] = resp.StatusCode
				resp.Body.Close()
			}
		})
	}
	for range statuses {
		<-inside
	}
	close(answer)
	wg.Wait()
	for _, s := range statuses {
		require.Equal(t, http.StatusOK, s)
	}
	require.Len(t, r.script.Calls(), 2)
}
