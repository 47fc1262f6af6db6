package registryguard_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/internal/registrytest"
	"github.com/tokenguard/tokenguard/registryguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

func pull(t *testing.T, image string, opts ...remote.Option) error {
	t.Helper()
	ref, err := name.ParseReference(image, name.Insecure)
	require.NoError(t, err)
	img, err := remote.Image(ref, append(opts, remote.WithContext(t.Context()))...)
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	require.NoError(t, err)
	for _, l := range layers {
		r, err := l.Compressed()
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
	}
	return nil
}

func keychain(t *testing.T, guard *tokenguard.Guard, registry string) *registryguard.Keychain {
	t.Helper()
	k, err := registryguard.New(guard, registryguard.Options{Registry: registry})
	require.NoError(t, err)
	return k
}

func TestPullsShareOneToken(t *testing.T) {
	registry := registrytest.New(t)
	k := keychain(t, registry.Guard(t), registry.Host)
	for range 5 {
		require.NoError(t, pull(t, registry.Image, remote.WithAuthFromKeychain(k)))
	}
	assert.Equal(t, []string{registrytest.PullScope}, registry.Asked())
	assert.Zero(t, registry.Refused())
}

// The guard learns from the transport that a token was revoked, and the pull goes on with the next one.
func TestRevokedToken(t *testing.T) {
	registry := registrytest.New(t)
	clock := tokenguardtest.NewClock(time.Time{})
	guard := registry.Guard(t, tokenguard.WithClock(clock))
	const caller = "nightly"
	k, err := registryguard.New(guard, registryguard.Options{Registry: registry.Host, Caller: caller})
	require.NoError(t, err)
	watch, err := guardhttp.Watch(guard, guardhttp.WatchOptions{Caller: func(*http.Request) string { return caller }})
	require.NoError(t, err)
	opts := []remote.Option{remote.WithAuthFromKeychain(k), remote.WithTransport(watch)}
	require.NoError(t, pull(t, registry.Image, opts...))
	clock.Advance(2 * time.Minute)
	registry.Revoke()
	require.NoError(t, pull(t, registry.Image, opts...))
	assert.Len(t, registry.Asked(), 2)
	assert.Equal(t, 1, registry.Refused())
}

func TestRefusalReachesTheCaller(t *testing.T) {
	registry := registrytest.New(t)
	guard := registry.Guard(t)
	registry.Close()
	other := registrytest.New(t)
	_, err := guard.Token(t.Context()) // fails: nobody listens
	require.Error(t, err)
	err = pull(t, other.Image, remote.WithAuthFromKeychain(keychain(t, guard, other.Host)))
	var refused *tokenguard.RefusedError
	require.ErrorAs(t, err, &refused)
	assert.ErrorIs(t, err, tokenguard.ErrBackoff)
	assert.False(t, refused.Verdict.RetryAt.IsZero())
}

func TestOnlyItsOwnRegistry(t *testing.T) {
	registry, other := registrytest.New(t), registrytest.New(t)
	k := keychain(t, registry.Guard(t), registry.Host)
	require.NoError(t, pull(t, other.Image, remote.WithAuthFromKeychain(authn.NewMultiKeychain(k))))
	assert.Empty(t, registry.Asked())
	assert.Len(t, other.Asked(), 1, "the client's own anonymous exchange")

	hub, err := name.NewRepository("ubuntu")
	require.NoError(t, err)
	asked := ""
	k, err = registryguard.New(registry.Guard(t), registryguard.Options{
		Registry: "docker.io", Scope: func(r authn.Resource) string { asked = r.String(); return registrytest.PullScope },
	})
	require.NoError(t, err)
	auth, err := k.Resolve(hub)
	require.NoError(t, err)
	config, err := auth.Authorization()
	require.NoError(t, err)
	assert.NotEmpty(t, config.RegistryToken)
	assert.Equal(t, "index.docker.io/library/ubuntu", asked)
}

func TestCatalogScope(t *testing.T) {
	registry := registrytest.New(t)
	r, err := name.NewRegistry(registry.Host)
	require.NoError(t, err)
	auth, err := keychain(t, registry.Guard(t), registry.Host).Resolve(r)
	require.NoError(t, err)
	_, err = auth.Authorization()
	require.NoError(t, err)
	assert.Equal(t, []string{"registry:catalog:*"}, registry.Asked())
}

func TestInvalid(t *testing.T) {
	guard := registrytest.New(t).Guard(t)
	for want, o := range map[string]registryguard.Options{
		"Options.Registry is empty":    {},
		"Options.Registry: ":           {Registry: "not a registry"},
		"Options.MaxWait: -1s: want 0": {Registry: "ghcr.io", MaxWait: -time.Second},
	} {
		_, err := registryguard.New(guard, o)
		assert.ErrorContains(t, err, "tokenguard: registryguard: "+want)
	}
	_, err := registryguard.New(nil, registryguard.Options{})
	assert.ErrorContains(t, err, "guard is nil")
	assert.ErrorContains(t, err, "Registry is empty")

	r, err := name.NewRegistry("ghcr.io")
	require.NoError(t, err)
	for _, k := range []*registryguard.Keychain{nil, {}} {
		_, err := k.Resolve(r)
		assert.ErrorContains(t, err, "make one with New")
	}
}
