package tokenguard

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a process that has just begun does first is done beside it, too: a candidate of which it was left out would go on with
// what the guard has lost, or without what it has.
func TestTheFirstThingThatAProcessDoesReachesItsCandidate(t *testing.T) {
	for name, first := range map[string]func(ctx context.Context, g *Guard, token Token) error{
		"Report": func(ctx context.Context, g *Guard, token Token) error {
			return g.Report(ctx, Outcome{TokenID: token.ID(), Failure: unauth})
		},
		"Adopt": func(ctx context.Context, g *Guard, _ Token) error {
			return g.Adopt(ctx, NewTokenIn("adopted", allDay).WithScope("another"))
		},
		"Clear": func(ctx context.Context, g *Guard, _ Token) error { return g.Clear(ctx, Clear{Backoff: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			opts := []Option{WithStateFile(filepath.Join(t.TempDir(), "state")), WithCandidate(Config{})}
			bubble(t, func(t *testing.T, r *rig) {
				token := r.must(Request{}).Token
				time.Sleep(6 * time.Minute)
				r.up.replies = append(r.up.replies, fails(broken))
				_, err := r.Acquire(t.Context(), Request{Scope: "another"})
				require.Error(t, err)
				require.NotEmpty(t, r.Stats().Limiter.BackoffUntil)
				require.NoError(t, r.Close())
				time.Sleep(time.Minute)

				next := r.open(opts...)
				require.NoError(t, first(t.Context(), next, token))
				s := next.Stats()
				own := s.Candidate.Stats
				assert.Equal(t, s.Cache.Usable, own.Cache.Usable)
				assert.Equal(t, s.Limiter, own.Limiter)
				assert.Equal(t, s.Acquisitions, own.Acquisitions)
				require.NoError(t, next.Close())
			}, opts...)
		})
	}
}
