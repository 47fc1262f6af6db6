package containerdguard_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/containerdguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/internal/registrytest"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

func authorizer(t *testing.T, guard *tokenguard.Guard, o containerdguard.Options) *containerdguard.Authorizer {
	t.Helper()
	a, err := containerdguard.New(guard, o)
	require.NoError(t, err)
	return a
}

// pull resolves the image and reads its manifest, with containerd's own resolver.
func pull(t *testing.T, image string, a docker.Authorizer, opts ...docker.RegistryOpt) error {
	t.Helper()
	resolver := docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(append(opts, docker.WithPlainHTTP(docker.MatchAllHosts), docker.WithAuthorizer(a))...),
	})
	name, desc, err := resolver.Resolve(t.Context(), image)
	if err != nil {
		return err
	}
	fetcher, err := resolver.Fetcher(t.Context(), name)
	require.NoError(t, err)
	r, err := fetcher.Fetch(t.Context(), desc)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	require.NoError(t, err)
	return r.Close()
}

func TestPullsShareOneToken(t *testing.T) {
	registry := registrytest.New(t)
	guard := registry.Guard(t)
	for range 3 {
		require.NoError(t, pull(t, registry.Image, authorizer(t, guard, containerdguard.Options{Registry: registry.Host})))
	}
	assert.Equal(t, []string{registrytest.PullScope}, registry.Asked())
	assert.Zero(t, registry.Refused())
}

func TestRevokedToken(t *testing.T) {
	registry := registrytest.New(t)
	clock := tokenguardtest.NewClock(time.Time{})
	guard := registry.Guard(t, tokenguard.WithClock(clock))
	a := authorizer(t, guard, containerdguard.Options{Registry: registry.Host})
	watch, err := guardhttp.Watch(guard, guardhttp.WatchOptions{})
	require.NoError(t, err)
	client := docker.WithClient(&http.Client{Transport: watch})
	require.NoError(t, pull(t, registry.Image, a, client))
	clock.Advance(2 * time.Minute)
	registry.Revoke()
	require.NoError(t, pull(t, registry.Image, a, client))
	assert.Len(t, registry.Asked(), 2)
	assert.Equal(t, 1, registry.Refused())
}

// Without the transport nobody says that a token worked. Its end then counts as a failed acquisition: the pull fails with
// the guard's refusal, and the guard knows all the same that the token is dead.
func TestRevokedTokenUnwatched(t *testing.T) {
	registry := registrytest.New(t)
	clock := tokenguardtest.NewClock(time.Time{})
	a := authorizer(t, registry.Guard(t, tokenguard.WithClock(clock)), containerdguard.Options{Registry: registry.Host})
	require.NoError(t, pull(t, registry.Image, a))
	clock.Advance(2 * time.Minute)
	registry.Revoke()
	var refused *tokenguard.RefusedError
	require.ErrorAs(t, pull(t, registry.Image, a), &refused)
	clock.Advance(11 * time.Minute) // the backoff of a first failure, and a little
	require.NoError(t, pull(t, registry.Image, a))
	assert.Len(t, registry.Asked(), 2)
	assert.Equal(t, 1, registry.Refused())
}

// A token that is good, but not for this repository, is no reason for another one.
func TestInsufficientScope(t *testing.T) {
	registry := registrytest.New(t)
	a := authorizer(t, registry.Guard(t), containerdguard.Options{
		Registry: registry.Host, Scope: func(context.Context, *http.Request) string { return "repository:another:pull" },
	})
	assert.ErrorIs(t, pull(t, registry.Image, a), docker.ErrInvalidAuthorization)
	assert.Len(t, registry.Asked(), 1)
	assert.Equal(t, 1, registry.Refused())
}

func TestRefusalReachesTheCaller(t *testing.T) {
	gone, registry := registrytest.New(t), registrytest.New(t)
	guard := gone.Guard(t)
	gone.Close()
	_, err := guard.Token(t.Context()) // fails: nobody listens
	require.Error(t, err)
	err = pull(t, registry.Image, authorizer(t, guard, containerdguard.Options{Registry: registry.Host}))
	var refused *tokenguard.RefusedError
	require.ErrorAs(t, err, &refused)
	assert.ErrorIs(t, err, tokenguard.ErrBackoff)
}

func TestOnlyItsOwnRegistry(t *testing.T) {
	registry, other := registrytest.New(t), registrytest.New(t)
	guard := registry.Guard(t)
	o := containerdguard.Options{Registry: registry.Host}
	assert.ErrorContains(t, pull(t, other.Image, authorizer(t, guard, o)), "not the guard's registry")
	o.Other = docker.NewDockerAuthorizer()
	require.NoError(t, pull(t, other.Image, authorizer(t, guard, o)))
	assert.Empty(t, registry.Asked())
	assert.NotEmpty(t, other.Asked(), "containerd's own anonymous exchange")
	assert.Zero(t, other.Refused())

	a := authorizer(t, guard, containerdguard.Options{Registry: "docker.io"})
	for url, known := range map[string]bool{"https://registry-1.docker.io/v2/": true, "https://docker.io/v2/": false} {
		req, err := http.NewRequestWithContext(docker.WithScope(t.Context(), registrytest.PullScope), http.MethodGet, url, nil)
		require.NoError(t, err)
		require.NoError(t, a.Authorize(req.Context(), req))
		assert.Equal(t, known, req.Header.Get("Authorization") != "", url)
	}
}

func TestInvalid(t *testing.T) {
	guard := registrytest.New(t).Guard(t)
	for want, o := range map[string]containerdguard.Options{
		"Options.Registry is empty":    {},
		"Options.Registry: ":           {Registry: "not a registry"},
		"Options.MaxWait: -1s: want 0": {Registry: "ghcr.io", MaxWait: -time.Second},
	} {
		_, err := containerdguard.New(guard, o)
		assert.ErrorContains(t, err, "tokenguard: containerdguard: "+want)
	}
	_, err := containerdguard.New(nil, containerdguard.Options{})
	assert.ErrorContains(t, err, "guard is nil")
	assert.ErrorContains(t, err, "Registry is empty")

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://ghcr.io/v2/", nil)
	require.NoError(t, err)
	for _, a := range []*containerdguard.Authorizer{nil, {}} {
		assert.ErrorContains(t, a.Authorize(t.Context(), req), "make one with New")
		assert.ErrorContains(t, a.AddResponses(t.Context(), []*http.Response{{Request: req}}), "make one with New")
	}
	assert.ErrorContains(t, authorizer(t, guard, containerdguard.Options{Registry: "ghcr.io"}).AddResponses(t.Context(), nil), "no response")
}
