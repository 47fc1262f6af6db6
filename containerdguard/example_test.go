package containerdguard_test

import (
	"log"
	"net/http"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/containerdguard"
	"github.com/tokenguard/tokenguard/guardhttp"
)

// Resolver is for containerd.WithResolver, and for nerdctl and BuildKit's like.
func Resolver(guard *tokenguard.Guard) (remotes.Resolver, error) {
	authorizer, err := containerdguard.New(guard, containerdguard.Options{
		Registry: "ghcr.io",
		Other:    docker.NewDockerAuthorizer(), // for all other registries
	})
	if err != nil {
		return nil, err
	}
	transport, err := guardhttp.Watch(guard, guardhttp.WatchOptions{}) // tells the guard which tokens work
	if err != nil {
		return nil, err
	}
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(
			docker.WithAuthorizer(authorizer), docker.WithClient(&http.Client{Transport: transport})),
	}), nil
}

func Example() {
	var guard *tokenguard.Guard // as in the cookbook's registry page
	if _, err := Resolver(guard); err != nil {
		log.Print(err)
	}
}
