// Package awsguard lets clients of the AWS SDK for Go v2 sign with credentials that a guard acquires, such as those of
// Cognito guests, of which each is a sign-in that is counted.
//
// Set the provider as Config.Credentials after the configuration is loaded. Do not wrap it in an aws.CredentialsCache, as
// config.WithCredentialsProvider does: that keeps credentials which the guard knows to be dead until they expire.
package awsguard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/tokenguard/tokenguard"
)

// Options say what is asked of the guard. The zero value asks for an anonymous token without a scope and does not wait.
type Options struct {
	// Request is what the guard is asked for. Its Failure and Failing must be zero: they would be reported with every
	// call.
	Request tokenguard.Request
	// MaxWait is how long Retrieve may wait for a limit to open: it returns the refusal then. Zero does not wait beyond an
	// acquisition in progress.
	MaxWait time.Duration
}

// Provider is an aws.CredentialsProvider. Make one with New; the zero value has no credentials and says so. It is safe for
// concurrent use.
type Provider struct {
	guard *tokenguard.Guard
	o     Options
}

var _ aws.CredentialsProvider = (*Provider)(nil)

const maxScope = 512 // bytes, of tokenguard.Request

// New returns a provider of the credentials of a guard whose RequestFunc returns tokens made by Token. The
// error names every option that is missing or invalid.
func New(guard *tokenguard.Guard, o Options) (*Provider, error) {
	var errs []error
	if guard == nil {
		errs = append(errs, errors.New("guard is nil: want a *tokenguard.Guard"))
	}
	if !o.Request.Failure.IsZero() || o.Request.Failing != "" {
		errs = append(errs, errors.New("Options.Request: a Failure or Failing would be reported with every call: want neither"))
	}
	if n := len(o.Request.Scope); n > maxScope {
		errs = append(errs, fmt.Errorf("Options.Request.Scope: %d bytes: want at most %d", n, maxScope))
	}
	if o.MaxWait < 0 {
		errs = append(errs, fmt.Errorf("Options.MaxWait: %v: want 0 or more", o.MaxWait))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("tokenguard: awsguard: %w", errors.Join(errs...))
	}
	return &Provider{guard, o}, nil
}

const (
	source = "tokenguard "
	// unstated is how long credentials are said to live whose end nobody stated: a cache of them asks again then.
	unstated = time.Minute
)

// Retrieve asks the guard. The credentials expire when their token does and, where no end was stated, a minute from now,
// since a cache in front of the guard would keep them forever otherwise. An error of the guard comes as it is: errors.As
// finds the *tokenguard.RefusedError, also in what a client of the SDK returns.
func (p *Provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if p == nil || p.guard == nil {
		return aws.Credentials{}, errors.New("tokenguard: awsguard: a zero Provider: make one with New")
	}
	acquire := p.guard.Acquire
	if p.o.MaxWait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.o.MaxWait)
		defer cancel()
		acquire = p.guard.Wait
	}
	grant, err := acquire(ctx, p.o.Request)
	if err != nil {
		return aws.Credentials{}, err
	}
	c, err := secrets(grant.Token)
	if err != nil {
		return aws.Credentials{}, err
	}
	c.Source, c.CanExpire, c.Expires = source+grant.Token.ID(), true, grant.Token.Expiry()
	if c.Expires.IsZero() {
		c.Expires = time.Now().Add(unstated)
	}
	return c, nil
}

// ID returns the guard's name for the token that credentials of a Provider came from, for Report and Request.Failing; empty
// for others.
func ID(c aws.Credentials) string {
	id, _ := strings.CutPrefix(c.Source, source)
	if id == c.Source {
		return ""
	}
	return id
}

// FailureFromError returns the failure that an error of the SDK stands for: the status and header of the answer, and the
// service's code and message. It is zero for nil and for the caller's own cancellation, which is no failure.
func FailureFromError(err error) tokenguard.Failure {
	if err == nil || errors.Is(err, context.Canceled) {
		return tokenguard.Failure{}
	}
	f := tokenguard.Failure{Err: err}
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil {
		f.StatusCode, f.Header = answer.HTTPStatusCode(), answer.Response.Header.Clone()
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		f.Message = api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return f
}
