// Package grpcguard sends a guard's token with each gRPC call and reports how the calls end.
package grpcguard

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tokenguard/tokenguard"
)

// Credentials takes a token from the guard for each call, on that call's context.
//
//	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(tls), grpc.WithPerRPCCredentials(creds),
//		grpc.WithUnaryInterceptor(creds.Unary), grpc.WithStreamInterceptor(creds.Stream))
//
// With the interceptors, outcomes are reported to the guard; without them it only hears of tokens that expire. The zero
// value with a Guard is ready to use. It is safe for concurrent use.
type Credentials struct {
	Guard *tokenguard.Guard
	// Request is what the guard is asked for.
	Request tokenguard.Request
	// Insecure sends tokens over connections without transport security. For tests.
	Insecure bool
}

var _ credentials.PerRPCCredentials = Credentials{}

// GetRequestMetadata returns the authorization of one call. A refusal ends the call: Unavailable if waiting helps,
// FailedPrecondition if it does not. The guard's error is in the text; with the interceptors, errors.As finds it.
func (c Credentials) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	grant, err := c.Guard.Acquire(ctx, c.Request)
	if call, ok := ctx.Value(callKey{}).(*call); ok {
		call.id, call.err = grant.Token.ID(), err
	}
	if err != nil {
		return nil, status.Error(code(err), err.Error())
	}
	return map[string]string{"authorization": "Bearer " + grant.Token.Value()}, nil
}

// RequireTransportSecurity keeps tokens off plain connections, unless Insecure is set.
func (c Credentials) RequireTransportSecurity() bool { return !c.Insecure }

func code(err error) codes.Code {
	var refused *tokenguard.RefusedError
	switch {
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.As(err, &refused) && refused.Verdict.RetryAt.IsZero() && !errors.Is(err, tokenguard.ErrStore):
		return codes.FailedPrecondition
	}
	return codes.Unavailable
}

// call follows one call from its credentials to its end.
type call struct {
	id  string
	err error // the guard's
}

type callKey struct{}

// refusal puts the guard's own error behind gRPC's.
type refusal struct {
	error
	guard error
}

func (r refusal) Unwrap() []error            { return []error{r.error, r.guard} }
func (r refusal) GRPCStatus() *status.Status { return status.Convert(r.error) }

// Unary reports how a call with the guard's token ended.
func (c Credentials) Unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	k, start := &call{}, time.Now()
	var trailer metadata.MD
	err := invoke(context.WithValue(ctx, callKey{}, k), method, req, reply, cc, append(opts, grpc.Trailer(&trailer))...)
	return c.ended(ctx, k, start, trailer, err)
}

// Stream reports a stream whose opening fails. How an open stream ends is not watched.
func (c Credentials) Stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	k, start := &call{}, time.Now()
	stream, err := open(context.WithValue(ctx, callKey{}, k), desc, cc, method, opts...)
	if err != nil {
		err = c.ended(ctx, k, start, nil, err)
	}
	return stream, err
}

func (c Credentials) ended(ctx context.Context, k *call, start time.Time, trailer metadata.MD, err error) error {
	switch {
	case k.err != nil:
		return refusal{err, k.err}
	case k.id == "":
		return err // another credential was sent, or none
	}
	o := tokenguard.Outcome{TokenID: k.id, Latency: time.Since(start)}
	if err != nil {
		o.Failure = FailureFromError(err, trailer)
	}
	// The call has ended either way; a store that fails shows in the next one's verdict.
	_ = c.Guard.Report(context.WithoutCancel(ctx), o)
	return err
}

// httpStatus is the HTTP status of a gRPC code, as the guard's classifier reads it: google.rpc.Code documents it.
var httpStatus = map[codes.Code]int{
	codes.InvalidArgument: 400, codes.FailedPrecondition: 400, codes.OutOfRange: 400,
	codes.Unauthenticated: 401, codes.PermissionDenied: 403, codes.NotFound: 404,
	codes.Aborted: 409, codes.AlreadyExists: 409, codes.ResourceExhausted: 429, codes.Canceled: 499,
	codes.DataLoss: 500, codes.Unknown: 500, codes.Internal: 500, codes.Unimplemented: 501,
	codes.Unavailable: 503, codes.DeadlineExceeded: 504,
}

// FailureFromError reads a gRPC error, and the trailer that came with it, as a Failure: for Request.Failure and
// Outcome.Failure. It is zero for nil.
func FailureFromError(err error, trailer metadata.MD) tokenguard.Failure {
	if err == nil {
		return tokenguard.Failure{}
	}
	s := status.Convert(err)
	if s.Code() == codes.Canceled {
		return tokenguard.Failure{Err: context.Canceled}
	}
	return tokenguard.Failure{StatusCode: httpStatus[s.Code()], Header: trailer, Message: s.Message(), Err: err}
}
