package grpcguard_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/grpcguard"
)

// Calls share one token, and a refusal comes out of a call as the guard's own error, with the instant at which waiting
// helps.
func Example() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(l) }()
	defer server.Stop()

	guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.NewTokenIn("made up", time.Hour), nil
	})
	if err != nil {
		log.Fatal(err)
	}
	defer guard.Close()
	check := func(scope string) error {
		opts, err := grpcguard.DialOptions(guard, func(c *grpcguard.Credentials) {
			c.Request.Scope = scope
			c.Insecure = true // in production, tokens go over TLS alone
		})
		if err != nil {
			return err
		}
		conn, err := grpc.NewClient(l.Addr().String(), append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
		return err
	}
	for range 3 {
		if err := check("models"); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("asked for a token:", guard.Stats().Acquisitions.Attempts)

	err = check("images") // too soon for another one
	if refused, ok := errors.AsType[*tokenguard.RefusedError](err); ok {
		after, helps := refused.RetryAfter(time.Now())
		fmt.Println(refused.Verdict.Reason, helps, after.Round(time.Minute))
	}
	_, err = grpcguard.DialOptions(nil)
	fmt.Println(err)
	// Output:
	// asked for a token: 1
	// min_interval true 5m0s
	// tokenguard: grpcguard: Credentials.Guard is nil
}
