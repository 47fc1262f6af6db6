package tokenguard

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The same by whichever door the token came: adopted, renewed, or renewed elsewhere.
func TestWallClockEndsTokensOfEachDoor(t *testing.T) {
	refreshing := func(value string) Token {
		return NewTokenIn(value, time.Hour).WithRefreshToken("r "+value, time.Time{})
	}
	for door, come := range map[string]func(*testing.T, *pausedMachine, *Guard) string{
		"Adopt with a lifetime": func(t *testing.T, _ *pausedMachine, g *Guard) string {
			require.NoError(t, g.Adopt(t.Context(), NewTokenIn("adopted", time.Hour)))
			return "adopted"
		},
		"Adopt with an instant": func(t *testing.T, m *pausedMachine, g *Guard) string {
			require.NoError(t, g.Adopt(t.Context(), NewToken("adopted", time.Unix(0, m.wall.Load()).Add(time.Hour))))
			return "adopted"
		},
		"a successor": func(t *testing.T, m *pausedMachine, g *Guard) string {
			require.NoError(t, g.Adopt(t.Context(), refreshing("first")))
			m.pass(10 * time.Minute)
			require.NoError(t, g.Adopt(t.Context(), refreshing("second").WithPredecessor(TokenID("first"))))
			return "second"
		},
		"a successor that restates": func(t *testing.T, m *pausedMachine, g *Guard) string {
			require.NoError(t, g.Adopt(t.Context(), refreshing("first")))
			m.pass(10 * time.Minute)
			require.NoError(t, g.Adopt(t.Context(), NewTokenIn("first", 90*time.Minute).WithSecret("k", "v").WithPredecessor(TokenID("first"))))
			return "first"
		},
		"a renewal": func(t *testing.T, m *pausedMachine, g *Guard) string {
			require.NoError(t, g.Adopt(t.Context(), NewTokenIn("first", time.Minute).WithRefreshToken("r", time.Time{})))
			m.pass(2 * time.Minute)
			token, err := g.Token(t.Context())
			require.NoError(t, err)
			require.Equal(t, "renewed", token.Value())
			return "renewed"
		},
	} {
		for _, process := range []string{"same", "another", "new"} {
			t.Run(door+"/"+process, func(t *testing.T) {
				m := &pausedMachine{}
				m.wall.Store(1.8e18)
				renewals := 0
				opts := []Option{WithStateFile(filepath.Join(t.TempDir(), "state")), WithRenewal(func(context.Context, Token) (Token, error) {
					if renewals++; renewals > 1 || door != "a renewal" {
						return Token{}, Failed(Failure{StatusCode: 503})
					}
					return NewTokenIn("renewed", time.Hour), nil
				})}
				fail := func(context.Context, Request) (Token, error) { return Token{}, Failed(Failure{StatusCode: 503}) }
				g, other := m.guard(t, "boot", fail, opts...), m.guard(t, "boot", fail, opts...)
				value := come(t, m, g)
				for _, each := range []*Guard{g, other} {
					token, err := each.Token(t.Context())
					require.NoError(t, err)
					require.Equal(t, value, token.Value())
				}
				m.pause(7 * time.Hour)
				switch process {
				case "another":
					g = other
				case "new":
					g = m.guard(t, "boot", fail, opts...)
				}
				token, err := g.Token(t.Context())
				require.Error(t, err, "%v", token)
			})
		}
	}
}
