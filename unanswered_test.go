package tokenguard_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
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
		"oauth2: server response missing access_token", "fetch token: gob: unknown type id or corrupted data",
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

// An answer that could not be read, and a file that could not, close neither the key nor an account: they cost a general
// failure's backoff, however the error is wrapped.
func TestAnAnswerThatNobodyCouldRead(t *testing.T) {
	var answer struct{ Token string }
	page, text := json.Unmarshal([]byte("<html>"), &answer), json.Unmarshal([]byte(`{"Token":401}`), &answer)
	_, file := os.Open(filepath.Join(t.TempDir(), "token"))
	for name, c := range map[string]struct {
		err   error
		class tokenguard.Class
	}{
		"a page":                  {fmt.Errorf("fetch token: %w", page), tokenguard.ClassUnknown},
		"a page, in other words":  {quoted{page, "token is invalid"}, tokenguard.ClassUnknown},
		"another type":            {quoted{text, "the token endpoint returned an invalid token"}, tokenguard.ClassUnknown},
		"cut short":               {errors.New("fetch token: unexpected end of JSON input"), tokenguard.ClassUnknown},
		"without a token":         {errors.New("oauth2: server response missing access_token"), tokenguard.ClassUnknown},
		"XML":                     {errors.New(`fetch token: xml: encoding "iso-8859-1" declared but Decoder.CharsetReader is nil`), tokenguard.ClassUnknown},
		"gob":                     {errors.New("fetch token: gob: unknown type id or corrupted data"), tokenguard.ClassUnknown},
		"a bounded reader":        {&http.MaxBytesError{Limit: 4096}, tokenguard.ClassUnknown},
		"a file":                  {fmt.Errorf("fetch token: %w", file), tokenguard.ClassTransient},
		"a file, in other words":  {quoted{file, "token expired"}, tokenguard.ClassTransient},
		"a permission":            {fmt.Errorf("failed to read token: %w", fs.ErrPermission), tokenguard.ClassTransient},
		"a permission, of a rule": {quoted{fs.ErrPermission, "access is denied"}, tokenguard.ClassTransient},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.class, tokenguard.Classify(tokenguard.Failure{Err: c.err}))
			u := newUser(t)
			u.up.next = []tokenguard.RequestFunc{func(context.Context, tokenguard.Request) (tokenguard.Token, error) { return tokenguard.Token{}, c.err }, nil}
			require.Equal(t, c.class, u.fails(plain).Class)
			u.refusedUntil(oddStart.Add(10*time.Minute), tokenguard.ReasonBackoff, plain)
			u.clock.move(10 * time.Minute)
			first := u.served(acquired, plain).Token
			u.clock.move(10 * time.Minute)
			u.report(tokenguard.Outcome{TokenID: first.ID(), Failure: tokenguard.Failure{Err: c.err}})
			require.Equal(t, first.ID(), u.served(tokenguard.ReasonCached, with(tokenguard.Failure{Err: c.err}, first)).Token.ID())

			renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
				u.fail = func() error { return c.err }
				_, err := g.Token(t.Context())
				require.NoError(t, err)
				time.Sleep(56 * time.Minute)
				_, err = g.Token(t.Context())
				require.NoError(t, err)
				account := g.Stats().Renewals.Identities[0]
				assert.Equal(t, "backing_off", account.State)
				assert.Equal(t, c.class, account.Class)
				assert.Equal(t, 5*time.Second, time.Until(account.Next))
			})
		})
	}
	assert.Equal(t, tokenguard.ClassAuthInvalid, tokenguard.Classify(tokenguard.Failure{StatusCode: 401, Err: quoted{page, "token is invalid"}}), "an answer is an answer")
	assert.Equal(t, tokenguard.ClassAuthInvalid, tokenguard.Classify(tokenguard.Failure{Message: "token is invalid", Err: page}), "and so is its text")
}

// quoted is an error in other words.
type quoted struct {
	error
	text string
}

func (q quoted) Error() string { return q.text }
func (q quoted) Unwrap() error { return q.error }

// An error of a file says nothing of what was joined with it, nor of an answer whose status its text names.
func TestAnAnswerBesideAnErrorOfAFile(t *testing.T) {
	file := &fs.PathError{Op: "remove", Path: "token", Err: fs.ErrNotExist}
	page := json.Unmarshal([]byte("<html>"), new(int))
	for text, err := range map[string]error{
		"a clean-up": errors.Join(errors.New("403 your account has been banned"), file),
		"a status":   fmt.Errorf("unexpected status 403 (your account has been banned): %w", file),
	} {
		assert.Equal(t, tokenguard.ClassForbidden, tokenguard.Classify(tokenguard.Failure{Err: err}), text)
	}
	assert.Equal(t, tokenguard.ClassUnknown, tokenguard.Classify(tokenguard.Failure{Err: fmt.Errorf("token: %w", page)}))
}

// Two failures of one text are not one if the type of an error says something else than its words.
func TestAnErrorOfAFileIsNotItsText(t *testing.T) {
	u := newUser(t)
	first := u.served(acquired, plain).Token
	u.clock.move(10 * time.Minute)
	own := fmt.Errorf("invalid token: %w", fs.ErrPermission)
	for range 2 {
		u.served(tokenguard.ReasonCached, with(tokenguard.Failure{Err: own}, first))
	}
	u.served(acquired, with(tokenguard.Failure{Message: own.Error()}, first))
	require.NotEqual(t, tokenguard.Classify(tokenguard.Failure{Err: own}), tokenguard.Classify(tokenguard.Failure{Message: own.Error()}))
}

// What a process meets by itself is no answer, whatever it is called on the way: a context that ended, a system call, an
// answer that broke off. As the failure of an acquisition it closes no key for an hour.
func TestAnErrorOfTheProcessIsNoAnswer(t *testing.T) {
	for _, cause := range []error{
		context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, fs.ErrClosed, syscall.EPERM, syscall.EACCES,
		os.NewSyscallError("setsockopt", syscall.EPERM),
	} {
		for _, words := range []string{"%w", "invalid token: %w", "rate limit exceeded: %w", "quota: %w", "banned: %w", "bad request: %w"} {
			err := fmt.Errorf(words, cause)
			assert.Equal(t, tokenguard.ClassTransient, tokenguard.Classify(tokenguard.Failure{Err: err}), err.Error())
		}
		clock := &handClock{now: oddStart}
		g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			return tokenguard.Token{}, fmt.Errorf("refresh the invalid token: %w", cause)
		}, tokenguard.WithClock(clock))
		require.NoError(t, err)
		defer g.Close()
		_, err = g.Acquire(t.Context(), tokenguard.Request{})
		require.ErrorIs(t, err, cause)
		e, err := g.Explain(t.Context(), tokenguard.Request{})
		require.NoError(t, err)
		assert.Equal(t, 10*time.Minute, e.Verdict.RetryAt.Sub(clock.Now()), "%v: the backoff of a failure, not an hour", cause)
	}
	for _, text := range []string{"rate: Wait(n=1) exceeds limiter's burst 0", "sql: database is closed", "redis: client is closed", "database is locked", "write x: file already closed"} {
		assert.Equal(t, tokenguard.ClassTransient, tokenguard.Classify(tokenguard.Failure{Message: text}), text)
	}
	for text, want := range map[string]tokenguard.Class{
		"upstream: 429 rate: Wait(n=1) exceeds limiter's burst": tokenguard.ClassRateLimited,
	} {
		assert.Equal(t, want, tokenguard.Classify(tokenguard.Failure{Message: text}), "an upstream's own words: %s", text)
	}
}
