package tokenguard

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/ledger"
)

// A long scope is kept by its hash, which nobody notices.
func TestLongScopes(t *testing.T) {
	long := strings.Repeat("<repository>", 40)
	store := NewMemoryStore()
	var events []Event
	bubble(t, func(t *testing.T, r *rig) {
		first := r.must(Request{Scope: long + "a"})
		assert.Equal(t, long+"a", first.Token.Scope())
		assert.Equal(t, long+"a", r.up.calls[0].Scope, "RequestFunc sees the whole name")
		again := r.must(Request{Scope: long + "a"})
		assert.True(t, first.Token.Equal(again.Token))
		assert.Equal(t, long+"a", again.Token.Scope())
		assert.Equal(t, long+"a", events[0].Scope)
		r.no(ReasonMinInterval, Request{Scope: long + "b"})
		r.no(ReasonMinInterval, Request{Scope: ledger.ScopeKey(long + "a")}) // no way to another scope's token
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: first.Token.ID(), Failure: unauth}))

		require.NoError(t, r.Adopt(t.Context(), NewToken("adopted", time.Time{}).WithScope(long+"c")))
		assert.Equal(t, "adopted", r.must(Request{Scope: long + "c"}).Token.Value())
		snap, err := store.View(t.Context(), "x")
		require.NoError(t, err)
		assert.NotContains(t, string(snap.Data), long)
	}, WithStore(store), WithName("x"), WithObserver(func(e Event) { events = append(events, e) }))
}

func TestPersonalTokenOfALongScope(t *testing.T) {
	long := strings.Repeat("scope of a long name/", 20)
	bubble(t, func(t *testing.T, r *rig) {
		for range 2 {
			assert.Equal(t, SourcePersonal, r.must(Request{Scope: long}).Source)
		}
		assert.Equal(t, SourceRequest, r.must(Request{Scope: long + "other"}).Source)
	}, WithPersonalToken(func(context.Context) (Token, error) { return NewToken("mine", time.Time{}).WithScope(long), nil }))
}

// A token of any bytes but control characters comes out of every store as it was, in every process.
func TestTokensThatAreNoText(t *testing.T) {
	for _, value := range []string{"\xff\xfe\x80", "caf\xe9 token", strings.Repeat("\"\\", 100), strings.Repeat("\u2028", 50), strings.Repeat("<&>", 1000), "plain"} {
		for name, opts := range map[string][]Option{"plain": nil, "sealed": {WithEncryption([]byte(strings.Repeat("k", 32)))}} {
			store := NewMemoryStore()
			opts = append(opts, WithStore(store), WithName("x"))
			token, err := newTestGuard(t, giveToken(value), opts...).Token(t.Context())
			require.NoError(t, err)
			require.Equal(t, value, token.Value())
			again, err := newTestGuard(t, nil2, opts...).Token(t.Context())
			require.NoError(t, err, "%s: %q", name, value)
			require.Equal(t, value, again.Value())
			require.Equal(t, token.ID(), again.ID())
		}
	}
}

// What a command or a file puts after a token is dropped; what no header takes is refused at every door, by its byte.
func TestControlCharactersInTokens(t *testing.T) {
	for given, value := range map[string]string{"word\n": "word", "word\r\n": "word", "word": "word"} {
		g := newTestGuard(t, giveToken(given))
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, value, token.Value())
		assert.Equal(t, token.ID(), TokenID(given))
		assert.Equal(t, value, NewToken(given, time.Time{}).Value())
		require.NoError(t, g.Report(t.Context(), Outcome{TokenID: given, Failure: unauth}), "a value is known with its line end")
		assert.NotZero(t, g.replica.Newest().Doc.Tokens[token.ID()].Evidence)
	}
	for given, says := range map[string]string{
		"word\n\n": "0x0A at byte 5 of 5", "a\nb": "0x0A at byte 2 of 3", "a\tb": "0x09 at byte 2", "\x00": "0x00 at byte 1", "a\x7f": "0x7F at byte 2", "word\r": "0x0D at byte 5", "\xffa\x1b": "0x1B at byte 3",
	} {
		_, err := newTestGuard(t, giveToken(given)).Token(t.Context())
		var failed *RequestError
		require.ErrorAs(t, err, &failed)
		assert.ErrorContains(t, err, says)
		assert.NotContains(t, err.Error(), given)
		err = newTestGuard(t, nil2).Adopt(t.Context(), NewToken(given, time.Time{}))
		require.ErrorIs(t, err, ErrRequest)
		assert.ErrorContains(t, err, says)
		mine := newTestGuard(t, giveToken("anonymous"), WithPersonalToken(func(context.Context) (Token, error) { return NewToken(given, time.Time{}), nil }))
		grant, err := mine.Acquire(t.Context(), Request{})
		require.NoError(t, err)
		assert.Equal(t, "anonymous", grant.Token.Value())
		assert.Contains(t, grant.Verdict().Detail, says)
	}
	_, err := newTestGuard(t, giveToken("\n")).Token(t.Context())
	assert.ErrorContains(t, err, "the token is empty")
}
