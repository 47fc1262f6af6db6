package tokenguard

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A value that was dropped, so that a process which came later has read the refresh token alone, is handed out when it is
// given again with the same refresh token: by a renewal, and by Adopt, here and in another process.
func TestAValueThatWasDroppedIsGivenAgain(t *testing.T) {
	again := func() Token {
		return NewTokenIn("the value", time.Hour).WithRefreshToken("the refresh token", time.Time{})
	}
	renewed := func(context.Context, Token) (Token, error) { return again(), nil }
	for name, gives := range map[string]func(t *testing.T, here, there *Guard){
		"renewed":         func(*testing.T, *Guard, *Guard) {},
		"adopted":         func(t *testing.T, here, _ *Guard) { require.NoError(t, here.Adopt(t.Context(), again())) },
		"adopted by them": func(t *testing.T, _, there *Guard) { require.NoError(t, there.Adopt(t.Context(), again())) },
	} {
		t.Run(name, func(t *testing.T) {
			opts := append(named(NewMemoryStore()), WithRenewal(renewed))
			bubble(t, func(t *testing.T, r *rig) {
				require.NoError(t, r.Adopt(t.Context(), again()))
				time.Sleep(2 * time.Hour)
				require.NoError(t, r.Adopt(t.Context(), NewToken("another", time.Time{}).WithScope("other"))) // its commit drops the value
				later := r.open(opts...)
				require.NoError(t, later.Adopt(t.Context(), NewToken("a third", time.Time{}).WithScope("third"))) // it has read the state
				gives(t, later, r.Guard)
				for range 3 {
					grant, err := later.Acquire(t.Context(), Request{})
					require.NoError(t, err)
					assert.Equal(t, "the value", grant.Token.Value())
					time.Sleep(2 * time.Second)
				}
				require.NoError(t, later.Close())
			}, opts...)
		})
	}
}
