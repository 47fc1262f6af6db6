package tokenguard

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A user-supplied function that asks the guard which runs it is told so at once, by whichever method it asks, and for
// whichever scope; what needs no acquisition is answered, and so is a call to another guard.
func TestFunctionsThatAskTheirOwnGuard(t *testing.T) {
	for name, ask := range map[string]func(ctx context.Context, g *Guard) error{
		"Token":         func(ctx context.Context, g *Guard) error { _, err := g.Token(ctx); return err },
		"Wait":          func(ctx context.Context, g *Guard) error { _, err := g.Wait(ctx, Request{}); return err },
		"another scope": func(ctx context.Context, g *Guard) error { _, err := g.Acquire(ctx, Request{Scope: "b"}); return err },
		"over a guard": func(ctx context.Context, g *Guard) error {
			between, err := New(func(ctx context.Context, _ Request) (Token, error) { return g.Token(ctx) })
			require.NoError(t, err)
			defer func() { require.NoError(t, between.Close()) }()
			_, err = between.Token(ctx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				var says error
				r.up.replies = append(r.up.replies, func(ctx context.Context, _ Request) (Token, error) {
					time.Sleep(time.Microsecond) // no interval keeps another scope from starting
					began := time.Now()
					says = ask(ctx, r.Guard)
					assert.Zero(t, time.Since(began))
					return NewTokenIn("word", time.Hour), nil
				})
				assert.Equal(t, "word", r.must(Request{}).Token.Value())
				assert.ErrorIs(t, says, ErrReentrant)
				assert.Equal(t, 1, r.up.count())
			}, WithRateLimits(RateLimits{MinInterval: time.Nanosecond}))
		})
	}
	t.Run("what needs no acquisition", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			other := newTestGuard(t, giveToken("from another guard"))
			r.must(Request{Scope: "a"})
			r.up.replies = append(r.up.replies, func(ctx context.Context, _ Request) (Token, error) {
				token, err := r.Guard.Acquire(ctx, Request{Scope: "a"})
				require.NoError(t, err)
				further, err := other.Token(ctx)
				require.NoError(t, err)
				return NewTokenIn(token.Token.Value()+" "+further.Value(), time.Hour), nil
			})
			time.Sleep(time.Hour)
			assert.Equal(t, "value-1 from another guard", r.must(Request{Scope: "b"}).Token.Value())
		})
	})
	t.Run("in shadow mode", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			r.must(Request{})
			calls := 0
			r.up.replies = append(r.up.replies, func(ctx context.Context, _ Request) (Token, error) {
				calls++
				_, err := r.Guard.Acquire(ctx, Request{Scope: "b"})
				require.ErrorIs(t, err, ErrRefused)
				return NewTokenIn("shadow", time.Hour), nil
			})
			assert.Equal(t, SourceShadow, r.must(Request{Scope: "b"}).Source)
			assert.Equal(t, 1, calls)
		}, WithShadowModeRefusingNothing())
	})
	t.Run("the personal source", func(t *testing.T) {
		var g *Guard
		bubble(t, func(t *testing.T, r *rig) {
			g = r.Guard
			began := time.Now()
			assert.Equal(t, "mine, by value-1", r.must(Request{}).Token.Value())
			assert.Zero(t, time.Since(began))
		}, WithPersonalToken(func(ctx context.Context) (Token, error) {
			token, err := g.Token(ctx)
			return NewToken("mine, by "+token.Value(), time.Time{}), err
		}))
	})
}
