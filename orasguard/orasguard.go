// Package orasguard lets clients built on oras.land/oras-go/v2 take their registry tokens from a guard.
package orasguard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/tokenguard/tokenguard"
)

// Options say for which registry the guard has tokens, and how to ask it.
type Options struct {
	// Registry is the one whose tokens the guard acquires, as in an artifact's name: "ghcr.io", "docker.io",
	// "localhost:5000". Required: no other registry is ever sent one of these tokens.
	Registry string
	// Scope says what a token must be good for; nil: the hints that oras leaves in the context, in its order and with a
	// space between them, such as "repository:NAME:pull".
	Scope func(ctx context.Context, hostport string) string
	// Caller names the operation that needs the token, as tokenguard.Request.Caller does; empty: it has no name. Where
	// guardhttp.Watch reports how its calls end, WatchOptions.Caller must return the same name: what one operation reports
	// of a token takes it from no other.
	Caller string
	// MaxWait is how long an operation may wait for a limit to open: it fails with the refusal then. Zero does not wait
	// beyond an acquisition in progress.
	MaxWait time.Duration
}

// CredentialFunc returns a function for auth.Client.Credential. For other registries than its own it returns
// auth.EmptyCredential. The error names every option that is missing or invalid.
//
// oras asks when the registry wants a token and, with an auth.Cache, when it has refused the cached one. It does not say
// which token that was: guardhttp.Watch as the client's transport does, and without it a token that is revoked before its
// time is handed out until it expires. An error of the guard comes out of oras wrapped: errors.As finds the
// *tokenguard.RefusedError.
func CredentialFunc(guard *tokenguard.Guard, o Options) (auth.CredentialFunc, error) {
	var errs []error
	if guard == nil {
		errs = append(errs, errors.New("guard is nil: want a *tokenguard.Guard"))
	}
	ref := registry.Reference{Registry: o.Registry}
	if o.Registry == "" {
		errs = append(errs, errors.New(`Options.Registry is empty: want a registry such as "ghcr.io"`))
	} else if err := ref.ValidateRegistry(); err != nil {
		errs = append(errs, fmt.Errorf("Options.Registry: %w", err))
	}
	if o.MaxWait < 0 {
		errs = append(errs, fmt.Errorf("Options.MaxWait: %v: want 0 or more", o.MaxWait))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("tokenguard: orasguard: %w", errors.Join(errs...))
	}
	host := ref.Host() // that of docker.io has another name
	return func(ctx context.Context, hostport string) (auth.Credential, error) {
		if hostport != host {
			return auth.EmptyCredential, nil
		}
		need := tokenguard.Request{Caller: o.Caller}
		if o.Scope != nil {
			need.Scope = o.Scope(ctx, hostport)
		} else {
			need.Scope = strings.Join(auth.GetAllScopesForHost(ctx, hostport), " ")
		}
		acquire := guard.Acquire
		if o.MaxWait > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, o.MaxWait)
			defer cancel()
			acquire = guard.Wait
		}
		grant, err := acquire(ctx, need)
		if err != nil {
			return auth.EmptyCredential, err
		}
		return auth.Credential{AccessToken: grant.Token.Value()}, nil
	}, nil
}
