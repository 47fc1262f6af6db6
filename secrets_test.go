package tokenguard

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/secrets"
)

// secret looks like no secret: only who knows it can hide it.
const secret = "plain-looking-word"

// carrier is a caller's struct around a token.
type carrier struct {
	Shown  Token
	hidden Token
	ptr    *Token
	list   []Token
	byName map[string]Token
	any    any
}

func carry(t Token) carrier {
	return carrier{t, t, &t, []Token{t}, map[string]Token{"a": t}, t}
}

// I10: no secret leaves through any output. To see it fail: make Token.body a *tokenBody (the diff shows it), or
// let hide return its text (errors, events and the document do).
func TestI10(t *testing.T) {
	clean := func(t *testing.T, what, text string) {
		t.Helper()
		assert.NotContains(t, text, secret, what)
	}
	t.Run("printing", func(t *testing.T) {
		token := NewTokenIn(secret, time.Hour)
		c := carry(token)
		for _, v := range []any{token, &token, c, &c, []carrier{c}, map[string]Token{"a": token}, []any{token, c}, granted(token, SourceCache, Verdict{}), &Grant{Token: token}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%T", "%5.2f", "%!"} {
				clean(t, verb, fmt.Sprintf(verb, v))
			}
			clean(t, "print", fmt.Sprint(v)+fmt.Sprintln(v))
			var text, js bytes.Buffer
			slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v, slog.Group("g", "v", v))
			slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "v", v, slog.Group("g", "v", v))
			clean(t, "slog text", text.String())
			clean(t, "slog json", js.String())
			b, _ := json.Marshal(v)
			clean(t, "json", string(b))
		}
		require.NotEmpty(t, token.Value())
	})
	t.Run("diff", func(t *testing.T) {
		var out diffs
		a, b := carry(NewToken(secret, time.Time{})), carry(NewToken("another", time.Time{}))
		assert.Equal(&out, a, b)
		assert.Equal(&out, a.ptr, b.ptr)
		assert.ElementsMatch(&out, a.list, b.list)
		require.NotEmpty(t, out.text)
		clean(t, "diff", out.text)
	})
	t.Run("guard", func(t *testing.T) {
		var logs bytes.Buffer
		var seen []string
		store := NewMemoryStore()
		key := bytes.Repeat([]byte{1}, 32)
		var text func() string
		bubble(t, func(t *testing.T, r *rig) {
			r.up.replies = append(r.up.replies, gives(secret, 24*time.Hour),
				func(context.Context, Request) (Token, error) { panic("with " + secret) },
				func(context.Context, Request) (Token, error) {
					return Token{}, errors.New("upstream dislikes " + secret)
				})
			note := func(v any, err error) {
				b, _ := json.Marshal(v)
				seen = append(seen, string(b), fmt.Sprintf("%v %+v", v, v))
				if err != nil {
					seen = append(seen, err.Error(), fmt.Sprintf("%v %+v %s %q", err, err, err, err))
					slog.New(slog.NewJSONHandler(&logs, nil)).Info("m", "err", err)
				}
			}
			grant := r.must(Request{})
			note(grant, nil)
			id := grant.Token.ID()
			time.Sleep(40 * time.Minute)
			says := quota
			says.Message += " for token " + secret
			note(r.Acquire(t.Context(), Request{Caller: "user of " + secret, Failing: secret, Failure: says}))
			note(r.Explain(t.Context(), Request{Caller: secret, Failing: secret, Failure: says}))
			says = unauth
			says.Message += " " + secret
			note(nil, r.Report(t.Context(), Outcome{TokenID: secret, Failure: says}))
			require.NotZero(t, r.replica.Newest().Doc.Tokens[id].By("").Refused, "a value is hashed to its ID")
			for range 4 {
				note(r.Acquire(t.Context(), Request{Caller: secret, Failing: id, Failure: says}))
				time.Sleep(2 * time.Hour)
			}
			require.Greater(t, r.up.count(), 2)
			note(r.Acquire(t.Context(), Request{Failing: "an unknown value", Failure: Failure{StatusCode: 429, Message: "quota of an unknown value"}}))
			note(r.Stats(), nil)
			for e := range r.History() {
				note(e, nil)
			}
			snap, err := store.View(t.Context(), "x")
			require.NoError(t, err)
			text = func() string { return string(snap.Data) }
		}, WithStore(store), WithName("x"), WithEncryption(key), WithLogger(slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))),
			WithObserver(func(e Event) { seen = append(seen, fmt.Sprintf("%v %+v %#v", e, e, e)) }))
		clean(t, "logs", logs.String())
		clean(t, "outputs", strings.Join(seen, "\n"))
		clean(t, "document under encryption", text())
		assert.NotContains(t, logs.String()+strings.Join(seen, "\n")+text(), "an unknown value")
		assert.Contains(t, logs.String(), `"component":"OptimizedTokenManager"`)
	})
}

// A service that puts a token into a scope has it in events, which name the scope as it is, and not in the log.
func TestTheLogHidesATokenInAScope(t *testing.T) {
	var logs bytes.Buffer
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, gives(secret, time.Hour))
		r.must(Request{})
		r.no(ReasonMinInterval, Request{Scope: "of " + secret})
		var last Event
		for e := range r.History() {
			last = e
		}
		require.Equal(t, "of "+secret, last.Scope)
	}, WithLogger(slog.New(slog.NewJSONHandler(&logs, nil))))
	assert.NotContains(t, logs.String(), secret)
	assert.Contains(t, logs.String(), `"scope":"of `+TokenID(secret))
}

// diffs collects what assertions say.
type diffs struct{ text string }

func (d *diffs) Errorf(format string, args ...any) { d.text += fmt.Sprintf(format, args...) }

// However many tokens this process has seen since, those that it still has are taken out of texts.
func TestOldTokensStayHidden(t *testing.T) {
	const many = 600
	shown := func(t *testing.T, r *rig) string {
		// Caller names reach events, errors and the log as they are but for secrets.
		r.must(Request{Kind: Anonymous, Scope: "first", Caller: "job of " + secret, Failure: broken, Failing: "elsewhere"})
		var last Event
		for e := range r.History() {
			last = e
		}
		return last.Caller
	}
	for name, test := range map[string]struct {
		opts []Option
		have func(t *testing.T, r *rig) // the secret, and then many others
	}{
		"in the document": {[]Option{WithCache(CacheConfig{MaxTokens: many + 1})}, func(t *testing.T, r *rig) {
			require.NoError(t, r.Adopt(t.Context(), NewToken(secret, time.Time{}).WithScope("first")))
			together(many, func(i int) {
				assert.NoError(t, r.Adopt(t.Context(), NewToken(fmt.Sprintf("adopted word %d", i), time.Time{}).WithScope(fmt.Sprint(i))))
			})
		}},
		"beside shadow mode's": {[]Option{WithShadowModeRefusingNothing()}, func(t *testing.T, r *rig) {
			require.NoError(t, r.Adopt(t.Context(), NewToken(secret, time.Time{}).WithScope("first")))
			for range many {
				require.Equal(t, SourceShadow, r.must(Request{Scope: "refused"}).Source)
			}
		}},
		"the personal one": {[]Option{WithShadowModeRefusingNothing(), WithPersonalToken(func(context.Context) (Token, error) {
			return NewToken(secret, time.Time{}).WithScope("mine"), nil
		})}, func(t *testing.T, r *rig) {
			require.NoError(t, r.Adopt(t.Context(), NewToken("adopted word", time.Time{}).WithScope("first")))
			require.Equal(t, SourcePersonal, r.must(Request{Scope: "mine"}).Source)
			for range many {
				require.Equal(t, SourceShadow, r.must(Request{Scope: "refused"}).Source)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				test.have(t, r)
				require.Equal(t, "job of "+TokenID(secret), shown(t, r))
			}, test.opts...)
		})
	}
}

// A secret that becomes known while a text is read is taken out when the text is read again.
func TestASecretLearnedWhileATextIsReadIsNotRemembered(t *testing.T) {
	keeper, err := secrets.NewKeeper("x", nil, 0, func(string) {})
	require.NoError(t, err)
	rd := newReader(nil, keeper, func(string) {})
	var learn string                                    // while the next text is read
	keeper.AddSource(func(func(*secrets.Secret) bool) { // Hide asks the sources last
		if value := learn; value != "" {
			learn = ""
			keeper.Register(secrets.New(value))
			rd.masked("another text meanwhile")
			rd.template("another", "text meanwhile")
		}
	})
	const first, second = "plain-looking-word", "other-looking-word"
	text := "the token " + first + " is invalid, as is " + second
	learn = first
	require.Contains(t, rd.masked(text), first, "it was not known yet")
	assert.NotContains(t, rd.masked(text), first)
	learn = second
	require.Contains(t, rd.template("caller", text).String(), "other looking word", "it was not known yet")
	assert.NotContains(t, rd.template("caller", text).String(), "looking")
}

// However upstreams echo a secret, and however long ago it was: it is in no text that is stored or shown, and the dedup
// template does not put it together again.
func TestEchoedSecretsAreHidden(t *testing.T) {
	const old, mine = "guest+session+alpha+bravo", "personal word of before"
	value := mine
	store := NewMemoryStore()
	var seen []string
	bubble(t, func(t *testing.T, r *rig) {
		require.NoError(t, r.Adopt(t.Context(), NewToken(old, time.Time{})))
		require.Equal(t, mine, r.must(Request{}).Token.Value())
		value = "another personal word"
		time.Sleep(25 * time.Hour)
		require.Equal(t, value, r.must(Request{}).Token.Value())
		for i := range 300 {
			require.NoError(t, r.Adopt(t.Context(), NewToken(fmt.Sprintf("adopted word %d", i), time.Time{}).WithScope("evicts")))
		}
		echoes := strings.Join([]string{url.QueryEscape(old), base64.StdEncoding.EncodeToString([]byte(old)), strings.ToUpper(old), strings.ReplaceAll(old, "+", " "),
			url.QueryEscape(mine), strings.ToUpper(mine), strings.ReplaceAll(mine, " ", "_")}, " ")
		r.up.replies = append(r.up.replies, fails(Failure{StatusCode: 500, Message: echoes}))
		_, err := r.Acquire(t.Context(), Request{Scope: "b", Caller: echoes, Failure: Failure{StatusCode: 401, Message: echoes}, Failing: TokenID(old)})
		require.NoError(t, err) // the personal one
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: TokenID(value), Failure: unauth}))
		time.Sleep(25 * time.Hour)
		value = ""
		_, err = r.Acquire(t.Context(), Request{Scope: "c", Caller: echoes, Failure: Failure{StatusCode: 429, Message: "insufficient_quota " + echoes}})
		var failed *RequestError
		require.ErrorAs(t, err, &failed)
		seen = append(seen, failed.Verdict.Detail)
		for e := range r.History() {
			seen = append(seen, fmt.Sprintf("%+v", e))
		}
		snap, err := store.View(t.Context(), "x")
		require.NoError(t, err)
		require.Contains(t, string(snap.Data), `"records"`)
		seen = append(seen, string(snap.Data))
	}, WithStore(store), WithName("x"), WithEncryption(bytes.Repeat([]byte{1}, 32)), WithCache(CacheConfig{MaxTokens: 2}),
		WithRateLimits(RateLimits{MaxRequestsPerHour: 10000, MaxRequestsPerDay: 10000}),
		WithPersonalToken(func(context.Context) (Token, error) { return NewToken(value, time.Time{}), nil }))
	all := strings.ToLower(strings.Join(seen, "\n"))
	for _, part := range []string{"alpha", "bravo", "2bsession", "session+", "z3vlc3qrc2vzc2lvbith", "word of before", "word+of", "word_of", "of before"} {
		assert.NotContains(t, all, part)
	}
	assert.Contains(t, all, TokenID(old))
}
