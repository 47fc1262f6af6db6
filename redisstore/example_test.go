package redisstore_test

import (
	"context"
	"fmt"
	"log"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/redisstore"
)

func Example() {
	server, err := miniredis.Run() // in your program: the Redis or Valkey that all machines reach
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	fetch := func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		fmt.Println("one acquisition")
		return tokenguard.NewTokenIn("anonymous-1", 3600e9), nil
	}
	machine := func() error {
		client := redis.NewUniversalClient(&redis.UniversalOptions{
			Addrs:                 []string{server.Addr()},
			ContextTimeoutEnabled: true, // required: operations end with their context
		})
		defer client.Close()
		store, err := redisstore.New(client)
		if err != nil {
			return err
		}
		defer store.Close()
		guard, err := tokenguard.New(fetch, tokenguard.WithStore(store), tokenguard.WithName("upstream-account"))
		if err != nil {
			return err
		}
		defer guard.Close()
		grant, err := guard.Acquire(context.Background(), tokenguard.Request{})
		if err != nil {
			return err
		}
		fmt.Println(grant.Token.ID(), grant.Source)
		return nil
	}
	for range 2 {
		if err := machine(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// one acquisition
	// tk_213b0fb3f2d55ae5 request
	// tk_213b0fb3f2d55ae5 shared
}
