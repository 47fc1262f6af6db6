package grpcguard_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/grpcguard"
)

// server is a real gRPC server whose good token can change, and which can answer with an error of the test's.
type server struct {
	good  atomic.Value // string
	fails atomic.Value // func(ctx) error
	addr  string
}

func start(t *testing.T) *server {
	t.Helper()
	s := &server{}
	s.good.Store("token-1")
	s.fails.Store(func(context.Context) error { return nil })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	check := func(ctx context.Context) error {
		md, _ := metadata.FromIncomingContext(ctx)
		if got := md.Get("authorization"); len(got) != 1 || got[0] != "Bearer "+s.good.Load().(string) {
			return status.Error(codes.Unauthenticated, "the access token is invalid")
		}
		return s.fails.Load().(func(context.Context) error)(ctx)
	}
	g := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			if err := check(ctx); err != nil {
				return nil, err
			}
			return h(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			if err := check(stream.Context()); err != nil {
				return err
			}
			return h(srv, stream)
		}))
	grpc_health_v1.RegisterHealthServer(g, health.NewServer())
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	s.addr = l.Addr().String()
	return s
}

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func dial(t *testing.T, s *server, fetch tokenguard.RequestFunc) (grpc_health_v1.HealthClient, *tokenguard.Guard, *clock) {
	t.Helper()
	c := &clock{time.Now()}
	guard, err := tokenguard.New(fetch, tokenguard.WithClock(c))
	require.NoError(t, err)
	t.Cleanup(func() { _ = guard.Close() })
	return connect(t, s.addr, guard), guard, c
}

// connect opens a connection with the guard's tokens.
func connect(t *testing.T, addr string, guard *tokenguard.Guard, more ...grpc.DialOption) grpc_health_v1.HealthClient {
	t.Helper()
	opts, err := grpcguard.DialOptions(guard, func(c *grpcguard.Credentials) { c.Insecure = true })
	require.NoError(t, err)
	opts = append(append(opts, grpc.WithTransportCredentials(insecure.NewCredentials())), more...)
	conn, err := grpc.NewClient(addr, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return grpc_health_v1.NewHealthClient(conn)
}

func numbered() tokenguard.RequestFunc {
	n := 0
	return func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		n++
		return tokenguard.NewTokenIn(fmt.Sprintf("token-%d", n), time.Hour), nil
	}
}

func call(t *testing.T, client grpc_health_v1.HealthClient) error {
	t.Helper()
	_, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	return err
}

func TestCallsShareOneToken(t *testing.T) {
	client, guard, _ := dial(t, start(t), numbered())
	for range 5 {
		require.NoError(t, call(t, client))
	}
	stats := guard.Stats()
	assert.EqualValues(t, 1, stats.Acquisitions.Attempts)
	assert.EqualValues(t, 5, stats.Calls.Outcomes["success"])
}

func TestARejectedTokenIsReplaced(t *testing.T) {
	s := start(t)
	client, _, clock := dial(t, s, numbered())
	require.NoError(t, call(t, client))

	s.good.Store("token-2")
	clock.now = clock.now.Add(10 * time.Minute)
	assert.Equal(t, codes.Unauthenticated, status.Code(call(t, client)))
	assert.NoError(t, call(t, client), "the report of the first call rejected the token")
}

func TestARefusalIsFoundInTheError(t *testing.T) {
	client, _, _ := dial(t, start(t), func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.Token{}, errors.New("503 service unavailable")
	})
	var failed *tokenguard.RequestError
	assert.ErrorAs(t, call(t, client), &failed)
	err := call(t, client)
	assert.ErrorIs(t, err, tokenguard.ErrBackoff)
	assert.Equal(t, codes.Unavailable, status.Code(err))
}

func TestOutcomesAreReported(t *testing.T) {
	s := start(t)
	client, guard, _ := dial(t, s, numbered())
	s.fails.Store(func(ctx context.Context) error {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("x-ratelimit-limit", "100", "x-ratelimit-remaining", "0"))
		return status.Error(codes.ResourceExhausted, "monthly quota exceeded")
	})
	assert.Equal(t, codes.ResourceExhausted, status.Code(call(t, client)))
	assert.EqualValues(t, 1, guard.Stats().Calls.Outcomes["quota_exhausted"])
	err := call(t, client)
	assert.ErrorIs(t, err, tokenguard.ErrNotNeeded, "nothing remains, as the trailer says, and the token is too new to be replaced")
	assert.Equal(t, codes.Unavailable, status.Code(err), "waiting helps")
}

func TestTransportSecurity(t *testing.T) {
	assert.True(t, grpcguard.Credentials{}.RequireTransportSecurity())
	_, err := grpc.NewClient("127.0.0.1:1", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(grpcguard.Credentials{}))
	assert.Error(t, err)
}

func TestFailureFromError(t *testing.T) {
	assert.True(t, grpcguard.FailureFromError(nil, nil).IsZero())
	for code, want := range map[codes.Code]tokenguard.Class{
		codes.Unauthenticated:   tokenguard.ClassAuthInvalid,
		codes.PermissionDenied:  tokenguard.ClassForbidden,
		codes.Unavailable:       tokenguard.ClassTransient,
		codes.ResourceExhausted: tokenguard.ClassRateLimited,
		codes.InvalidArgument:   tokenguard.ClassClientError,
	} {
		f := grpcguard.FailureFromError(status.Error(code, ""), nil)
		assert.Equal(t, want, tokenguard.Classify(f), code)
	}
}
