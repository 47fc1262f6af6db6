// Package registryguard lets clients built on github.com/google/go-containerregistry (crane, ko, kaniko, cosign and others)
// take their registry tokens from a guard.
package registryguard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/tokenguard/tokenguard"
)

// Options say for which registry the guard has tokens, and how to ask it.
type Options struct {
	// Registry is the one whose tokens the guard acquires, as in an image's name: "ghcr.io", "docker.io",
	// "localhost:5000". Required: no other registry is ever sent one of these tokens.
	Registry string
	// Scope says what a token must be good for; nil: pulling, "repository:NAME:pull" for a repository and
	// "registry:catalog:*" for the registry itself.
	Scope func(authn.Resource) string
	// Caller names the operation that needs the token, as tokenguard.Request.Caller does; empty: it has no name. Where
	// guardhttp.Watch reports how its calls end, WatchOptions.Caller must return the same name: what one operation reports
	// of a token takes it from no other.
	Caller string
	// MaxWait is how long a pull may wait for a limit to open: it fails with the refusal then. Zero does not wait beyond
	// an acquisition in progress.
	MaxWait time.Duration
}

// Keychain is an authn.Keychain and an authn.ContextKeychain. For other registries than its own it answers
// authn.Anonymous, so that it can be one of several of authn.NewMultiKeychain.
//
// A pull asks it once at the start, and again when the registry has refused the token. The client does not say which
// token that was: guardhttp.Watch as its transport does, and without it a token that is revoked before its time is handed
// out until it expires.
//
// Make one with New; the zero value refuses every registry. It is safe for concurrent use.
type Keychain struct {
	guard    *tokenguard.Guard
	registry string
	o        Options
}

// New returns a keychain. The error names every option that is missing or invalid.
func New(guard *tokenguard.Guard, o Options) (*Keychain, error) {
	var errs []error
	if guard == nil {
		errs = append(errs, errors.New("guard is nil: want a *tokenguard.Guard"))
	}
	registry, err := name.NewRegistry(o.Registry)
	switch {
	case o.Registry == "":
		errs = append(errs, errors.New(`Options.Registry is empty: want a registry such as "ghcr.io"`))
	case err != nil:
		errs = append(errs, fmt.Errorf("Options.Registry: %w", err))
	}
	if o.MaxWait < 0 {
		errs = append(errs, fmt.Errorf("Options.MaxWait: %v: want 0 or more", o.MaxWait))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("tokenguard: registryguard: %w", errors.Join(errs...))
	}
	return &Keychain{guard, registry.RegistryStr(), o}, nil
}

// Resolve is ResolveContext without a context.
func (k *Keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext asks nobody: the token is acquired when the client needs it.
func (k *Keychain) ResolveContext(_ context.Context, target authn.Resource) (authn.Authenticator, error) {
	if k == nil || k.guard == nil {
		return nil, errors.New("tokenguard: registryguard: a zero Keychain: make one with New")
	}
	if target.RegistryStr() != k.registry {
		return authn.Anonymous, nil
	}
	scope := k.o.Scope
	if scope == nil {
		scope = pull
	}
	return &authenticator{k, tokenguard.Request{Scope: scope(target), Caller: k.o.Caller}}, nil
}

// pull is the scope that the distribution project's token specification has for it.
func pull(target authn.Resource) string {
	repository, found := strings.CutPrefix(target.String(), target.RegistryStr()+"/")
	if !found {
		return "registry:catalog:*"
	}
	return "repository:" + repository + ":pull"
}

type authenticator struct {
	k    *Keychain
	need tokenguard.Request
}

func (a *authenticator) Authorization() (*authn.AuthConfig, error) {
	return a.AuthorizationContext(context.Background())
}

// AuthorizationContext returns an error of the guard as it is: errors.As finds the *tokenguard.RefusedError.
func (a *authenticator) AuthorizationContext(ctx context.Context) (*authn.AuthConfig, error) {
	acquire := a.k.guard.Acquire
	if a.k.o.MaxWait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.k.o.MaxWait)
		defer cancel()
		acquire = a.k.guard.Wait
	}
	grant, err := acquire(ctx, a.need)
	if err != nil {
		return nil, err
	}
	return &authn.AuthConfig{RegistryToken: grant.Token.Value()}, nil
}
