package tokenguard

import (
	"context"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
)

// Config returns the settings in force: the defaults under what the options set.
func (g *Guard) Config() Config { return g.opt.Config }

// Attempt is one started acquisition, of whichever process shares the state.
type Attempt struct {
	Start time.Time `json:"start"`
	// End is from when the windows and the spacing count it; of one that is in progress, the end of its lease.
	End        time.Time `json:"end"`
	InProgress bool      `json:"in_progress,omitempty"`
	Failed     bool      `json:"failed,omitempty"`
	// Adopted: the token was fetched elsewhere and taken in with Adopt.
	Adopted bool `json:"adopted,omitempty"`
}

// Attempts returns the charged attempts that the day window still looks at, oldest first, after one look at the store.
func (g *Guard) Attempts(ctx context.Context) ([]Attempt, error) {
	st, r, err := g.replica.Look(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Attempt, 0, len(st.Doc.Attempts))
	for i := range st.Doc.Attempts {
		a := &st.Doc.Attempts[i]
		if r.Now.Sub(a.End) >= ledger.Day {
			continue
		}
		out = append(out, Attempt{Start: r.Time(a.Start), End: r.Time(a.End), InProgress: a.InProgress(r.Now), Failed: a.Failed, Adopted: a.Adopted})
	}
	return out, nil
}
