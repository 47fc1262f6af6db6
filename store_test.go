package tokenguard

import (
	"bytes"
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/replica"
)

// faulty is a memory store that misbehaves on demand.
type faulty struct {
	Store
	view, update atomic.Bool // fail
	twice        bool
	now          func() time.Time
	epoch        atomic.Pointer[string]
	garbage      []byte
}

func (s *faulty) dress(snap Snapshot) Snapshot {
	if s.now != nil {
		snap.Now = s.now()
	}
	if e := s.epoch.Load(); e != nil {
		snap.Epoch = *e
	}
	if s.garbage != nil {
		snap.Data, snap.Rev = s.garbage, snap.Rev+1
	}
	return snap
}

func (s *faulty) View(ctx context.Context, name string) (Snapshot, error) {
	if s.view.Load() {
		return Snapshot{}, assert.AnError
	}
	snap, err := s.Store.View(ctx, name)
	return s.dress(snap), err
}

func (s *faulty) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	if s.update.Load() {
		runtime.Gosched()
		return Snapshot{}, assert.AnError
	}
	snap, err := s.Store.Update(ctx, name, func(snap Snapshot) ([]byte, error) {
		if s.twice {
			if _, err := fn(s.dress(snap)); err != nil {
				return nil, err
			}
		}
		return fn(s.dress(snap))
	})
	return s.dress(snap), err
}

func named(s Store) []Option { return []Option{WithStore(s), WithName("x"), WithFreshness(0)} }

func TestStoreThatFails(t *testing.T) {
	s := &faulty{Store: NewMemoryStore()}
	bubble(t, func(t *testing.T, r *rig) {
		s.update.Store(true)
		refused := r.no(ReasonStoreUnavailable, Request{})
		assert.ErrorIs(t, refused, ErrStore)
		assert.ErrorIs(t, refused, assert.AnError)
		assert.True(t, refused.Verdict.RetryAt.IsZero())
		assert.Zero(t, r.up.count())
		s.update.Store(false)
		id := r.must(Request{}).Token.ID()
		s.view.Store(true)
		s.update.Store(true)
		assert.Equal(t, id, r.must(Request{}).Token.ID(), "usable cached tokens are still served")
		assert.ErrorIs(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: unauth}), ErrStore)
		_, err := r.Explain(t.Context(), Request{Scope: "b"})
		assert.ErrorIs(t, err, ErrStore)
		assert.NotEmpty(t, r.Stats().Store.Error)
		r.no(ReasonStoreUnavailable, Request{Scope: "b"})
		assert.Equal(t, 1, r.up.count())
		s.view.Store(false)
		s.update.Store(false)
	}, named(s)...)
}

func TestReportIsKeptWhileTheStoreFails(t *testing.T) {
	s := &faulty{Store: NewMemoryStore()}
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		time.Sleep(time.Minute)
		s.update.Store(true)
		require.ErrorIs(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: unauth}), ErrStore)
		if grant, err := r.Acquire(t.Context(), Request{}); err == nil {
			assert.NotEqual(t, id, grant.Token.ID(), "this process acts on it all the same")
		}
		s.update.Store(false)
		time.Sleep(time.Hour)
		r.must(Request{})
		other := r.open(named(s)...)
		defer other.Close()
		_, err := other.Acquire(t.Context(), Request{})
		require.NoError(t, err)
		assert.NotZero(t, other.replica.Newest().Doc.Tokens[id].By("").Refused, "and stores it later")
	}, named(s)...)
}

func TestStoreThatRunsTheFunctionTwice(t *testing.T) {
	s := &faulty{Store: NewMemoryStore(), twice: true}
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		time.Sleep(time.Minute)
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: unauth}))
		doc := r.replica.Newest().Doc
		assert.Len(t, doc.Attempts, 1)
		assert.Equal(t, 1, doc.Tokens[id].By("").Refusals)
		assert.EqualValues(t, 1, doc.Counts.Starts)
	}, named(s)...)
}

func TestGarbageAndNewerVersions(t *testing.T) {
	for _, data := range []string{"garbage", `{"version":99}`} {
		s := &faulty{Store: NewMemoryStore(), garbage: []byte(data)}
		bubble(t, func(t *testing.T, r *rig) {
			r.no(ReasonStoreUnavailable, Request{})
			assert.Zero(t, r.up.count())
			s.garbage = nil
			snap, err := s.View(t.Context(), "x")
			require.NoError(t, err)
			assert.Zero(t, snap.Rev, "it is never overwritten")
		}, named(s)...)
	}
}

func TestStoresClock(t *testing.T) {
	ahead := 1000 * time.Hour
	s := &faulty{Store: NewMemoryStore(), now: func() time.Time { return time.Now().Add(ahead) }}
	bubble(t, func(t *testing.T, r *rig) {
		grant := r.must(Request{})
		assert.Equal(t, time.Now().Unix(), grant.Token.AcquiredAt().Unix(), "people are told their own time")
		refused := r.no(ReasonMinInterval, Request{Scope: "b"})
		assert.Equal(t, 300*time.Second, time.Until(refused.Verdict.RetryAt))
	}, named(s)...)
	_, err := New(new(upstream).request, append(named(s), WithClock(&setClock{now: time.Now()}))...)
	var mistake *ConfigError
	assert.ErrorAs(t, err, &mistake)
}

func TestEpochChange(t *testing.T) {
	s := &faulty{Store: NewMemoryStore()}
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		time.Sleep(2 * time.Hour)
		other := "other"
		s.epoch.Store(&other)
		refused := r.no(ReasonDayLimit, Request{Scope: "b"})
		assert.LessOrEqual(t, in(refused.Verdict.RetryAt), 2*72*time.Minute, "the even pace of a day")
		assert.Greater(t, in(refused.Verdict.RetryAt), time.Hour-time.Second)
	}, named(s)...)
}

func TestEncryptionWithLostAndRotatedKeys(t *testing.T) {
	one, two := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	store := NewMemoryStore()
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		snap, err := store.View(t.Context(), "x")
		require.NoError(t, err)
		assert.NotContains(t, string(snap.Data), "value-1")
		rotated := r.open(append(named(store), WithEncryption(two, one))...)
		defer rotated.Close()
		grant, err := rotated.Acquire(t.Context(), Request{})
		require.NoError(t, err)
		assert.Equal(t, id, grant.Token.ID())
		lost := r.open(append(named(store), WithEncryption(two))...)
		defer lost.Close()
		e, err := lost.Explain(t.Context(), Request{})
		require.NoError(t, err)
		assert.Equal(t, ReasonUnreadable, e.Steps[3].Reason)
		assert.Equal(t, ReasonMinInterval, e.Verdict.Reason, "a lost key lifts no limit")
	}, append(named(store), WithEncryption(one))...)
}

func TestWithoutTokenPersistence(t *testing.T) {
	store := NewMemoryStore()
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		assert.Equal(t, id, r.must(Request{}).Token.ID())
		snap, err := store.View(t.Context(), "x")
		require.NoError(t, err)
		assert.NotContains(t, string(snap.Data), "value-1")
		other := r.open(append(named(store), WithoutTokenPersistence())...)
		defer other.Close()
		grant, err := other.Wait(t.Context(), Request{})
		require.NoError(t, err)
		assert.Equal(t, "value-2", grant.Token.Value(), "each process has its own, within the limits that all share")
		time.Sleep(time.Second)
	}, append(named(store), WithoutTokenPersistence())...)
}

func TestTwoGuardsWithDifferentLimits(t *testing.T) {
	store := NewMemoryStore()
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		wide := r.open(append(named(store), WithConfig(Moderate()))...)
		defer wide.Close()
		time.Sleep(time.Minute)
		_, err := wide.Acquire(t.Context(), Request{Scope: "b"})
		require.NoError(t, err, "each keeps its own")
		r.no(ReasonMinInterval, Request{Scope: "c"})
		assert.Equal(t, []string{"10/h, 50/day, 1m0s apart"}, r.Stats().Limiter.Mismatch)
		assert.Equal(t, 2, r.Stats().Acquisitions.Hour.Used)
	}, named(store)...)
}

func TestAdoptAndClear(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		require.NoError(t, r.Adopt(ctx, NewTokenIn("adopted", time.Hour)))
		require.NoError(t, r.Adopt(ctx, NewTokenIn("adopted", time.Hour)), "and is charged once")
		assert.Equal(t, 1, r.Stats().Acquisitions.Hour.Used)
		assert.Equal(t, "adopted", r.must(Request{}).Token.Value())
		for _, bad := range []Token{{}, NewTokenIn("old", -1), NewTokenIn("3.6 µs", 3600), NewToken("older", time.Now().Add(-time.Second))} {
			assert.ErrorIs(t, r.Adopt(ctx, bad), ErrRequest)
		}
		r.no(ReasonMinInterval, Request{Scope: "b"})
		require.NoError(t, r.Clear(ctx, Clear{Suspicion: "*", Backoff: true, RetryAfter: true}))
		r.no(ReasonMinInterval, Request{Scope: "b"}) // never a charged attempt
		time.Sleep(10 * time.Minute)
		r.up.replies = append(r.up.replies, fails(broken), fails(banned), gives("z", time.Hour))
		for _, scope := range []string{"b", "c"} {
			_, err := r.Acquire(ctx, Request{Scope: scope})
			require.Error(t, err)
			require.NoError(t, r.Clear(ctx, Clear{Backoff: true}))
			time.Sleep(5 * time.Minute)
		}
		time.Sleep(time.Hour)
		assert.Equal(t, "z", r.must(Request{Scope: "c"}).Token.Value(), "its key is open")
		synctest.Wait()
	})
}

// lagging is a store whose commits take a while.
type lagging struct {
	Store
	takes time.Duration
}

func (s lagging) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	time.Sleep(s.takes)
	return s.Store.Update(ctx, name, fn)
}

// A token that ends while its acquisition is stored is handed to nobody. The same call acquires again, as often as the
// limits allow and no more.
func TestTokenThatEndsBeforeItIsHandedOut(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, gives("short", time.Second), gives("shorter", time.Second))
		r.no(ReasonHourLimit, Request{})
		assert.Equal(t, 3, r.up.count())
	}, append(named(lagging{NewMemoryStore(), 2 * time.Second}), WithRateLimits(RateLimits{MinInterval: time.Millisecond}))...)
}

// The first outcome of a process is stored at once, but where the store brings the clock of a fleet, whose processes may
// have started together: there it waits for a part of the interval.
func TestFirstOutcomeOfAFleetWaits(t *testing.T) {
	for _, fleet := range []bool{false, true} {
		s := &faulty{Store: NewMemoryStore()}
		counts := &counted{Store: s}
		bubble(t, func(t *testing.T, r *rig) {
			if fleet {
				s.now = time.Now
			}
			r.replica.Jitter = func(d time.Duration) time.Duration { return d / 4 }
			id := r.must(Request{}).Token.ID()
			writes := counts.writes
			stored := func() int {
				require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Latency: time.Second}))
				return counts.writes - writes
			}
			if !fleet {
				assert.Equal(t, 1, stored())
				return
			}
			assert.Zero(t, stored())
			time.Sleep(replica.FlushInterval*3/4 - time.Nanosecond)
			assert.Zero(t, stored())
			time.Sleep(time.Nanosecond)
			assert.Equal(t, 1, stored())
			time.Sleep(replica.FlushInterval - time.Nanosecond)
			assert.Equal(t, 1, stored())
			time.Sleep(time.Nanosecond)
			assert.Equal(t, 2, stored())
		}, named(counts)...)
	}
}

// However many reports wait for the store, the end of an acquisition is stored once it is back.
func TestAnEndWaitsForTheStoreBesideAFloodOfReports(t *testing.T) {
	store := &faulty{Store: NewMemoryStore()}
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		time.Sleep(time.Hour)
		long := broken
		long.Header = map[string][]string{"Retry-After": {"21600"}}
		r.up.replies = []func(context.Context, Request) (Token, error){func(context.Context, Request) (Token, error) {
			store.update.Store(true)
			for i := range 300 {
				names := string([]byte{'a' + byte(i/26), 'a' + byte(i%26)})
				_ = r.Report(context.Background(), Outcome{TokenID: id, Caller: "caller " + names, Failure: unauth})
			}
			return Token{}, Failed(long)
		}}
		_, err := r.Acquire(t.Context(), Request{Scope: "other"})
		require.Error(t, err)
		store.update.Store(false)
		time.Sleep(2 * time.Hour)
		other := r.open(WithStore(store), WithName("x"))
		require.NoError(t, other.Report(t.Context(), Outcome{TokenID: id, Caller: "other", Failure: unauth}))
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: unauth})) // takes along what waits
		_, err = other.Acquire(t.Context(), Request{Scope: "third"})
		var refused *RefusedError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, ReasonRetryAfter, refused.Verdict.Reason)
		require.NoError(t, other.Close())
	}, WithStore(store), WithName("x"))
}
