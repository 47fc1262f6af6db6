package tokenguardtest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

func TestScriptAnswersInOrder(t *testing.T) {
	boom := errors.New("boom")
	limited := tokenguard.Failure{StatusCode: 429, Message: "slow down"}
	s := NewScript(NewClock(noon),
		Reply{Value: "a", Lifetime: time.Hour},
		Reply{Expiry: noon.Add(time.Minute)},
		Reply{Err: boom},
		Reply{Failure: limited},
		Reply{Empty: true},
		Reply{Panic: "oh"},
	)
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "trace")
	tok, err := s.Request(ctx, tokenguard.Request{Caller: "one"})
	require.NoError(t, err)
	require.Equal(t, "a", tok.Value())
	tok, err = s.Request(ctx, tokenguard.Request{})
	require.NoError(t, err)
	require.Equal(t, "token-2", tok.Value())
	require.Equal(t, noon.Add(time.Minute), tok.Expiry())
	_, err = s.Request(ctx, tokenguard.Request{})
	require.Same(t, boom, err)
	_, err = s.Request(ctx, tokenguard.Request{})
	require.EqualError(t, err, tokenguard.Failed(limited).Error())
	tok, err = s.Request(ctx, tokenguard.Request{})
	require.NoError(t, err)
	require.Empty(t, tok.Value())
	require.PanicsWithValue(t, "oh", func() { _, _ = s.Request(ctx, tokenguard.Request{}) })
	tok, err = s.Request(ctx, tokenguard.Request{})
	require.NoError(t, err)
	require.Equal(t, "token-7", tok.Value(), "beyond the script")

	calls := s.Calls()
	require.Len(t, calls, 7)
	require.Equal(t, "one", calls[0].Request.Caller)
	require.Equal(t, noon, calls[0].At)
	require.Equal(t, "trace", calls[0].Context.Value(key{}))
	for _, c := range calls {
		require.True(t, c.Done)
	}
}

func TestScriptBeyond(t *testing.T) {
	s := NewScript(nil)
	s.Beyond = Reply{Err: ErrScripted}
	_, err := s.Request(t.Context(), tokenguard.Request{})
	require.ErrorIs(t, err, ErrScripted)
	s.Add(Reply{Value: "never"}, Reply{Value: "second"})
	tok, err := s.Request(t.Context(), tokenguard.Request{})
	require.NoError(t, err)
	require.Equal(t, "second", tok.Value(), "replies count from the first call")
}

func TestScriptHangsAndExits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewScript(nil, Reply{Hang: true}, Reply{Goexit: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Request(ctx, tokenguard.Request{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		returned, gone := false, make(chan struct{})
		go func() {
			defer close(gone)
			_, _ = s.Request(t.Context(), tokenguard.Request{})
			returned = true
		}()
		<-gone
		require.False(t, returned)
		require.True(t, s.Calls()[1].Done)
	})
}

func TestScriptTakesItsTimeOnTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClock(noon)
		s := NewScript(c, Reply{Took: time.Minute, Value: "late"}, Reply{Took: time.Minute})
		got := make(chan string)
		go func() {
			tok, _ := s.Request(t.Context(), tokenguard.Request{})
			got <- tok.Value()
		}()
		require.NoError(t, s.Await(t.Context(), 1))
		require.False(t, s.Calls()[0].Done)
		require.NoError(t, c.AwaitSleepers(t.Context(), 1))
		c.Advance(time.Minute)
		require.Equal(t, "late", <-got)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Request(ctx, tokenguard.Request{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, s.Await(ctx, 3), context.DeadlineExceeded)
	})
}

func TestScriptRenews(t *testing.T) {
	s := NewScript(nil,
		Reply{Empty: true, Refresh: "r1", Account: "guest"},
		Reply{Value: "a", Refresh: "r2", RefreshExpiry: noon},
		Reply{Empty: true})
	first, err := s.Request(t.Context(), tokenguard.Request{})
	require.NoError(t, err)
	assert.Empty(t, first.Value())
	assert.Equal(t, "r1", first.RefreshToken())
	assert.Equal(t, tokenguard.NewToken("", time.Time{}).WithAccount("guest").Identity(), first.Identity())
	second, err := s.Renew(t.Context(), first)
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "r2"}, []string{second.Value(), second.RefreshToken()})
	third, err := s.Renew(t.Context(), second)
	require.NoError(t, err)
	assert.Empty(t, third.Value())
	assert.Equal(t, []string{"", "r1", "r2"}, refreshTokens(s.Calls()))
}
