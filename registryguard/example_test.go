package registryguard_test

import (
	"log"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/registryguard"
)

// Pull pulls with tokens of the guard from ghcr.io, and as it would without one from anywhere else.
func Pull(guard *tokenguard.Guard, ref name.Reference) (v1.Image, error) {
	keychain, err := registryguard.New(guard, registryguard.Options{Registry: "ghcr.io"})
	if err != nil {
		return nil, err
	}
	transport, err := guardhttp.Watch(guard, guardhttp.WatchOptions{Base: remote.DefaultTransport})
	if err != nil {
		return nil, err
	}
	return remote.Image(ref,
		remote.WithAuthFromKeychain(authn.NewMultiKeychain(keychain, authn.DefaultKeychain)),
		remote.WithTransport(transport)) // tells the guard which tokens were refused
}

func Example() {
	var guard *tokenguard.Guard // as in the cookbook's registry page
	if _, err := Pull(guard, name.MustParseReference("ghcr.io/team/app:v1")); err != nil {
		log.Print(err)
	}
}
