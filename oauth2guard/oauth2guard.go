// Package oauth2guard lets code that speaks golang.org/x/oauth2 take its tokens from a guard.
//
// Do not pass a TokenSource of this package to oauth2.NewClient, oauth2.ReuseTokenSource or oauth2.Config.Client: each
// puts a cache of its own in front, which keeps a token that the guard knows to be dead until it expires. Use Transport,
// or an *oauth2.Transport with the TokenSource as its Source.
package oauth2guard

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/tokenguard/tokenguard"
)

// Options say what is asked of the guard. The zero value asks for an anonymous token without a scope and does not wait.
type Options struct {
	// Request is what the guard is asked for.
	Request tokenguard.Request
	// MaxWait is how long Token may wait for a limit to open: it returns the refusal then. Zero does not wait beyond an
	// acquisition in progress.
	MaxWait time.Duration
	// TokenType of the tokens; empty means Bearer.
	TokenType string
}

// TokenSource returns a source that asks the guard for each token. Its Token ends when ctx does, because the interface
// has no context of its own: make one source for each request or job. An error is the guard's: errors.As finds the
// *tokenguard.RefusedError with its RetryAt.
func TokenSource(ctx context.Context, guard *tokenguard.Guard, o Options) oauth2.TokenSource {
	return source{ctx, guard, o}
}

type source struct {
	ctx   context.Context // x/oauth2 has no other way in
	guard *tokenguard.Guard
	o     Options
}

func (s source) Token() (*oauth2.Token, error) {
	acquire, ctx := s.guard.Acquire, s.ctx
	if s.o.MaxWait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.o.MaxWait)
		defer cancel()
		acquire = s.guard.Wait
	}
	grant, err := acquire(ctx, s.o.Request)
	if err != nil {
		return nil, err
	}
	t := &oauth2.Token{AccessToken: grant.Token.Value(), TokenType: s.o.TokenType, Expiry: grant.Token.Expiry()}
	return t.WithExtra(map[string]any{"tokenguard_id": grant.Token.ID()}), nil
}

// ID returns the guard's name for a token that came from a TokenSource, for Report and Request.Failing; empty for others.
func ID(t *oauth2.Token) string {
	id, _ := t.Extra("tokenguard_id").(string)
	return id
}

// Transport returns a transport that asks the guard for a token at each request, on that request's context. A nil base
// means http.DefaultTransport. It only injects; guardhttp.Transport also watches the answers, reports them and replaces
// a dead token.
func Transport(guard *tokenguard.Guard, o Options, base http.RoundTripper) http.RoundTripper {
	return transport{guard, o, base}
}

type transport struct {
	guard *tokenguard.Guard
	o     Options
	base  http.RoundTripper
}

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	return (&oauth2.Transport{Source: TokenSource(req.Context(), t.guard, t.o), Base: t.base}).RoundTrip(req)
}
