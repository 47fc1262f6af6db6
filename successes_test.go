package tokenguard

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
)

// reporting is a guard with a token that "op" has had a success with.
func reporting(t *testing.T, opts ...Option) (*Guard, Outcome) {
	t.Helper()
	g, err := New(func(context.Context, Request) (Token, error) {
		return NewTokenIn("a token of the test", 24*time.Hour), nil
	}, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.Close() })
	token, err := g.Token(t.Context())
	require.NoError(t, err)
	o := Outcome{TokenID: token.ID(), Caller: "op"}
	for range 2 {
		require.NoError(t, g.Report(t.Context(), o))
	}
	return g, o
}

func (g *Guard) evidenceOf(t *testing.T, o Outcome) ledger.Evidence {
	t.Helper()
	require.NoError(t, g.replica.Flush(t.Context()))
	e := g.replica.Newest().Doc.Tokens[o.TokenID].By(o.Caller)
	require.NotNil(t, e)
	return *e
}

// A success that tells nothing new is counted, with its own instants, without the slow road.
func TestSuccessesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, o := reporting(t)
		time.Sleep(500 * time.Millisecond)
		o.Latency = 200 * time.Millisecond
		began := g.meter.Read().Now.Plus(-o.Latency)
		for range 100 {
			require.True(t, g.successes.counted(&o))
		}
		time.Sleep(100 * time.Millisecond)
		o.Latency = time.Second // began before the others
		require.True(t, g.successes.counted(&o))
		assert.EqualValues(t, 103, g.Stats().Calls.Outcomes["success"])
		assert.EqualValues(t, 103, g.Stats().Cache.Tokens[0].Calls, "before it is stored, too")
		e := g.evidenceOf(t, o)
		assert.Equal(t, 103, e.Uses)
		assert.Equal(t, began, e.Success)
		rec := g.replica.Newest().Doc.Tokens[o.TokenID]
		assert.EqualValues(t, g.meter.Read().Now, rec.Usage.Good)
		assert.EqualValues(t, 103, rec.Usage.Uses())
		assert.Equal(t, 103, rec.Uses)
	})
}

// What may tell something new takes the slow road.
func TestNewsOfSuccessesTakesTheSlowRoad(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		opts []Option
		then func(t *testing.T, g *Guard, o *Outcome)
	}{
		"a second later":         {nil, func(*testing.T, *Guard, *Outcome) { time.Sleep(time.Second) }},
		"another operation":      {nil, func(_ *testing.T, _ *Guard, o *Outcome) { o.Caller = "other" }},
		"no name":                {nil, func(_ *testing.T, _ *Guard, o *Outcome) { o.Caller = "" }},
		"another token":          {nil, func(_ *testing.T, _ *Guard, o *Outcome) { o.TokenID = TokenID("other") }},
		"the upstream said more": {nil, func(_ *testing.T, _ *Guard, o *Outcome) { o.Limit, o.Remaining = 10, 9 }},
		"a reset":                {nil, func(_ *testing.T, _ *Guard, o *Outcome) { o.ResetAt = time.Now() }},
		"a failure":              {nil, func(_ *testing.T, _ *Guard, o *Outcome) { o.Failure = broken }},
		"a mistake":              {nil, func(_ *testing.T, _ *Guard, o *Outcome) { o.Latency = -1 }},
		"closed":                 {nil, func(_ *testing.T, g *Guard, _ *Outcome) { _ = g.Close() }},
		"it disproves a doubt":   {nil, func(t *testing.T, g *Guard, o *Outcome) { refuse(t, g, *o, quota) }},
		"it disproves a refusal": {nil, func(t *testing.T, g *Guard, o *Outcome) { time.Sleep(time.Minute); refuse(t, g, *o, unauth) }},
		"another's word": {nil, func(t *testing.T, g *Guard, o *Outcome) {
			other := *o
			other.Caller = "other"
			refuse(t, g, other, unauth)
		}},
		"an operator's": {nil, func(t *testing.T, g *Guard, o *Outcome) {
			require.NoError(t, g.Clear(ctx, Clear{Suspicion: "*"}))
			refuse(t, g, *o, quota)
		}},
		"what is not stored yet": {nil, func(_ *testing.T, g *Guard, _ *Outcome) {
			g.replica.ApplyLocally(func(d *replica.Draft) bool { d.Doc.Counts.Starts++; return true }, replica.NotSaved)
		}},
		"it shows that a start was not needed": {nil, func(t *testing.T, g *Guard, o *Outcome) {
			time.Sleep(2 * time.Second)
			g.replica.ApplyLocally(func(d *replica.Draft) bool {
				d.Doc.Charged(ledger.Attempt{ID: "x", Solo: true, Operation: "other", Start: d.At.Now.Plus(-time.Second / 2), End: d.At.Now})
				return true
			}, replica.NotSaved)
			before := *o
			before.Latency = time.Second
			require.NoError(t, g.Report(ctx, before)) // its call began before that start
		}},
		"a user's clock":            {[]Option{WithClock(systemClock{})}, func(*testing.T, *Guard, *Outcome) {}},
		"shadow":                    {[]Option{WithShadowModeRefusingNothing()}, func(*testing.T, *Guard, *Outcome) {}},
		"each call reads the store": {[]Option{WithStore(NewMemoryStore()), WithName("x"), WithFreshness(0)}, func(*testing.T, *Guard, *Outcome) {}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, o := reporting(t, c.opts...)
				require.Equal(t, c.opts == nil, g.successes.counted(&o))
				c.then(t, g, &o)
				assert.False(t, g.successes.counted(&o))
			})
		})
	}
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func refuse(t *testing.T, g *Guard, o Outcome, f Failure) {
	t.Helper()
	o.Failure = f
	require.NoError(t, g.Report(t.Context(), o))
}

// Both roads lead to the same evidence, whatever is reported in whatever order.
func TestBothRoadsOfSuccesses(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			short, o := reporting(t)
			long, _ := reporting(t)
			counted := 0
			for range 300 {
				if r.IntN(4) == 0 {
					time.Sleep(time.Duration(r.Int64N(int64(4 * time.Second))))
				}
				o := o
				o.Caller = []string{"op", "", "other"}[r.IntN(3)]
				o.Latency = time.Duration(r.IntN(int(2 * time.Second)))
				if r.IntN(12) == 0 {
					o.Failure = []Failure{quota, unauth, broken}[r.IntN(3)]
				}
				if short.successes.counted(&o) {
					counted++
				} else {
					require.NoError(t, short.Report(t.Context(), o))
				}
				long.successes.slot(&o).Store(nil)
				require.NoError(t, long.Report(t.Context(), o))
				if r.IntN(10) == 0 {
					req := Request{Caller: o.Caller, Failure: o.Failure, Failing: o.TokenID}
					a, errA := short.Acquire(t.Context(), req)
					b, errB := long.Acquire(t.Context(), req)
					require.Equal(t, errB == nil, errA == nil, "%v %v", errA, errB)
					require.Equal(t, b.Verdict().Reason, a.Verdict().Reason)
				}
			}
			require.Greater(t, counted, 20)
			require.NoError(t, short.replica.Flush(t.Context()))
			require.NoError(t, long.replica.Flush(t.Context()))
			a, b := short.replica.Newest().Doc.Tokens[o.TokenID], long.replica.Newest().Doc.Tokens[o.TokenID]
			assert.Equal(t, b.Evidence, a.Evidence)
			assert.Equal(t, b.Uses, a.Uses)
			assert.Equal(t, b.Usage.Cells, a.Usage.Cells)
			assert.Equal(t, b.Usage.Good, a.Usage.Good)
		})
	}
}

// None is lost between those that count and the commits that take along what was counted.
func TestNoCountedSuccessIsLost(t *testing.T) {
	g, o := reporting(t)
	const callers, each = 8, 3000
	var all sync.WaitGroup
	done := make(chan struct{})
	for range callers {
		all.Go(func() {
			for range each {
				assert.NoError(t, g.Report(t.Context(), o))
			}
		})
	}
	var flusher sync.WaitGroup
	flusher.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				assert.NoError(t, g.replica.Flush(t.Context()))
				_ = g.replica.AllPending()
			}
		}
	})
	all.Wait()
	close(done)
	flusher.Wait()
	assert.Equal(t, callers*each+2, g.evidenceOf(t, o).Uses)
	assert.EqualValues(t, callers*each+2, g.Stats().Calls.Outcomes["success"])
}
