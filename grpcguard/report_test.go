package grpcguard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/grpcguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

func outcomes(guard *tokenguard.Guard) map[string]int64 {
	some := map[string]int64{}
	for class, n := range guard.Stats().Calls.Outcomes {
		if n != 0 {
			some[class] = n
		}
	}
	return some
}

// other is another credential of the connection or the call. It fails if the test says so.
type other struct{ err error }

func (o other) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"x-other": "1"}, o.err
}
func (other) RequireTransportSecurity() bool { return false }

// A call for which nothing was sent says nothing about the token, whatever its code.
func TestWhatReachedNobodyIsNotReported(t *testing.T) {
	s := start(t)
	for name, err := range map[string]error{
		"a plain error": errors.New("401 unauthorized: invalid token"),
		"a status":      status.Error(codes.Unauthenticated, "the token of the other one has expired"),
	} {
		for where, creds := range map[string][2]bool{"of the connection": {true, false}, "of the call": {false, true}} {
			t.Run(name+" "+where, func(t *testing.T) {
				_, guard, _ := dial(t, s, numbered())
				var more []grpc.DialOption
				var opts []grpc.CallOption
				if creds[0] {
					more = append(more, grpc.WithPerRPCCredentials(other{err}))
				}
				if creds[1] {
					opts = append(opts, grpc.PerRPCCredentials(other{err}))
				}
				client := connect(t, s.addr, guard, more...)
				_, got := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}, opts...)
				require.Error(t, got)
				_, got = client.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{}, opts...)
				require.Error(t, got)
				require.EqualValues(t, 1, guard.Stats().Acquisitions.Attempts, "the token was asked for")
				require.Empty(t, outcomes(guard))
			})
		}
	}
	t.Run("no server", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, l.Close())
		_, guard, _ := dial(t, s, numbered())
		_, err = guard.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, codes.Unavailable, status.Code(call(t, connect(t, l.Addr().String(), guard))))
		require.Empty(t, outcomes(guard))
	})
}

// Nor does it read as a word of the upstream where there is no interceptor.
func TestCredentialsThatFailAreNoAnswer(t *testing.T) {
	s := start(t)
	conn, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	client := grpc_health_v1.NewHealthClient(conn)
	for _, creds := range []other{
		{errors.New("token expired")}, {errors.New("403 forbidden: your IP address was banned")},
		{status.Error(codes.FailedPrecondition, "token expired")}, {status.Error(codes.NotFound, "your IP address was banned")}, // codes that gRPC lets no credentials have
	} {
		_, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}, grpc.PerRPCCredentials(creds))
		require.ErrorContains(t, err, creds.err.Error())
		require.Equal(t, tokenguard.ClassTransient, tokenguard.Classify(grpcguard.FailureFromError(err, nil)))
		require.Equal(t, tokenguard.ClassTransient, tokenguard.Classify(tokenguard.Failure{Err: fmt.Errorf("sign up: %w", err)}))
	}
}

// A message over gRPC's own size limit says ResourceExhausted, which would pause the key.
func TestAMessageThatIsTooLargeIsTheCallersOwn(t *testing.T) {
	s := start(t)
	big := &grpc_health_v1.HealthCheckRequest{Service: strings.Repeat("x", 5<<20)}
	for name, tt := range map[string]struct {
		req *grpc_health_v1.HealthCheckRequest
		opt grpc.CallOption
	}{
		"sent":                  {big, grpc.MaxCallSendMsgSize(10)},
		"refused by the server": {big, grpc.MaxCallSendMsgSize(10 << 20)},
		"received":              {&grpc_health_v1.HealthCheckRequest{}, grpc.MaxCallRecvMsgSize(1)},
	} {
		t.Run(name, func(t *testing.T) {
			client, guard, _ := dial(t, s, numbered())
			_, err := client.Check(t.Context(), tt.req, tt.opt)
			require.Equal(t, codes.ResourceExhausted, status.Code(err), err)
			require.Equal(t, map[string]int64{"client_error": 1}, outcomes(guard))
		})
	}
}

func TestTheStatedWait(t *testing.T) {
	detailed := func(wait time.Duration) error {
		s, err := status.New(codes.ResourceExhausted, "too many requests").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
		require.NoError(t, err)
		return s.Err()
	}
	plain := status.Error(codes.ResourceExhausted, "too many requests")
	for name, tt := range map[string]struct {
		err     error
		trailer metadata.MD
		want    []string
	}{
		"none":                       {plain, nil, nil},
		"details":                    {detailed(90 * time.Second), nil, []string{"90"}},
		"a part of a second":         {detailed(1500 * time.Millisecond), nil, []string{"2"}},
		"pushback":                   {plain, metadata.Pairs("grpc-retry-pushback-ms", "7001"), []string{"8"}},
		"do not retry":               {plain, metadata.Pairs("grpc-retry-pushback-ms", "-1"), nil},
		"not a number":               {plain, metadata.Pairs("grpc-retry-pushback-ms", "soon"), nil},
		"too large to be meant":      {plain, metadata.Pairs("grpc-retry-pushback-ms", "9223372036854775807"), nil},
		"the longer of the two":      {detailed(5 * time.Second), metadata.Pairs("grpc-retry-pushback-ms", "9000"), []string{"9"}},
		"the longer of the other":    {detailed(15 * time.Second), metadata.Pairs("grpc-retry-pushback-ms", "9000"), []string{"15"}},
		"longer than the trailer's":  {detailed(15 * time.Second), metadata.Pairs("retry-after", "9"), []string{"15"}},
		"shorter than the trailer's": {detailed(15 * time.Second), metadata.Pairs("retry-after", "90"), []string{"90"}},
		"beside a date":              {detailed(15 * time.Second), metadata.Pairs("retry-after", "Fri, 02 Jan 2026 15:04:05 GMT"), []string{"Fri, 02 Jan 2026 15:04:05 GMT"}},
		"negative":                   {detailed(-time.Second), nil, nil},
	} {
		f := grpcguard.FailureFromError(tt.err, tt.trailer)
		assert.Equal(t, tt.want, f.Header["retry-after"], name)
		assert.Len(t, metadata.MD(tt.trailer).Get("retry-after"), len(tt.trailer["retry-after"]), "the trailer is the caller's")
	}
}

// The wait that the server states reaches the guard's decision.
func TestTheStatedWaitIsThePause(t *testing.T) {
	s := start(t)
	client, guard, clock := dial(t, s, numbered())
	s.fails.Store(func(context.Context) error {
		st, _ := status.New(codes.ResourceExhausted, "too many requests").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(2 * time.Hour)})
		return st.Err()
	})
	require.Error(t, call(t, client))
	e, err := guard.Explain(t.Context(), tokenguard.Request{Caller: grpc_health_v1.Health_Check_FullMethodName})
	require.NoError(t, err)
	for _, v := range e.Steps {
		if v.Step == tokenguard.StepManager {
			require.Equal(t, tokenguard.ReasonUpstreamRateLimited, v.Reason)
			require.InDelta(t, 2*time.Hour, v.Until.Sub(clock.now), float64(time.Second))
		}
	}
}

func TestStreamsAreReported(t *testing.T) {
	s := start(t)
	client, guard, clock := dial(t, s, numbered())
	require.NoError(t, call(t, client))
	good := map[string]int64{"success": 1}
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	require.Equal(t, good, outcomes(guard), "it has not ended")
	cancel()
	_, err = stream.Recv()
	require.Equal(t, codes.Canceled, status.Code(err))
	require.Equal(t, good, outcomes(guard), "the caller left")

	s.good.Store("token-2")
	clock.now = clock.now.Add(10 * time.Minute)
	stream, err = client.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err, "a stream opens before the server has answered")
	_, err = stream.Recv()
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	require.Equal(t, map[string]int64{"success": 1, "auth_invalid": 1}, outcomes(guard))
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	stream, err = client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err, "the token was replaced")
	require.Equal(t, codes.Unauthenticated, status.Code(call(t, client)), "which takes it from no other operation")
	require.NoError(t, call(t, client))
	require.EqualValues(t, 2, outcomes(guard)["success"])

	// A stream that the server ends well is a success.
	raw := connectRaw(t, s.addr, guard)
	done, err := raw.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, grpc_health_v1.Health_Check_FullMethodName)
	require.NoError(t, err)
	require.NoError(t, done.SendMsg(&grpc_health_v1.HealthCheckRequest{}))
	require.NoError(t, done.CloseSend())
	require.NoError(t, done.RecvMsg(&grpc_health_v1.HealthCheckResponse{}))
	require.ErrorIs(t, done.RecvMsg(&grpc_health_v1.HealthCheckResponse{}), io.EOF)
	require.EqualValues(t, 3, outcomes(guard)["success"])
}

func connectRaw(t *testing.T, addr string, guard *tokenguard.Guard) *grpc.ClientConn {
	t.Helper()
	opts, err := grpcguard.DialOptions(guard, func(c *grpcguard.Credentials) { c.Insecure = true })
	require.NoError(t, err)
	conn, err := grpc.NewClient(addr, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestTheOperationIsTheFullMethod(t *testing.T) {
	for name, want := range map[string]string{"": grpc_health_v1.Health_Check_FullMethodName, "mine": "mine"} {
		var rec tokenguardtest.Recorder
		guard, err := tokenguard.New(numbered(), tokenguard.WithObserver(rec.Observe))
		require.NoError(t, err)
		defer guard.Close()
		opts, err := grpcguard.DialOptions(guard, func(c *grpcguard.Credentials) { c.Insecure, c.Request.Caller = true, name })
		require.NoError(t, err)
		conn, err := grpc.NewClient(start(t).addr, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, call(t, grpc_health_v1.NewHealthClient(conn)))
		for _, e := range rec.Events() {
			if e.Kind == tokenguard.EventStarted {
				require.Equal(t, want, e.Caller)
			}
		}
		require.Contains(t, rec.Kinds(), tokenguard.EventStarted)
	}
}

func TestDialOptionsSaysEveryMistake(t *testing.T) {
	_, err := grpcguard.DialOptions(nil, func(c *grpcguard.Credentials) {
		c.Request = tokenguard.Request{Failing: "tk_0", Scope: strings.Repeat("x", 513)}
	})
	for _, want := range []string{"Credentials.Guard is nil", "Failing", "513 bytes: want at most 512"} {
		require.ErrorContains(t, err, want)
	}
}

func TestTheZeroValueFails(t *testing.T) {
	creds := grpcguard.Credentials{Insecure: true}
	conn, err := grpc.NewClient(start(t).addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(creds), grpc.WithUnaryInterceptor(creds.Unary), grpc.WithStreamInterceptor(creds.Stream))
	require.NoError(t, err)
	defer conn.Close()
	require.ErrorContains(t, call(t, grpc_health_v1.NewHealthClient(conn)), "Credentials.Guard is nil")
}

// A RequestFunc may ask another guard: its refusal is why the acquisition failed, and not this guard's answer.
func TestTheRefusalOfAnotherGuardIsAFailure(t *testing.T) {
	_, inner, _ := dial(t, start(t), numbered())
	require.NoError(t, inner.Close())
	client, _, _ := dial(t, start(t), func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) { return inner.Token(ctx) })
	for _, want := range []string{"the acquisition of a token failed (", "refused: backoff (limiter)"} {
		err := call(t, client)
		assert.Equal(t, codes.Unavailable, status.Code(err), "waiting helps")
		assert.Contains(t, status.Convert(err).Message(), want)
	}
}

// Servers pass a status on to their own clients: it holds nothing that an upstream or the source of a token said.
func TestTheStatusOfARefusalHasNoForeignText(t *testing.T) {
	client, _, _ := dial(t, start(t), func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.Token{}, errors.New("403 forbidden: account alice at vault.internal is banned")
	})
	for range 2 {
		err := call(t, client)
		require.NotContains(t, status.Convert(err).Message(), "alice")
		require.Contains(t, status.Convert(err).Message(), "tokenguard: ")
		require.Error(t, err)
	}
	// Without the interceptors there is nothing but the status.
	_, banned, _ := dial(t, start(t), func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.Token{}, errors.New("403 forbidden: account alice at vault.internal is banned")
	})
	conn, err := grpc.NewClient(start(t).addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(grpcguard.Credentials{Guard: banned, Insecure: true}))
	require.NoError(t, err)
	defer conn.Close()
	for _, want := range []string{"the acquisition of a token failed (forbidden)", "refused: backoff (limiter)"} {
		err := call(t, grpc_health_v1.NewHealthClient(conn))
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "alice")
	}
	_, guard, _ := dial(t, start(t), numbered())
	require.NoError(t, guard.Close())
	err = call(t, connect(t, start(t).addr, guard))
	require.ErrorIs(t, err, tokenguard.ErrClosed)
	require.Equal(t, codes.FailedPrecondition, status.Code(err), "waiting does not help")
}
