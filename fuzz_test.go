package tokenguard

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Any bytes decode to an error or to a document that can be decided on, cloned, recovered, pruned and encoded.
func FuzzDocument(f *testing.F) {
	full := scene{token: aged(-40, spent(-5)), pause: at(2), last: at(-4), more: func(d *ledger.Document) {
		d.Charged(ledger.Attempt{ID: "a", Start: at(-1), End: at(1), Running: true})
		d.Triggers = []ledger.Trigger{{Seq: 1, Start: at(-1), Class: classify.QuotaExhausted, Template: "x"}}
		d.Failures = ledger.Streak{Count: 2, At: at(-1), Class: classify.Transient}
		d.Lost = at(-10)
	}}
	o, err := newOptions(nil)
	require.NoError(f, err)
	for _, d := range []*ledger.Document{ledger.New(), full.view(&testing.T{}).Doc} {
		b, err := d.Encode()
		require.NoError(f, err)
		f.Add(b)
	}
	for _, s := range []string{"", "null", "{}", `{"version":2}`, `{"version":1,"tokens":{"":null},"keys":{"a":null}}`,
		`{"version":1,"failures":{"count":9223372036854775807,"at":9223372036854775807},"lost":9223372036854775807}`,
		`{"version":1,"attempts":[{"end":-9223372036854775808},{"end":9223372036854775807,"running":true}]}`,
		`{"version":1,"tokens":{"t":{"kind":"anonymous","acquired":9223372036854775807,"expiry":-9223372036854775808,"value":"v","reset":-1}}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ledger.Decode(data)
		if err != nil {
			return
		}
		d.Recover(ledger.Lineage{Rev: 1, Epoch: "e"}, false, nil, nil, t0)
		for _, class := range []string{"", classify.QuotaExhausted, classify.RateLimited} {
			q := &decide.Request{Kind: ledger.Anonymous, Report: ledger.Report{Class: class, At: t0}}
			if r := d.Newest(""); r != nil {
				q.Failing = r.ID
			}
			v := &decide.Input{Doc: d, Policy: o.policy, Request: q}
			r := timeline.Reading{Now: t0, Wall: time.Unix(0, int64(t0))}
			verdictOf(v, v.Decide(t0), r, v.RetryAt(t0))
			c := d.Clone()
			c.Report(o.policy, &q.Report, q.Scope, nil, t0)
		}
		c := d.Clone()
		c.Charge(o.policy, &ledger.Start{ID: "id", Owner: "owner"}, t0)
		c.Complete(o.policy, &ledger.Completion{Attempt: c.Attempts[0], End: t0, Failed: ledger.Streak{Class: classify.Transient}})
		c.Prune(o.policy, t0)
		c.NotePeer(o.policy.RateLimit, t0)
		b, err := c.Encode()
		require.NoError(t, err)
		again, err := ledger.Decode(b)
		require.NoError(t, err)
		require.Len(t, again.Tokens, len(c.Tokens))
	})
}

// Any sequence of requests, outcomes and waits keeps the limits, and never hands out what is dead.
func FuzzAcquire(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{0, 200, 17, 17, 33, 200, 49, 5, 255, 0, 0, 129, 77})
	f.Fuzz(func(t *testing.T, steps []byte) {
		clock := &setClock{now: time.Unix(1_800_000_000, 0)}
		var starts []time.Time
		n := byte(0)
		g, err := New(func(context.Context, Request) (Token, error) {
			starts = append(starts, clock.Now())
			n++
			switch {
			case len(steps) > 0 && steps[int(n)%len(steps)]%3 == 0:
				return Token{}, Failed([]Failure{banned, broken, unauth, slow}[n%4])
			case n%5 == 0:
				return NewToken("fixed", time.Time{}), nil
			}
			return NewTokenIn(string(rune('A'+n))+"x", time.Duration(1+n%3)*20*time.Minute), nil
		}, WithClock(clock))
		require.NoError(t, err)
		defer g.Close()
		var last Token
		dead := map[string]bool{}
		failures := []Failure{{}, quota, unauth, banned, broken, slow}
		for _, b := range steps[:min(len(steps), 64)] {
			clock.set(clock.Now().Add(time.Duration(b) * time.Duration(b) * 100 * time.Millisecond))
			failure := failures[b%6]
			switch b >> 6 {
			case 0, 1:
				grant, err := g.Acquire(t.Context(), Request{Scope: string(rune('a' + b%2)), Failure: failure, Failing: last.ID()})
				if err != nil {
					break
				}
				require.False(t, dead[grant.Token.ID()], "I3")
				require.True(t, grant.Token.Expiry().IsZero() || clock.Now().Before(grant.Token.Expiry()), "I3")
				if c := Classify(failure); c == ClassQuotaExhausted || c == ClassAuthInvalid {
					require.NotEqual(t, last.ID(), grant.Token.ID(), "I3")
				}
				last = grant.Token
			case 2:
				if last.ID() != "" {
					_ = g.Report(t.Context(), Outcome{TokenID: last.ID(), Failure: failure, Latency: time.Second})
				}
			}
			for id, r := range g.newest0().Tokens {
				dead[id] = r.Rejected != 0
			}
		}
		require.LessOrEqual(t, within(starts, time.Hour), 3, "I1")
		require.LessOrEqual(t, within(starts, 300*time.Second), 1, "I1")
	})
}

func (g *Guard) newest0() *ledger.Document {
	if st := g.replica.Newest(); st != nil {
		return st.Doc
	}
	return ledger.New()
}
