// Package grpcguard sends a guard's token with each gRPC call and reports how the calls end.
//
// [DialOptions] is what most programs want:
//
//	opts, err := grpcguard.DialOptions(guard)
//	if err != nil {
//		return err
//	}
//	conn, err := grpc.NewClient(target, append(opts, grpc.WithTransportCredentials(tls))...)
package grpcguard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/answer"
)

// Credentials takes a token from the guard for each call, on that call's context.
//
// With the interceptors, outcomes are reported to the guard; without them it only hears of tokens that expire. The
// operation of a call is its full method ("/package.Service/Method"), unless Request.Caller says otherwise. The zero
// value with a Guard is ready for use; without one every call fails with what is missing. It is safe for concurrent use.
type Credentials struct {
	// Guard gives the tokens.
	Guard *tokenguard.Guard
	// Request is what the guard is asked for. Its Failure and Failing must be zero: failures are reported by the
	// interceptors.
	Request tokenguard.Request
	// Insecure sends tokens over connections without transport security. For tests.
	Insecure bool
}

var _ credentials.PerRPCCredentials = Credentials{}

// DialOptions returns what makes a grpc.ClientConn send the guard's tokens and report how its calls end, or every
// mistake in the Credentials, joined. Each of set may change the Credentials first.
func DialOptions(guard *tokenguard.Guard, set ...func(*Credentials)) ([]grpc.DialOption, error) {
	c := Credentials{Guard: guard}
	for _, f := range set {
		f(&c)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return []grpc.DialOption{
		grpc.WithPerRPCCredentials(c), grpc.WithChainUnaryInterceptor(c.Unary), grpc.WithChainStreamInterceptor(c.Stream),
	}, nil
}

const maxScope = 512 // of tokenguard.Request

var errNoGuard = errors.New("tokenguard: grpcguard: Credentials.Guard is nil")

func (c Credentials) check() error {
	var errs []error
	if c.Guard == nil {
		errs = append(errs, errNoGuard)
	}
	if !c.Request.Failure.IsZero() || c.Request.Failing != "" {
		errs = append(errs, errors.New("tokenguard: grpcguard: Credentials.Request: a Failure or Failing would be reported with every call: want neither"))
	}
	if n := len(c.Request.Scope); n > maxScope {
		errs = append(errs, fmt.Errorf("tokenguard: grpcguard: Credentials.Request.Scope: %d bytes: want at most %d", n, maxScope))
	}
	return errors.Join(errs...)
}

// GetRequestMetadata returns the authorization of one call. A refusal ends the call: Unavailable if waiting helps,
// FailedPrecondition if it does not (Internal without the interceptors, since gRPC lets no other through). Its text says the reason, and nothing that an upstream or a store said, since
// servers pass such texts on; with the interceptors, errors.As finds the guard's own error.
func (c Credentials) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if c.Guard == nil {
		return nil, status.Error(codes.Unauthenticated, errNoGuard.Error())
	}
	req := c.Request
	if req.Caller == "" {
		info, _ := credentials.RequestInfoFromContext(ctx)
		req.Caller = info.Method
	}
	grant, err := c.Guard.Acquire(ctx, req)
	if call, ok := ctx.Value(callKey{}).(*call); ok {
		call.set(grant.Token.ID(), err)
	}
	if err != nil {
		return nil, status.Error(code(err), text(err))
	}
	return map[string]string{"authorization": "Bearer " + grant.Token.Value()}, nil
}

// RequireTransportSecurity keeps tokens off plain connections, unless Insecure is set.
func (c Credentials) RequireTransportSecurity() bool { return !c.Insecure }

func code(err error) codes.Code {
	refused, _ := answer.Of(err)
	switch {
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case refused != nil && refused.Verdict.RetryAt.IsZero() && !refused.Is(tokenguard.ErrStore):
		return codes.FailedPrecondition
	}
	return codes.Unavailable
}

// text says what a refusal is, without what others said.
func text(err error) string {
	switch refused, failed := answer.Of(err); {
	case refused != nil:
		return fmt.Sprintf("tokenguard: refused: %s (%s)%s", refused.Verdict.Reason, refused.Verdict.Step, until(refused.Verdict.RetryAt))
	case failed != nil:
		return fmt.Sprintf("tokenguard: the acquisition of a token failed (%s)%s", failed.Class, until(failed.RetryAt))
	}
	return "tokenguard: no token: " + status.FromContextError(err).Code().String()
}

func until(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return ", retry at " + at.UTC().Format(time.RFC3339)
}
