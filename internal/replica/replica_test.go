package replica

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/meter"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

func init() { ledger.CheckForms = func() bool { return true } }

// fakeStore is a store in memory that can be slow, fail, and lose what it has.
type fakeStore struct {
	mu             sync.Mutex
	data           []byte
	rev            uint64
	epoch          string
	views, updates int
	takes          time.Duration
	late           time.Duration // how long an answer is on its way
	clock          bool          // the store has one
	err            error
}

var errAway = errors.New("the store is away")

func (s *fakeStore) wait(ctx context.Context) error {
	s.mu.Lock()
	takes, err := s.takes, s.err
	s.mu.Unlock()
	select {
	case <-time.After(takes):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *fakeStore) set(change func(*fakeStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *fakeStore) updated() (n int) {
	s.set(func(s *fakeStore) { n = s.updates })
	return n
}

func (s *fakeStore) store() Store {
	return Store{
		Shared: true,
		View: func(ctx context.Context) (Snapshot, error) {
			s.set(func(s *fakeStore) { s.views++ })
			if err := s.wait(ctx); err != nil {
				return Snapshot{}, err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			snap := Snapshot{Data: s.data, Rev: s.rev, Epoch: s.epoch}
			if s.clock {
				snap.Now = time.Now()
			}
			return snap, nil
		},
		Update: func(ctx context.Context, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
			s.set(func(s *fakeStore) { s.updates++ })
			if err := s.wait(ctx); err != nil {
				return Snapshot{}, err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			snap := Snapshot{Data: s.data, Rev: s.rev, Epoch: s.epoch}
			if s.clock {
				snap.Now = time.Now()
			}
			defer time.Sleep(s.late)
			data, err := fn(snap)
			if data != nil && err == nil {
				s.data, s.rev = data, s.rev+1
			}
			return Snapshot{Data: s.data, Rev: s.rev, Epoch: s.epoch, Now: snap.Now}, err
		},
	}
}

func open(t *testing.T, s *fakeStore, change ...func(*Config)) *Replica {
	t.Helper()
	keeper, err := secrets.NewKeeper("x", nil, 0, func(string) {})
	require.NoError(t, err)
	c := Config{
		Policy:    &ledger.Policy{RateLimit: ledger.LimitPolicy{MaxRequestsPerHour: 4, MaxRequestsPerDay: 8, MinInterval: time.Minute}, Cache: ledger.CachePolicy{TTL: time.Hour, MaxTokens: 10}},
		Freshness: time.Second, Meter: meter.New(nil), Keeper: keeper, Ended: make(chan struct{}),
		Publish: func() {}, Stamp: func(*ledger.Document, timeline.Instant) bool { return false }, Notice: func(string) {},
		Jitter: func(most time.Duration) time.Duration { return most / 2 },
	}
	for _, f := range change {
		f(&c)
	}
	r := New(c, s.store())
	t.Cleanup(r.Close)
	return r
}

// mark notes a number in the document, once, in the order in which the changes came.
func mark(n int) Change {
	return func(d *Draft) bool {
		if slices.ContainsFunc(d.Doc.Triggers, func(m ledger.Trigger) bool { return m.Seq == uint64(n) }) {
			return false
		}
		d.Doc.Triggers = append(d.Doc.Triggers, ledger.Trigger{Seq: uint64(n), Start: d.At.Now})
		return true
	}
}

func marks(t *testing.T, s *fakeStore) (out []int) {
	t.Helper()
	var data []byte
	s.set(func(s *fakeStore) { data = s.data })
	if data == nil {
		return nil
	}
	d, err := ledger.Decode(data)
	require.NoError(t, err)
	for _, m := range d.Triggers {
		out = append(out, int(m.Seq))
	}
	return out
}

// What a store says that it has done, without the change, is not done: the caller hears of it, what waits waits on, and
// the store is asked again.
func TestAStoreThatDoesNotRunTheUpdate(t *testing.T) {
	for name, odd := range map[string]func(Store) Store{
		"not at all": func(of Store) Store {
			of.Update = func(ctx context.Context, _ func(Snapshot) ([]byte, error)) (Snapshot, error) { return of.View(ctx) }
			return of
		},
		"not at all, and gives nothing": func(of Store) Store {
			of.Update = func(context.Context, func(Snapshot) ([]byte, error)) (Snapshot, error) { return Snapshot{}, nil }
			return of
		},
		"keeps its error to itself": func(of Store) Store {
			update := of.Update
			of.Update = func(ctx context.Context, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
				snap, _ := update(ctx, func(snap Snapshot) ([]byte, error) {
					snap.Data, snap.Rev = []byte("no document"), snap.Rev+1
					return fn(snap)
				})
				return snap, nil
			}
			return of
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &fakeStore{}
				r := open(t, s)
				_, err := r.Commit(t.Context(), mark(1))
				require.NoError(t, err)
				well := r.store
				r.store = odd(r.store)
				r.AddOutcome("tk_1", "crawl", predict.Outcome{}, 1)
				r.ApplyLocally(mark(2), ForEnd)
				_, err = r.Commit(t.Context(), mark(3))
				require.Error(t, err)
				require.Equal(t, []int{1}, marks(t, s))
				require.True(t, r.SuccessesWait())
				require.Equal(t, 1, r.Unsaved())
				r.store = well
				_, err = r.Commit(t.Context(), mark(3))
				require.NoError(t, err)
				require.Equal(t, []int{1, 2, 3}, marks(t, s))
				require.False(t, r.SuccessesWait())
			})
		})
	}
}

func TestCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		r := open(t, s)
		_, err := r.Commit(t.Context(), mark(1))
		require.NoError(t, err)
		assert.Equal(t, []int{1}, marks(t, s))
		assert.Equal(t, uint64(1), r.Newest().Rev)
		_, err = r.Commit(t.Context(), func(*Draft) bool { return false })
		require.NoError(t, err)
		assert.Equal(t, uint64(1), s.rev, "a change that did nothing writes nothing")
	})
}

// Changes that come while a commit is in progress go together into the next one, in their order.
func TestCommitsAreBatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{takes: time.Second}
		r := open(t, s)
		var wg sync.WaitGroup
		for n := range 9 { // six in the first commit's time, three in the second's
			wg.Go(func() {
				time.Sleep(time.Duration(n)*time.Millisecond + time.Duration(n/6)*1500*time.Millisecond)
				_, err := r.Commit(t.Context(), mark(n))
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		assert.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}, marks(t, s))
		assert.Equal(t, 3, s.updates)
	})
}

// What the store did not take goes first in the next successful commit, in its order.
func TestUnsavedGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{err: errAway}
		r := open(t, s)
		_, err := r.Commit(t.Context(), mark(1))
		require.ErrorIs(t, err, errAway)
		r.ApplyLocally(mark(1), ForEnd)
		r.ApplyLocally(mark(2), ForEnd)
		assert.Len(t, r.Newest().Doc.Triggers, 2, "it counts here meanwhile")
		s.set(func(s *fakeStore) { s.err = nil })
		_, err = r.Commit(t.Context(), mark(3))
		require.NoError(t, err)
		assert.Equal(t, []int{1, 2, 3}, marks(t, s))
		assert.Zero(t, r.Unsaved())

		r.ApplyLocally(mark(4), ForEnd)
		require.NoError(t, r.Flush(t.Context()))
		assert.Equal(t, []int{1, 2, 3, 4}, marks(t, s))
	})
}

// Reports leave room for the ends of acquisitions, and what is not to be saved takes none.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, &fakeStore{err: errAway})
		for n := range int(ForReport) + 10 {
			r.ApplyLocally(mark(n), ForReport)
		}
		assert.Equal(t, int(ForReport), r.Unsaved())
		r.ApplyLocally(mark(0), ForEnd)
		r.ApplyLocally(mark(0), NotSaved)
		assert.Equal(t, int(ForReport)+1, r.Unsaved())
	})
}

// Outcomes wait for a commit, and survive one that fails.
func TestPendingSurvivesAFailedCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{err: errAway}
		r := open(t, s)
		r.AddOutcome("a", "op", predict.Outcome{}, 5)
		_, err := r.Commit(t.Context(), mark(1))
		require.Error(t, err)
		r.AddOutcome("a", "op", predict.Outcome{}, 7)
		assert.Equal(t, ledger.Success{Began: 7, Uses: 2}, r.AllPending()["a"].Successes["op"])
		assert.True(t, r.SuccessesWait())
		s.set(func(s *fakeStore) { s.err = nil })
		_, err = r.Commit(t.Context(), mark(1))
		require.NoError(t, err)
		assert.Empty(t, r.AllPending())
	})
}

func TestPendingIsBounded(t *testing.T) {
	r := open(t, &fakeStore{})
	for n := range 2 * maxOperations {
		r.AddOutcome("a", strconv.Itoa(n), predict.Outcome{}, 1)
	}
	assert.Len(t, r.AllPending()["a"].Successes, maxOperations)
}

// A look reads the store once in the freshness, for all callers together.
func TestLookIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{takes: 100 * time.Millisecond}
		r := open(t, s)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { _, _, err := r.Look(t.Context()); assert.NoError(t, err) })
		}
		wg.Wait()
		assert.Equal(t, 1, s.views)
		time.Sleep(r.Freshness - time.Millisecond)
		_, _, _ = r.Look(t.Context())
		assert.Equal(t, 1, s.views)
		time.Sleep(time.Millisecond)
		_, _, _ = r.Look(t.Context())
		assert.Equal(t, 2, s.views)
	})
}

// A store that hangs holds the first callers for LookTimeout, and the next ones not at all.
func TestLookAtAStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, &fakeStore{takes: time.Hour})
		began := time.Now()
		_, _, err := r.Look(t.Context())
		require.ErrorIs(t, err, ErrNoAnswer)
		assert.Equal(t, LookTimeout, time.Since(began))
		_, _, err = r.Look(t.Context())
		require.ErrorIs(t, err, ErrNoAnswer)
		assert.Equal(t, LookTimeout, time.Since(began))
		assert.ErrorIs(t, r.Hangs(), ErrNoAnswer)
		assert.False(t, r.IsBack(t.Context()))
	})
}

// While the store is away, and for an hour after, a share of the limits holds.
func TestShareOfTheLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		r := open(t, s, func(c *Config) { c.Processes = 2 })
		now := func() Limits { return r.LimitsAt(r.Meter.Read().Now) }
		assert.False(t, r.MayStart(r.Newest()), "nothing is known that could bound it")
		_, err := r.Commit(t.Context(), mark(1))
		require.NoError(t, err)
		assert.True(t, r.MayStart(r.Newest()))
		assert.Nil(t, now().Full)
		s.set(func(s *fakeStore) { s.err = errAway })
		_, err = r.Commit(t.Context(), mark(2))
		require.Error(t, err)
		assert.Equal(t, []any{2, 2 * time.Minute, r.Policy}, []any{now().Policy.RateLimit.MaxRequestsPerHour, now().Policy.RateLimit.MinInterval, now().Full})
		s.set(func(s *fakeStore) { s.err = nil })
		_, err = r.Commit(t.Context(), mark(3))
		require.NoError(t, err)
		assert.NotNil(t, now().Full)
		time.Sleep(time.Hour - time.Nanosecond)
		assert.NotNil(t, now().Full)
		time.Sleep(time.Nanosecond)
		assert.Nil(t, now().Full)
		at, err := open(t, &fakeStore{err: errAway}).CommitOrApply(t.Context(), mark(1))
		assert.Error(t, err, "without a share nothing counts in this process alone")
		assert.NotZero(t, at.Now)
	})
}

// alarm wakes all that wait.
type alarm struct {
	mu sync.Mutex
	c  chan struct{}
}

func (a *alarm) next() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.c == nil {
		a.c = make(chan struct{})
	}
	return a.c
}

func (a *alarm) ring() {
	a.next()
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.c)
	a.c = make(chan struct{})
}

// Callers that wait see what another process commits; they leave with their context, and when the guard closes.
func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		ended, woke := make(chan struct{}), new(alarm)
		r, other := open(t, s, func(c *Config) { c.Ended, c.Woke = ended, woke.ring }), open(t, s)
		_, _, err := r.Look(t.Context())
		require.NoError(t, err)
		go func() {
			time.Sleep(time.Second)
			_, err := other.Commit(context.Background(), mark(1))
			assert.NoError(t, err)
		}()
		for r.Newest() == nil || len(r.Newest().Doc.Triggers) == 0 {
			require.NoError(t, r.Await(t.Context(), timeline.Never, woke.next()))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, r.Await(ctx, timeline.Never, woke.next()), context.Canceled)
		go func() { time.Sleep(time.Millisecond); close(ended) }()
		for err = nil; err == nil; {
			err = r.Await(t.Context(), timeline.Never, woke.next())
		}
		require.ErrorIs(t, err, ErrClosed)
	})
}

// Who waits is woken by what can help: a revision, the instant that it waits for, and otherwise once in a while.
func TestAwaitWakesForAReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		ended, woke := make(chan struct{}), new(alarm)
		defer close(ended)
		r, other := open(t, s, func(c *Config) { c.Ended, c.Woke = ended, woke.ring }), open(t, s)
		rev, at, err := r.Look(t.Context())
		require.NoError(t, err)
		const long = lookAgain + lookAgain/2 // apart from when they look anyway
		begin, woken := time.Now(), 0
		for until := at.Now.Plus(long); r.Meter.Read().Now < until; woken++ {
			require.NoError(t, r.Await(t.Context(), until, woke.next()))
		}
		assert.Equal(t, 2, woken)
		assert.Less(t, time.Since(begin), long+2*pollMost)

		begin = time.Now()
		_, err = other.Commit(t.Context(), mark(1))
		require.NoError(t, err)
		require.NoError(t, r.Await(t.Context(), timeline.Never, woke.next()))
		assert.Less(t, time.Since(begin), r.Freshness+2*pollMost)
		require.NotSame(t, rev, r.Newest())

		begin = time.Now() // the first is not woken by what the second is: it is due all the same
		late := make(chan error, 1)
		go func() { late <- r.Await(t.Context(), timeline.Never, nil) }()
		synctest.Wait()
		r.Wake()
		again := woke.next()
		r.LookAt(r.Meter.Read().Now.Plus(time.Second))
		<-again
		assert.Less(t, time.Since(begin), time.Second+2*pollMost)
		assert.Empty(t, late)
	})
}

// An attempt of this process that the store lost is charged again, and the loss is told once.
func TestAttemptsOutliveALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{epoch: "first"}
		var told []string
		r := open(t, s, func(c *Config) { c.Notice = func(text string) { told = append(told, text) } })
		now := r.Meter.Read().Now
		a := ledger.Attempt{ID: "a", Seq: 1, Start: now, End: now}
		_, err := r.Commit(t.Context(), func(d *Draft) bool { d.Doc.Charged(a); return true })
		require.NoError(t, err)
		r.RememberAttempt(a, now)
		s.set(func(s *fakeStore) { s.data, s.rev, s.epoch = nil, 5, "second" })
		time.Sleep(r.Freshness)
		rev, at, err := r.Look(t.Context())
		require.NoError(t, err)
		require.Len(t, rev.Doc.Attempts, 1)
		assert.Equal(t, at.Now, rev.Doc.Lost)
		assert.NotEmpty(t, told)
		require.NoError(t, r.Save(t.Context()))
		d, err := ledger.Decode(s.data)
		require.NoError(t, err)
		assert.Len(t, d.Attempts, 1)
	})
}

// What a caller would be told without a read is settled, and nothing else.
func TestSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, &fakeStore{})
		_, _, ok := r.Settled()
		assert.False(t, ok, "nothing is known yet")
		rev, _, err := r.Look(t.Context())
		require.NoError(t, err)
		settled, at, ok := r.Settled()
		assert.True(t, ok)
		assert.Same(t, rev, settled)
		assert.Equal(t, r.Meter.Read(), at)
		time.Sleep(r.Freshness)
		_, _, ok = r.Settled()
		assert.False(t, ok, "a call would read the store")

		each := open(t, &fakeStore{}, func(c *Config) { c.EachCall = true })
		_, _, err = each.Look(t.Context())
		require.NoError(t, err)
		_, _, ok = each.Settled()
		assert.False(t, ok, "each call reads")
	})
}

// Facts about the same are committed once a second, the first at once and the last in the end, and count meanwhile.
func TestCommitPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		r := open(t, s)
		about := About{Token: "a", Class: "adopted"}
		for n := range 5 {
			_, err := r.CommitPaced(t.Context(), mark(n), about)
			require.NoError(t, err)
			assert.Len(t, r.Newest().Doc.Triggers, n+1, "it counts at once")
		}
		assert.Equal(t, []int{0}, marks(t, s))
		time.Sleep(pace - 1)
		assert.Equal(t, 1, s.updated())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.Equal(t, []int{0, 1, 2, 3, 4}, marks(t, s))
		assert.Equal(t, 2, s.updated())
		_, err := r.CommitPaced(t.Context(), mark(5), about)
		require.NoError(t, err)
		assert.Equal(t, 2, s.updated(), "those that waited were this second's commit")
		time.Sleep(pace)
		synctest.Wait()
		assert.Equal(t, 3, s.updated())
		_, err = r.CommitPaced(t.Context(), mark(6), About{Token: "b"})
		require.NoError(t, err)
		assert.Equal(t, 4, s.updated(), "another's second")

		// With whatever is committed next, and then not again.
		_, err = r.CommitPaced(t.Context(), mark(7), about)
		require.NoError(t, err)
		_, err = r.Commit(t.Context(), mark(8))
		require.NoError(t, err)
		assert.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}, marks(t, s))
		time.Sleep(pace)
		synctest.Wait()
		assert.Equal(t, 5, s.updated())

		// Away: the caller hears it each time, and what waits stays.
		_, err = r.CommitPaced(t.Context(), mark(9), about)
		require.NoError(t, err)
		_, err = r.CommitPaced(t.Context(), mark(10), about)
		require.NoError(t, err)
		s.set(func(s *fakeStore) { s.err = errAway })
		time.Sleep(pace)
		synctest.Wait()
		assert.Equal(t, 1, r.Unsaved())
		for range 2 {
			_, err = r.CommitPaced(t.Context(), mark(11), about)
			require.ErrorIs(t, err, errAway)
		}
		s.set(func(s *fakeStore) { s.err = nil })
		require.NoError(t, r.Flush(t.Context()))
		assert.Contains(t, marks(t, s), 10)

		// After Close nothing runs any more: what waits is for Flush.
		_, err = r.CommitPaced(t.Context(), mark(12), About{Token: "c"})
		require.NoError(t, err)
		_, err = r.CommitPaced(t.Context(), mark(13), About{Token: "c"})
		require.NoError(t, err)
		updates := s.updated()
		r.Close()
		time.Sleep(time.Minute)
		assert.Equal(t, updates, s.updated())
		assert.Equal(t, 1, r.Unsaved())
		assert.LessOrEqual(t, len(r.paced), 2)
		_, err = r.CommitPaced(t.Context(), mark(14), About{Token: "c"})
		require.NoError(t, err)
		_, err = r.CommitPaced(t.Context(), mark(15), About{Token: "c"})
		require.NoError(t, err)
		assert.Contains(t, marks(t, s), 15, "what nobody would store later is stored at once")
	})
}

// What comes to wait for the store while a commit or a read is in progress counts on when that ends.
func TestWhatWaitsCountsOnAfterACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{takes: time.Second}
		r := open(t, s)
		has := func(n int) bool {
			return slices.ContainsFunc(r.Newest().Doc.Triggers, func(m ledger.Trigger) bool { return m.Seq == uint64(n) })
		}
		during := func(n int, f func()) {
			time.AfterFunc(time.Second/2, func() { r.ApplyLocally(mark(n), ForReport) })
			f()
		}
		during(1, func() {
			_, err := r.Commit(t.Context(), mark(0))
			require.NoError(t, err)
		})
		assert.True(t, has(0) && has(1))
		assert.True(t, r.Newest().Dirty, "it is to be stored")
		during(2, func() { require.NoError(t, r.Reread(t.Context())) })
		assert.True(t, has(1) && has(2))
		require.NoError(t, r.Flush(t.Context()))
		assert.Equal(t, []int{0, 1, 2}, marks(t, s))
		assert.False(t, r.Newest().Dirty)
	})
}

// The answer to a commit tells the instant at which the store took it. A process that was stopped with the answer on its
// way must not believe that this is now: the lease that it commits would seem to run.
func TestAnAnswerOfLongAgoIsNotNow(t *testing.T) {
	for _, late := range []time.Duration{0, time.Second / 2, 1500 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			s := &fakeStore{clock: true, late: late}
			r := open(t, s)
			_, _, err := r.Look(t.Context())
			require.NoError(t, err)
			_, err = r.Commit(t.Context(), mark(0))
			require.NoError(t, err)
			behind := timeline.UnixNano(time.Now()).Sub(r.Meter.Read().Now)
			if assert.GreaterOrEqual(t, behind, time.Duration(0)); late < time.Second {
				assert.LessOrEqual(t, behind, late)
				return
			}
			assert.Zero(t, behind)
			time.Sleep(r.Freshness)
			_, _, err = r.Look(t.Context())
			require.NoError(t, err)
			assert.Equal(t, timeline.UnixNano(time.Now()), r.Meter.Read().Now, "the next look sets it right")
		})
	}
}
