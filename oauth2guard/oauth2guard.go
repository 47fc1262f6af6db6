// Package oauth2guard lets code that speaks golang.org/x/oauth2 take its tokens from a guard.
//
// Do not pass a TokenSource of this package to oauth2.NewClient, oauth2.ReuseTokenSource or oauth2.Config.Client: each
// puts a cache of its own in front, which keeps a token that the guard knows to be dead until it expires. Use
// Source.Transport, or an *oauth2.Transport with the TokenSource as its Source.
package oauth2guard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/tokenguard/tokenguard"
)

// Options say what is asked of the guard. The zero value asks for an anonymous token without a scope and does not wait.
type Options struct {
	// Request is what the guard is asked for. Its Failure and Failing must be zero: they would be reported with every
	// call.
	Request tokenguard.Request
	// MaxWait is how long Token may wait for a limit to open: it returns the refusal then. Zero does not wait beyond an
	// acquisition in progress.
	MaxWait time.Duration
	// TokenType of the tokens; empty means Bearer.
	TokenType string
}

// Source gives x/oauth2 the tokens of a guard. Make one with New; the zero value has no tokens and says so. It is safe for
// concurrent use.
type Source struct {
	guard *tokenguard.Guard
	o     Options
}

const maxScope = 512 // bytes, of tokenguard.Request

// New returns a source of the guard's tokens. The error names every option that is missing or invalid.
func New(guard *tokenguard.Guard, o Options) (*Source, error) {
	var errs []error
	if guard == nil {
		errs = append(errs, errors.New("guard is nil: want a *tokenguard.Guard"))
	}
	if !o.Request.Failure.IsZero() || o.Request.Failing != "" {
		errs = append(errs, errors.New("Options.Request: a Failure or Failing would be reported with every call: want neither"))
	}
	if n := len(o.Request.Scope); n > maxScope {
		errs = append(errs, fmt.Errorf("Options.Request.Scope: %d bytes: want at most %d", n, maxScope))
	}
	if o.MaxWait < 0 {
		errs = append(errs, fmt.Errorf("Options.MaxWait: %v: want 0 or more", o.MaxWait))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("tokenguard: oauth2guard: %w", errors.Join(errs...))
	}
	return &Source{guard, o}, nil
}

// TokenSource returns a source that asks the guard for each token. Its Token ends when ctx does, because the interface
// has no context of its own: make one source for each request or job. An error is the guard's: errors.As finds the
// *tokenguard.RefusedError with its RetryAt.
func (s *Source) TokenSource(ctx context.Context) oauth2.TokenSource { return source{ctx, s} }

type source struct {
	ctx  context.Context // x/oauth2 has no other way in
	from *Source
}

func (s source) Token() (*oauth2.Token, error) {
	if s.from == nil || s.from.guard == nil {
		return nil, errors.New("tokenguard: oauth2guard: a zero Source: make one with New")
	}
	o := s.from.o
	acquire, ctx := s.from.guard.Acquire, s.ctx
	if o.MaxWait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.MaxWait)
		defer cancel()
		acquire = s.from.guard.Wait
	}
	grant, err := acquire(ctx, o.Request)
	if err != nil {
		return nil, err
	}
	t := &oauth2.Token{AccessToken: grant.Token.Value(), TokenType: o.TokenType, Expiry: grant.Token.Expiry()}
	return t.WithExtra(map[string]any{"tokenguard_id": grant.Token.ID()}), nil
}

// ID returns the guard's name for a token that came from a Source, for Report and Request.Failing; empty for others.
func ID(t *oauth2.Token) string {
	id, _ := t.Extra("tokenguard_id").(string)
	return id
}

// Transport returns a transport that asks the guard for a token at each request, on that request's context. A nil base
// means http.DefaultTransport. It only injects; guardhttp.Transport also watches the answers, reports them and replaces
// a dead token.
func (s *Source) Transport(base http.RoundTripper) http.RoundTripper { return transport{s, base} }

type transport struct {
	from *Source
	base http.RoundTripper
}

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	return (&oauth2.Transport{Source: t.from.TokenSource(req.Context()), Base: t.base}).RoundTrip(req)
}
