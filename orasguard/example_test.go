package orasguard_test

import (
	"log"
	"net/http"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/orasguard"
)

// Client is for the Client field of a remote.Repository.
func Client(guard *tokenguard.Guard) (*auth.Client, error) {
	credential, err := orasguard.CredentialFunc(guard, orasguard.Options{Registry: "ghcr.io"})
	if err != nil {
		return nil, err
	}
	transport, err := guardhttp.Watch(guard, guardhttp.WatchOptions{}) // tells the guard which tokens were refused
	if err != nil {
		return nil, err
	}
	return &auth.Client{Client: &http.Client{Transport: transport}, Credential: credential, Cache: auth.NewCache()}, nil
}

func Example() {
	var guard *tokenguard.Guard // as in the cookbook's registry page
	if _, err := Client(guard); err != nil {
		log.Print(err)
	}
}
