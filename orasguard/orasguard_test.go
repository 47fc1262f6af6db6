package orasguard_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/internal/registrytest"
	"github.com/tokenguard/tokenguard/orasguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

func client(t *testing.T, guard *tokenguard.Guard, o orasguard.Options, cache auth.Cache) *auth.Client {
	t.Helper()
	credential, err := orasguard.CredentialFunc(guard, o)
	require.NoError(t, err)
	watch, err := guardhttp.Watch(guard, guardhttp.WatchOptions{})
	require.NoError(t, err)
	return &auth.Client{Client: &http.Client{Transport: watch}, Credential: credential, Cache: cache}
}

func pull(t *testing.T, registry *registrytest.Registry, c *auth.Client) error {
	t.Helper()
	repo, err := remote.NewRepository(registry.Host + "/" + registrytest.Repository)
	require.NoError(t, err)
	repo.PlainHTTP, repo.Client = true, c
	_, err = oras.Copy(t.Context(), repo, registrytest.Tag, memory.New(), "", oras.DefaultCopyOptions)
	return err
}

func TestPullsShareOneToken(t *testing.T) {
	for name, cache := range map[string]func() auth.Cache{"cached": auth.NewCache, "not cached": func() auth.Cache { return nil }} {
		t.Run(name, func(t *testing.T) {
			registry := registrytest.New(t)
			guard := registry.Guard(t)
			for range 3 { // clients of their own, such as of short-lived processes
				require.NoError(t, pull(t, registry, client(t, guard, orasguard.Options{Registry: registry.Host}, cache())))
			}
			assert.Equal(t, []string{registrytest.PullScope}, registry.Asked())
			assert.Zero(t, registry.Refused())
		})
	}
}

func TestRevokedToken(t *testing.T) {
	registry := registrytest.New(t)
	clock := tokenguardtest.NewClock(time.Time{})
	c := client(t, registry.Guard(t, tokenguard.WithClock(clock)), orasguard.Options{Registry: registry.Host}, auth.NewCache())
	require.NoError(t, pull(t, registry, c))
	clock.Advance(2 * time.Minute)
	registry.Revoke()
	require.NoError(t, pull(t, registry, c))
	assert.Len(t, registry.Asked(), 2)
	assert.Equal(t, 1, registry.Refused())
}

func TestRefusalReachesTheCaller(t *testing.T) {
	gone, registry := registrytest.New(t), registrytest.New(t)
	guard := gone.Guard(t)
	gone.Close()
	_, err := guard.Token(t.Context()) // fails: nobody listens
	require.Error(t, err)
	err = pull(t, registry, client(t, guard, orasguard.Options{Registry: registry.Host}, nil))
	var refused *tokenguard.RefusedError
	require.ErrorAs(t, err, &refused)
	assert.ErrorIs(t, err, tokenguard.ErrBackoff)
}

func TestOnlyItsOwnRegistry(t *testing.T) {
	registry, other := registrytest.New(t), registrytest.New(t)
	require.NoError(t, pull(t, other, client(t, registry.Guard(t), orasguard.Options{Registry: registry.Host}, nil)))
	assert.Empty(t, registry.Asked())
	assert.NotEmpty(t, other.Asked(), "the client's own anonymous exchange")

	credential, err := orasguard.CredentialFunc(registry.Guard(t), orasguard.Options{
		Registry: "docker.io", Scope: func(context.Context, string) string { return registrytest.PullScope },
	})
	require.NoError(t, err)
	for host, known := range map[string]bool{"registry-1.docker.io": true, "docker.io": false, "ghcr.io": false} {
		c, err := credential(t.Context(), host)
		require.NoError(t, err)
		assert.Equal(t, known, c != auth.EmptyCredential, host)
	}
}

func TestInvalid(t *testing.T) {
	guard := registrytest.New(t).Guard(t)
	for want, o := range map[string]orasguard.Options{
		"Options.Registry is empty":    {},
		"Options.Registry: ":           {Registry: "not a registry"},
		"Options.MaxWait: -1s: want 0": {Registry: "ghcr.io", MaxWait: -time.Second},
	} {
		_, err := orasguard.CredentialFunc(guard, o)
		assert.ErrorContains(t, err, "tokenguard: orasguard: "+want)
	}
	_, err := orasguard.CredentialFunc(nil, orasguard.Options{})
	assert.ErrorContains(t, err, "guard is nil")
	assert.ErrorContains(t, err, "Registry is empty")
}
