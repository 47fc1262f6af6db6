package tokenguard_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// A function whose own context ended has heard nothing: the key is not closed, and nothing counts as a ban or a mistake.
func TestARequestFuncWhoseOwnContextEnded(t *testing.T) {
	for name, err := range map[string]error{
		"cancelled":           context.Canceled,
		"wrapped":             fmt.Errorf("fetch token: %w", context.Canceled),
		"of http.Client":      &url.Error{Op: "Post", URL: "https://auth.example.com/token", Err: context.Canceled},
		"as a Failure":        tokenguard.Failed(tokenguard.Failure{Err: context.Canceled}),
		"as a text":           errors.New("fetch token: context canceled"),
		"as a message":        tokenguard.Failed(tokenguard.Failure{Message: "invalid token request: context canceled"}),
		"of gRPC":             errors.New("rpc error: code = Canceled desc = context canceled"),
		"of net/http":         errors.New("fetch token: net/http: request canceled"),
		"of net":              errors.New("dial tcp: operation was canceled"),
		"out of time":         fmt.Errorf("token is invalid: %w", context.DeadlineExceeded),
		"out of time, a text": errors.New("403: context deadline exceeded"),
	} {
		for _, opts := range [][]tokenguard.Option{nil, {tokenguard.WithClassifier(func(tokenguard.Failure) tokenguard.Class { return tokenguard.ClassForbidden })}} {
			u := newUser(t, opts...)
			u.up.next = []tokenguard.RequestFunc{func(context.Context, tokenguard.Request) (tokenguard.Token, error) { return tokenguard.Token{}, err }, nil}
			require.Equal(t, tokenguard.ClassTransient, u.fails(plain).Class, name)
			u.refusedUntil(oddStart.Add(10*time.Minute), tokenguard.ReasonBackoff, plain)
			u.clock.move(10 * time.Minute)
			u.served(acquired, plain)
		}
	}
	u := newUser(t)
	u.up.next = []tokenguard.RequestFunc{failing(tokenguard.Failure{StatusCode: 403, Message: "Your account is banned", Err: context.Canceled})}
	assert.Equal(t, tokenguard.ClassForbidden, u.fails(plain).Class, "an answer is an answer")
}

// What an operation tells of a call that nobody answered leaves its token alone.
func TestACallThatNobodyAnswered(t *testing.T) {
	for _, text := range []string{
		"dial tcp: lookup api.example.com: no such host", "tls: failed to verify certificate: x509: certificate has expired or is not yet valid",
		"socks connect tcp 127.0.0.1:1080->api.example.com:443: username/password authentication failed", "Proxy Authentication Required",
		`Get "https://api.example.com/me": Unauthorized`, `net/http: invalid header field value for "Authorization"`,
		"java.net.UnknownHostException: api.example.com", "curl: (56) CONNECT tunnel failed, response 401",
		"fetch token: invalid character '<' looking for beginning of value", "read token: permission denied",
	} {
		for name, f := range map[string]tokenguard.Failure{"message": {Message: text}, "error": {Err: errors.New(text)}, "from a proxy": {StatusCode: 407, Message: text}} {
			u := newUser(t)
			first := u.served(acquired, tokenguard.Request{Caller: "x"}).Token
			u.clock.move(10 * time.Minute)
			for range 3 {
				u.report(tokenguard.Outcome{TokenID: first.ID(), Caller: "x", Failure: f})
				grant, err := u.Acquire(t.Context(), tokenguard.Request{Caller: "x", Failing: first.ID(), Failure: f})
				require.NoError(t, err, "%s: %s", name, text)
				require.Equal(t, first.ID(), grant.Token.ID())
				u.clock.move(2 * time.Minute)
			}
			e, err := u.Explain(t.Context(), tokenguard.Request{Caller: "x"})
			require.NoError(t, err)
			require.Empty(t, e.Evidence, "%s: %s", name, text)
		}
	}
}
