package guardhttp_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// process is one program on the state: a guard and a client of its own.
func process(t *testing.T, clock *tokenguardtest.Clock, server string, state tokenguard.Option) (*http.Client, *tokenguard.Guard) {
	t.Helper()
	guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.NewTokenIn("made-up", 24*time.Hour), nil
	}, tokenguard.WithClock(clock), tokenguard.WithName("polls"), state)
	require.NoError(t, err)
	t.Cleanup(func() { _ = guard.Close() })
	at, err := url.Parse(server)
	require.NoError(t, err)
	transport, err := guardhttp.NewTransport(guard, []string{at.Host}, func(t *guardhttp.Transport) {
		t.Clock, t.Pause = clock, guardhttp.PauseAnswer
	})
	require.NoError(t, err)
	return &http.Client{Transport: transport}, guard
}

// A wait of six hours that one process was told holds for another on the same store, and after a restart.
func TestPauseOutlivesTheProcess(t *testing.T) {
	store := tokenguard.NewMemoryStore()
	file := filepath.Join(t.TempDir(), "state.json")
	for name, state := range map[string]tokenguard.Option{"two guards on one store": tokenguard.WithStore(store), "a restart on a file": tokenguard.WithStateFile(file)} {
		t.Run(name, func(t *testing.T) {
			clock, sent := tokenguardtest.NewClock(time.Time{}), 0
			server := httptest.NewServer(limited(&sent))
			defer server.Close()
			poll := func(client *http.Client, path string) int {
				t.Helper()
				resp, err := client.Get(server.URL + path)
				require.NoError(t, err)
				resp.Body.Close()
				return resp.StatusCode
			}
			first, guard := process(t, clock, server.URL, state)
			require.Equal(t, http.StatusTooManyRequests, poll(first, "/limited"))
			require.Equal(t, 1, sent)
			if name != "two guards on one store" {
				require.NoError(t, guard.Close())
			}
			second, guard := process(t, clock, server.URL, state)
			for range 150 {
				require.Equal(t, http.StatusTooManyRequests, poll(second, "/limited"))
				clock.Advance(time.Minute)
			}
			t.Logf("%d of 151 polls were sent", sent)
			assert.Equal(t, 1, sent)
			assert.Zero(t, total(guard.Stats().Calls.Outcomes), "what was not sent is not reported")

			at, err := url.Parse(server.URL)
			require.NoError(t, err)
			operation := tokenguard.Request{Caller: "GET " + at.Host + "/limited"}
			until, err := guard.Paused(t.Context(), operation)
			require.NoError(t, err)
			assert.Equal(t, 210*time.Minute, until.Sub(clock.Now()))

			sent = 0
			assert.Equal(t, http.StatusOK, poll(second, "/other"), "another operation was asked to wait for nothing")
			clock.Advance(210*time.Minute + time.Second)
			until, err = guard.Paused(t.Context(), operation)
			require.NoError(t, err)
			assert.Zero(t, until)
			assert.Equal(t, http.StatusTooManyRequests, poll(second, "/limited"))
			assert.Equal(t, 2, sent, "the pause is over")

			require.NoError(t, guard.Clear(t.Context(), tokenguard.Clear{RetryAfter: true}))
			third, _ := process(t, clock, server.URL, state)
			poll(third, "/limited")
			assert.Equal(t, 3, sent, "an operator has ended it")
		})
	}
}

// A rate limit that states no wait is waited for by the guard, and is no reason to answer calls: as in one process.
func TestAssumedPauseIsSent(t *testing.T) {
	clock, sent := tokenguardtest.NewClock(time.Time{}), 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		sent++
		http.Error(w, "slow down", http.StatusTooManyRequests)
	}))
	defer server.Close()
	state := tokenguard.WithStore(tokenguard.NewMemoryStore())
	for range 2 {
		client, _ := process(t, clock, server.URL, state)
		resp, err := client.Get(server.URL)
		require.NoError(t, err)
		resp.Body.Close()
	}
	assert.Equal(t, 2, sent)
}
