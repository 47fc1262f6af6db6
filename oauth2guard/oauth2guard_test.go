package oauth2guard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/oauth2guard"
)

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// numbered issues token-1, token-2, ... of an hour each.
func numbered(t *testing.T) (*tokenguard.Guard, *clock) {
	t.Helper()
	c, n := &clock{time.Now()}, 0
	g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		n++
		return tokenguard.NewTokenIn(fmt.Sprintf("token-%d", n), time.Hour), nil
	}, tokenguard.WithClock(c))
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.Close() })
	return g, c
}

// api answers 401 to every token but the one that is good.
func api(t *testing.T, good *string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+*good {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func from(t *testing.T, guard *tokenguard.Guard, o oauth2guard.Options) *oauth2guard.Source {
	t.Helper()
	s, err := oauth2guard.New(guard, o)
	require.NoError(t, err)
	return s
}

func status(t *testing.T, client *http.Client, url string) int {
	t.Helper()
	resp, err := client.Get(url)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

// Why oauth2.NewClient must not be used: after the guard has replaced a rejected token, a client of NewClient still
// sends the old one, and Transport the new one.
func TestNewClientKeepsADeadToken(t *testing.T) {
	guard, clock := numbered(t)
	ctx := t.Context()
	good := "token-1"
	server := api(t, &good)

	reusing := oauth2.NewClient(ctx, from(t, guard, oauth2guard.Options{}).TokenSource(ctx))
	asking := &http.Client{Transport: from(t, guard, oauth2guard.Options{}).Transport(nil)}
	assert.Equal(t, 200, status(t, reusing, server.URL))
	assert.Equal(t, 200, status(t, asking, server.URL))

	good = "token-2" // the upstream revokes the first
	clock.now = clock.now.Add(10 * time.Minute)
	_, err := guard.Acquire(ctx, tokenguard.Request{Failing: tokenguard.TokenID("token-1"), Failure: tokenguard.Failure{StatusCode: 401}})
	var refused *tokenguard.RefusedError
	for errors.As(err, &refused) { // an unproven token that is rejected counts as a failure
		clock.now = refused.Verdict.RetryAt
		_, err = guard.Acquire(ctx, tokenguard.Request{})
	}
	require.NoError(t, err)
	assert.Equal(t, 401, status(t, reusing, server.URL))
	assert.Equal(t, 200, status(t, asking, server.URL))
}

func TestTokenCarriesItsID(t *testing.T) {
	guard, clock := numbered(t)
	token, err := from(t, guard, oauth2guard.Options{}).TokenSource(t.Context()).Token()
	require.NoError(t, err)
	assert.Equal(t, "token-1", token.AccessToken)
	assert.Equal(t, "Bearer", token.Type())
	assert.WithinDuration(t, clock.now.Add(time.Hour), token.Expiry, 0)
	assert.Equal(t, tokenguard.TokenID("token-1"), oauth2guard.ID(token))
	assert.Empty(t, oauth2guard.ID(&oauth2.Token{AccessToken: "another"}))
}

// A refusal comes back as it is; with MaxWait the source sleeps for it, and no longer than that.
func TestBoundedWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			if n++; n == 1 {
				return tokenguard.Token{}, errors.New("503 service unavailable")
			}
			return tokenguard.NewTokenIn("a secret", time.Hour), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		defer guard.Close()
		token := func(wait time.Duration) (string, error) {
			tok, err := from(t, guard, oauth2guard.Options{MaxWait: wait}).TokenSource(t.Context()).Token()
			if err != nil {
				return "", err
			}
			return tok.AccessToken, nil
		}

		_, err = token(0)
		var failed *tokenguard.RequestError
		assert.ErrorAs(t, err, &failed)
		_, err = token(0)
		assert.ErrorIs(t, err, tokenguard.ErrBackoff)

		start := time.Now()
		_, err = token(time.Minute)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, tokenguard.ErrBackoff)
		assert.Equal(t, time.Minute, time.Since(start))

		value, err := token(time.Hour)
		assert.NoError(t, err)
		assert.Equal(t, "a secret", value)
		assert.Equal(t, 10*time.Minute, time.Since(start), "the backoff of a first failure")
	})
}

func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard, err := tokenguard.New(func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
			<-ctx.Done()
			return tokenguard.Token{}, ctx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = from(t, guard, oauth2guard.Options{}).TokenSource(ctx).Token()
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NoError(t, guard.Close())
	})
}

func TestInvalid(t *testing.T) {
	_, err := oauth2guard.New(nil, oauth2guard.Options{MaxWait: -1, Request: tokenguard.Request{Failing: "tk_0", Scope: strings.Repeat("x", 513)}})
	for _, want := range []string{"tokenguard: oauth2guard: guard is nil", "Options.MaxWait: -1ns: want 0 or more", "Failing would be reported", "Request.Scope: 513 bytes: want at most 512"} {
		assert.ErrorContains(t, err, want)
	}
	good := ""
	server := api(t, &good)
	for _, s := range []*oauth2guard.Source{nil, {}} {
		_, err := s.TokenSource(t.Context()).Token()
		assert.ErrorContains(t, err, "make one with New")
		body := &closed{}
		_, err = (&http.Client{Transport: s.Transport(nil)}).Post(server.URL, "text/plain", body)
		assert.ErrorContains(t, err, "make one with New")
		assert.True(t, body.closed)
	}
}

// closed is a body that knows whether it was closed, as a RoundTripper must even if it fails.
type closed struct{ closed bool }

func (c *closed) Read([]byte) (int, error) { return 0, io.EOF }
func (c *closed) Close() error             { c.closed = true; return nil }
