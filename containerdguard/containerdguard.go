// Package containerdguard lets clients built on containerd's resolver take their registry tokens from a guard.
//
// The credential function of containerd's own authorizer names a user and a password, and exchanges them for tokens by
// itself; a guard has the tokens. So this is an authorizer in its place.
package containerdguard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
)

// Options say for which registry the guard has tokens, and how to ask it.
type Options struct {
	// Registry is the one whose tokens the guard acquires, as in an image's name: "ghcr.io", "docker.io",
	// "localhost:5000". Required: no other registry is ever sent one of these tokens.
	Registry string
	// Scope says what a token must be good for; nil: the scopes that containerd leaves in the context, sorted and with a
	// space between them, such as "repository:NAME:pull".
	Scope func(ctx context.Context, req *http.Request) string
	// Caller names the operation that needs the token, as tokenguard.Request.Caller does; empty: it has no name. Where
	// guardhttp.Watch reports how its calls end, WatchOptions.Caller must return the same name: what one operation reports
	// of a token takes it from no other.
	Caller string
	// MaxWait is how long a pull may wait for a limit to open: it fails with the refusal then. Zero does not wait beyond
	// an acquisition in progress.
	MaxWait time.Duration
	// Other authorizes requests to other registries; nil: they go out as they are.
	Other docker.Authorizer
}

// Authorizer is a docker.Authorizer for docker.WithAuthorizer. It reports to the guard which tokens the registry has
// refused, and then goes on with another if the guard has one. It is not told of the tokens that work: use guardhttp.Watch
// as the client's transport (docker.WithClient), since a token that nobody has seen working counts as a failed acquisition
// once the registry refuses it. An error of the guard comes out of containerd wrapped:
// errors.As finds the *tokenguard.RefusedError.
//
// Make one with New; the zero value refuses every request. It is safe for concurrent use.
type Authorizer struct {
	guard *tokenguard.Guard
	host  string
	o     Options
}

var _ docker.Authorizer = (*Authorizer)(nil)

// New returns an authorizer. The error names every option that is missing or invalid.
func New(guard *tokenguard.Guard, o Options) (*Authorizer, error) {
	var errs []error
	if guard == nil {
		errs = append(errs, errors.New("guard is nil: want a *tokenguard.Guard"))
	}
	host := ""
	if o.Registry == "" {
		errs = append(errs, errors.New(`Options.Registry is empty: want a registry such as "ghcr.io"`))
	} else if strings.ContainsAny(o.Registry, "/@ ") {
		errs = append(errs, fmt.Errorf("Options.Registry: %q: want a host, or a host and a port", o.Registry))
	} else if h, err := docker.DefaultHost(o.Registry); err != nil { // that of docker.io has another name
		errs = append(errs, fmt.Errorf("Options.Registry: %w", err))
	} else {
		host = h
	}
	if o.MaxWait < 0 {
		errs = append(errs, fmt.Errorf("Options.MaxWait: %v: want 0 or more", o.MaxWait))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("tokenguard: containerdguard: %w", errors.Join(errs...))
	}
	return &Authorizer{guard, host, o}, nil
}

// Authorize puts a token of the guard into a request to its registry.
func (a *Authorizer) Authorize(ctx context.Context, req *http.Request) error {
	ours, err := a.ours(req)
	switch {
	case err != nil:
		return err
	case ours:
		token, err := a.acquire(ctx, req, tokenguard.Request{})
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token.Value())
		return nil
	case a.o.Other != nil:
		return a.o.Other.Authorize(ctx, req)
	}
	return nil
}

// AddResponses hears of an answer 401. It returns nil, so that the request is sent again, if the guard has another token
// than the one that was refused.
func (a *Authorizer) AddResponses(ctx context.Context, responses []*http.Response) error {
	if len(responses) == 0 {
		return errors.New("tokenguard: containerdguard: no response to consider")
	}
	last := responses[len(responses)-1]
	ours, err := a.ours(last.Request)
	switch {
	case err != nil:
		return err
	case !ours && a.o.Other != nil:
		return a.o.Other.AddResponses(ctx, responses)
	case !ours:
		return fmt.Errorf("tokenguard: containerdguard: %s is not the guard's registry: %w", last.Request.URL.Host, docker.ErrInvalidAuthorization)
	}
	failing := tokenguard.TokenID(strings.TrimPrefix(last.Request.Header.Get("Authorization"), "Bearer "))
	token, err := a.acquire(ctx, last.Request, tokenguard.Request{Failing: failing, Failure: guardhttp.FailureFromResponse(last)})
	if err != nil {
		return err
	}
	if token.ID() == failing {
		return fmt.Errorf("tokenguard: containerdguard: the registry refuses a token that is good for other requests: %w", docker.ErrInvalidAuthorization)
	}
	return nil
}

// ours reports whether the request goes to the guard's registry.
func (a *Authorizer) ours(req *http.Request) (bool, error) {
	if a == nil || a.guard == nil {
		return false, errors.New("tokenguard: containerdguard: a zero Authorizer: make one with New")
	}
	return req.URL.Host == a.host, nil
}

func (a *Authorizer) acquire(ctx context.Context, req *http.Request, need tokenguard.Request) (tokenguard.Token, error) {
	need.Caller = a.o.Caller
	if a.o.Scope != nil {
		need.Scope = a.o.Scope(ctx, req)
	} else {
		need.Scope = strings.Join(docker.GetTokenScopes(ctx, nil), " ")
	}
	acquire := a.guard.Acquire
	if a.o.MaxWait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.o.MaxWait)
		defer cancel()
		acquire = a.guard.Wait
	}
	grant, err := acquire(ctx, need)
	return grant.Token, err
}
