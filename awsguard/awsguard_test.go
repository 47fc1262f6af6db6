package awsguard_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentity"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/awsguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// cloud answers the SDK's clients as Cognito and STS do.
type cloud struct {
	*httptest.Server
	mu       sync.Mutex
	signIns  int
	throttle bool
	revoked  bool     // what was issued until now
	keys     []string // of the calls that were signed
	lifetime time.Duration
	now      func() time.Time
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{lifetime: time.Hour, now: time.Now}
	c.Server = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.Close)
	return c
}

func (c *cloud) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := fmt.Sprintf("MADEUP%d", c.signIns)
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	switch operation {
	case "GetId":
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if c.throttle {
			w.Header().Set("Retry-After", "900")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"TooManyRequestsException","message":"Rate exceeded"}`)
			return
		}
		fmt.Fprint(w, `{"IdentityId":"guest"}`)
	case "GetCredentialsForIdentity":
		c.signIns++
		c.revoked = false
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		credentials := map[string]any{"AccessKeyId": fmt.Sprintf("MADEUP%d", c.signIns), "SecretKey": "made up", "SessionToken": fmt.Sprintf("session %d", c.signIns)}
		if c.lifetime > 0 {
			credentials["Expiration"] = c.now().Add(c.lifetime).Unix()
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"IdentityId": "guest", "Credentials": credentials})
	default: // STS
		w.Header().Set("Content-Type", "text/xml")
		authorization := r.Header.Get("Authorization")
		c.keys = append(c.keys, authorization)
		if c.revoked || !strings.Contains(authorization, "Credential="+key+"/") || r.Header.Get("X-Amz-Security-Token") != fmt.Sprintf("session %d", c.signIns) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>The security token included in the request is expired</Message></Error></ErrorResponse>`)
			return
		}
		fmt.Fprint(w, `<GetCallerIdentityResponse><GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
	}
}

func (c *cloud) config() aws.Config {
	return aws.Config{Region: "eu-central-1", BaseEndpoint: &c.URL, Retryer: func() aws.Retryer { return aws.NopRetryer{} }}
}

func (c *cloud) guard(t *testing.T, opts ...tokenguard.Option) *tokenguard.Guard {
	t.Helper()
	guard, err := tokenguard.New(Guest(cognitoidentity.NewFromConfig(c.config()), "pool"), opts...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = guard.Close() })
	return guard
}

func provider(t *testing.T, guard *tokenguard.Guard, o awsguard.Options) *awsguard.Provider {
	t.Helper()
	p, err := awsguard.New(guard, o)
	require.NoError(t, err)
	return p
}

func TestCallsAreSignedWithOneSignIn(t *testing.T) {
	c := newCloud(t)
	guard := c.guard(t)
	for range 5 {
		require.NoError(t, WhoAmI(t.Context(), guard, c.config()))
	}
	assert.Equal(t, 1, c.signIns)
	assert.Len(t, c.keys, 5)
	credentials, err := provider(t, guard, awsguard.Options{}).Retrieve(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "made up", credentials.SecretAccessKey)
	assert.True(t, credentials.CanExpire)
	assert.WithinDuration(t, time.Now().Add(time.Hour), credentials.Expires, time.Minute)
	token, err := guard.Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, token.ID(), awsguard.ID(credentials))
}

// A session that AWS refuses before its end is replaced, as the limits allow.
func TestRevokedSession(t *testing.T) {
	c := newCloud(t)
	clock := tokenguardtest.NewClock(time.Time{})
	c.now = clock.Now
	guard := c.guard(t, tokenguard.WithClock(clock))
	require.NoError(t, WhoAmI(t.Context(), guard, c.config()))
	clock.Advance(6 * time.Minute)
	c.revoked = true
	require.ErrorContains(t, WhoAmI(t.Context(), guard, c.config()), "ExpiredToken")
	require.NoError(t, WhoAmI(t.Context(), guard, c.config()))
	assert.Equal(t, 2, c.signIns)
}

func TestThrottledSignIn(t *testing.T) {
	c := newCloud(t)
	c.throttle = true
	guard := c.guard(t)
	err := WhoAmI(t.Context(), guard, c.config())
	var failed *tokenguard.RequestError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, tokenguard.ClassRateLimited, failed.Class)
	assert.WithinDuration(t, time.Now().Add(900*time.Second), failed.RetryAt, time.Minute, "Retry-After")
	assert.Empty(t, c.keys)

	// The refusal that follows comes through the SDK's own wrapping.
	c.throttle = false
	cfg := c.config()
	cfg.Credentials = provider(t, guard, awsguard.Options{})
	_, err = cognitoidentity.NewFromConfig(cfg).ListIdentityPools(t.Context(), &cognitoidentity.ListIdentityPoolsInput{MaxResults: aws.Int32(1)})
	var refused *tokenguard.RefusedError
	require.ErrorAs(t, err, &refused)
	assert.Zero(t, c.signIns)
}

func TestUnstatedEnd(t *testing.T) {
	c := newCloud(t)
	c.lifetime = 0
	credentials, err := provider(t, c.guard(t), awsguard.Options{}).Retrieve(t.Context())
	require.NoError(t, err)
	assert.True(t, credentials.CanExpire, "a cache would keep it forever")
	assert.WithinDuration(t, time.Now().Add(time.Minute), credentials.Expires, 30*time.Second)
}

func TestWaits(t *testing.T) {
	c := newCloud(t)
	c.throttle = true
	guard := c.guard(t)
	_, err := guard.Token(t.Context())
	require.Error(t, err)
	_, err = provider(t, guard, awsguard.Options{MaxWait: time.Millisecond}).Retrieve(t.Context())
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorIs(t, err, tokenguard.ErrBackoff)
}

func TestInvalid(t *testing.T) {
	_, err := awsguard.New(nil, awsguard.Options{MaxWait: -1, Request: tokenguard.Request{Failing: "tk_0", Scope: strings.Repeat("x", 513)}})
	assert.ErrorContains(t, err, "Failing would be reported")
	assert.ErrorContains(t, err, "Options.Request.Scope: 513 bytes: want at most 512")
	assert.ErrorContains(t, err, "tokenguard: awsguard: guard is nil")
	assert.ErrorContains(t, err, "Options.MaxWait: -1ns: want 0 or more")
	for _, p := range []*awsguard.Provider{nil, {}} {
		_, err := p.Retrieve(t.Context())
		assert.ErrorContains(t, err, "make one with New")
	}
	_, err = awsguard.Token(aws.Credentials{AccessKeyID: "half"})
	assert.ErrorContains(t, err, "want both")
	assert.Empty(t, awsguard.ID(aws.Credentials{Source: "Static"}))
	assert.True(t, awsguard.FailureFromError(nil).IsZero())
	assert.True(t, awsguard.FailureFromError(fmt.Errorf("call: %w", context.Canceled)).IsZero())
}

// A token that does not hold credentials is an error that does not hold the token.
func TestForeignToken(t *testing.T) {
	for _, value := range []string{"made-up-value", `{"AccessKeyId":"made-up-value"}`, `["made-up-value"]`} {
		guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			return tokenguard.NewTokenIn(value, time.Hour), nil
		})
		require.NoError(t, err)
		_, err = provider(t, guard, awsguard.Options{}).Retrieve(t.Context())
		assert.ErrorContains(t, err, "does not hold AWS credentials")
		assert.NotContains(t, err.Error(), "made-up-value")
		require.NoError(t, guard.Close())
	}
}
