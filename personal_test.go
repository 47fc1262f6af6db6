package tokenguard

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/ledger"
)

// Of two callers that find the personal token due, the second may come to fetch it when the first has just done so.
func TestPersonalTokenIsNotFetchedTwiceForOneNeed(t *testing.T) {
	calls := 0
	g := newTestGuard(t, nil2, WithPersonalToken(func(context.Context) (Token, error) {
		calls++
		return NewTokenIn("mine", time.Hour), nil
	}))
	pv, due := g.personal.view(ledger.New(), "", g.meter.Read().Now)
	require.True(t, due)
	for range 3 {
		require.NoError(t, g.personal.refresh(t.Context(), pv.Fetches, time.Minute))
	}
	assert.Equal(t, 1, calls)
}

// A source that hangs holds no caller that has an anonymous token for longer than a moment, and each that comes meanwhile
// not at all; what it brings in the end serves those that come then.
func TestPersonalSourceThatHangs(t *testing.T) {
	for _, takes := range []time.Duration{10 * time.Second, time.Hour} { // it answers, or runs into its timeout
		var calls atomic.Int64
		bubble(t, func(t *testing.T, r *rig) {
			require.NoError(t, r.Adopt(t.Context(), NewToken("anonymous", time.Time{})))
			began := time.Now()
			ctx, cancel := context.WithCancel(t.Context())
			grant, err := r.Acquire(ctx, Request{})
			require.NoError(t, err)
			cancel() // as a server does once the call is answered
			assert.Equal(t, "anonymous", grant.Token.Value())
			assert.Contains(t, grant.Verdict().Detail, "does not answer")
			assert.Equal(t, personalPatience, time.Since(began))
			for range 3 {
				time.Sleep(time.Second)
				began = time.Now()
				assert.Equal(t, "anonymous", r.must(Request{}).Token.Value())
				assert.Zero(t, time.Since(began))
			}
			began = time.Now()
			grant, err = r.Acquire(t.Context(), Request{Kind: Personal}) // which has no other
			assert.EqualValues(t, 1, calls.Load())
			if takes == 10*time.Second {
				require.NoError(t, err)
				assert.Equal(t, "mine", grant.Token.Value())
				assert.Equal(t, 5*time.Second, time.Since(began))
				assert.Equal(t, "mine", r.must(Request{}).Token.Value())
				return
			}
			require.ErrorIs(t, err, ErrNotNeeded)
			assert.Equal(t, 25*time.Second, time.Since(began))
			assert.Contains(t, r.must(Request{}).Verdict().Detail, "did not return within 30s")
		}, WithPersonalToken(func(ctx context.Context) (Token, error) {
			calls.Add(1)
			select {
			case <-time.After(takes):
				return NewTokenIn("mine", time.Hour), nil
			case <-ctx.Done():
				return Token{}, ctx.Err()
			}
		}))
	}
}

// The table of tokens hands a personal token out that is to be tried to the call that has the turn, and to nobody else.
func TestPersonalTokenIsTriedByOneCall(t *testing.T) {
	fetched := 0
	opts := []Option{WithManager(ManagerConfig{QuotaPeriod: Rolling(5 * time.Hour)}), WithStore(NewMemoryStore()), WithName("x"),
		WithPersonalToken(func(context.Context) (Token, error) {
			fetched++
			return NewToken("mine", time.Now().Add(48*time.Hour)), nil
		})}
	bubble(t, func(t *testing.T, r *rig) {
		other := &rig{t: t, Guard: r.open(opts...)}
		defer func() { require.NoError(t, other.Close()) }()
		require.NoError(t, r.Adopt(t.Context(), NewToken("anonymous", time.Now().Add(48*time.Hour))))
		require.Equal(t, "mine", other.must(Request{}).Token.Value())
		require.Equal(t, "mine", r.must(Request{}).Token.Value())
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: TokenID("mine"), Failure: Failure{StatusCode: 429, Message: "quota used up", Header: map[string][]string{"X-Ratelimit-Remaining": {"0"}}}}))
		served := func(n int) (mine int) {
			for range n {
				for _, g := range []*rig{r, other} { // what that one knows may be a second old
					if g.must(Request{}).Token.Value() == "mine" {
						mine++
					}
				}
			}
			return mine
		}
		time.Sleep(time.Second)
		assert.Zero(t, served(3))
		time.Sleep(5*time.Hour - 1500*time.Millisecond)
		assert.Zero(t, served(3))
		time.Sleep(500 * time.Millisecond)
		assert.Equal(t, 1, served(10))
		assert.Equal(t, 4, fetched, "it may have been replaced where it comes from")
		time.Sleep(time.Minute)
		require.NoError(t, r.Adopt(t.Context(), NewToken("another", time.Now().Add(48*time.Hour)))) // it makes a new table
		assert.Equal(t, 1, served(10), "nothing was reported")
		assert.Equal(t, 4, fetched)
		time.Sleep(time.Second)
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: TokenID("mine")}))
		time.Sleep(time.Second)
		assert.Equal(t, 20, served(10))
	}, opts...)
}

// After a rejection the source is asked once, at once: the token may have been replaced where it comes from. Only if it is
// the same one is it left alone.
func TestRotatedPersonalToken(t *testing.T) {
	value, calls := "first", 0
	source := WithPersonalToken(func(context.Context) (Token, error) {
		calls++
		return NewToken(value, time.Time{}), nil
	})
	bubble(t, func(t *testing.T, r *rig) {
		require.NoError(t, r.Adopt(t.Context(), NewToken("anonymous", time.Now().Add(48*time.Hour))))
		require.Equal(t, "first", r.must(Request{}).Token.Value())
		time.Sleep(time.Minute)
		value = "second"
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: TokenID("first"), Failure: unauth}))
		assert.Equal(t, "second", r.must(Request{}).Token.Value())
		assert.Equal(t, 2, calls)

		time.Sleep(time.Minute)
		assert.Equal(t, "anonymous", r.must(Request{Failure: unauth, Failing: TokenID("second")}).Token.Value())
		assert.Equal(t, 3, calls)
		for range 50 {
			assert.Equal(t, "anonymous", r.must(Request{}).Token.Value())
			time.Sleep(time.Minute)
		}
		assert.Equal(t, 3, calls, "it is the same one")
		time.Sleep(11 * time.Minute)
		assert.Equal(t, "second", r.must(Request{}).Token.Value())
		assert.Equal(t, 4, calls)
	}, source)
	t.Run("in a new process", func(t *testing.T) {
		store, clock := NewMemoryStore(), &modelClock{now: time.Unix(1.8e9, 0)}
		opts := []Option{source, WithStore(store), WithName("x"), WithClock(clock)}
		g := newTestGuard(t, giveToken("anonymous"), opts...)
		_, err := g.Token(t.Context())
		require.NoError(t, err)
		clock.add(time.Minute)
		require.NoError(t, g.Report(t.Context(), Outcome{TokenID: TokenID("second"), Failure: unauth}))
		calls = 0
		for range 3 { // a clock that stands still
			_, err = g.Token(t.Context())
			require.NoError(t, err)
		}
		assert.Equal(t, 1, calls)
		clock.add(time.Minute)
		again := newTestGuard(t, nil2, opts...)
		for range 3 {
			_, err = again.Token(t.Context())
			require.NoError(t, err)
		}
		assert.Equal(t, 2, calls)
	})
}

// A personal token that is spent or rejected is fetched anew once it has expired, also where the table of tokens answers with
// another one meanwhile, and who has nothing else is told of that instant.
func TestPersonalTokenThatIsBarredExpires(t *testing.T) {
	noneLeft := quota
	noneLeft.Header = map[string][]string{"X-Ratelimit-Remaining": {"0"}}
	for name, failure := range map[string]Failure{"spent": noneLeft, "rejected": unauth} {
		t.Run(name, func(t *testing.T) {
			value, fetched := "first", time.Time{}
			bubble(t, func(t *testing.T, r *rig) {
				require.NoError(t, r.Adopt(t.Context(), NewToken("anonymous", time.Now().Add(48*time.Hour))))
				require.Equal(t, "first", r.must(Request{}).Token.Value())
				time.Sleep(time.Minute)
				require.NoError(t, r.Report(t.Context(), Outcome{TokenID: TokenID("first"), Failure: failure}))
				require.Equal(t, "anonymous", r.must(Request{}).Token.Value())
				_, err := r.Acquire(t.Context(), Request{Kind: Personal})
				var refused *RefusedError
				require.ErrorAs(t, err, &refused)
				expires := fetched.Add(20*time.Minute - 10*time.Second) // the last stretch before the stated end
				assert.Equal(t, expires, refused.Verdict.RetryAt)
				value = "second"
				time.Sleep(time.Until(expires) - 1)
				require.Equal(t, "anonymous", r.must(Request{}).Token.Value())
				time.Sleep(time.Nanosecond)
				require.Equal(t, "second", r.must(Request{}).Token.Value())
			}, WithPersonalToken(func(context.Context) (Token, error) {
				fetched = time.Now()
				return NewToken(value, fetched.Add(20*time.Minute)), nil
			}))
		})
	}
}
