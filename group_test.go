package tokenguard

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// slowStore takes a while for each commit, and panics on demand.
type slowStore struct {
	Store
	takes   atomic.Int64
	updates atomic.Int64
	panics  atomic.Bool
}

func newSlowStore(takes time.Duration) *slowStore {
	s := &slowStore{Store: NewMemoryStore()}
	s.takes.Store(int64(takes))
	return s
}

func (s *slowStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	s.updates.Add(1)
	if s.panics.Load() {
		panic("in Update")
	}
	select {
	case <-time.After(time.Duration(s.takes.Load())):
	case <-ctx.Done():
		return Snapshot{}, ctx.Err()
	}
	return s.Store.Update(ctx, name, fn)
}

func limited(after time.Duration) Failure {
	return Failure{StatusCode: 429, Message: "slow down", Header: http.Header{"Retry-After": {fmt.Sprint(int(after.Seconds()))}}}
}

// A storm of reports that each move the pause costs as many commits as the store can take, and each is durable before
// it returns.
func TestCommitsInGroups(t *testing.T) {
	store := newSlowStore(10 * time.Millisecond)
	bubble(t, func(t *testing.T, r *rig) {
		token := r.must(Request{}).Token
		before := store.updates.Load()
		const callers = 500
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Microsecond) // over 50 ms
				at := time.Now()
				err := r.Report(context.Background(), Outcome{TokenID: token.ID(), Failure: limited(time.Minute)})
				if err != nil {
					t.Error(err)
				}
				snap, _ := store.View(context.Background(), "storm")
				d, err := ledger.Decode(snap.Data)
				if err != nil || d.Scopes[""].PauseOf("").Until < timeline.UnixNano(at.Add(time.Minute)) {
					t.Errorf("report %d is not durable: %v", i, err)
				}
			})
		}
		wg.Wait()
		require.LessOrEqual(t, store.updates.Load()-before, int64(8))
	}, WithStore(store), WithName("storm"), WithFreshness(time.Minute))
}

// Foreign code that a commit calls may commit itself.
func TestCommitFromTheObserver(t *testing.T) {
	var r2 *rig
	calls := 0
	observe := WithObserver(func(e Event) {
		if e.Kind == EventState && calls < 3 {
			calls++
			if err := r2.Clear(context.Background(), Clear{Backoff: true}); err != nil {
				panic(err)
			}
		}
	})
	store := NewMemoryStore()
	bubble(t, func(t *testing.T, r *rig) {
		r2 = r
		token := r.must(Request{}).Token
		store.(*memoryStore).docs["deaf"] = Snapshot{Rev: 7} // what was committed is lost
		start := time.Now()
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: token.ID(), Failure: quota}))
		require.Less(t, time.Since(start), time.Second)
		require.Positive(t, calls)
	}, WithStore(store), WithName("deaf"), observe)
}

func TestCommitOfAGroupThatPanics(t *testing.T) {
	store := newSlowStore(time.Second)
	bubble(t, func(t *testing.T, r *rig) {
		token := r.must(Request{}).Token
		report := func(f Failure) <-chan error {
			done := make(chan error, 1)
			go func() { done <- r.Report(context.Background(), Outcome{TokenID: token.ID(), Failure: f}) }()
			return done
		}
		first := report(quota)
		synctest.Wait()
		store.panics.Store(true)
		second := report(limited(time.Minute))
		require.NoError(t, <-first)
		err := <-second
		var panicked *PanicError
		require.ErrorIs(t, err, ErrStore)
		require.ErrorAs(t, err, &panicked)
		store.panics.Store(false)
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: token.ID(), Failure: limited(time.Minute)}), "others go on")
	}, WithStore(store), WithName("panics"))
}

// Who leaves a commit that hangs leaves at once.
func TestCommitIsLeft(t *testing.T) {
	store := newSlowStore(0)
	bubble(t, func(t *testing.T, r *rig) {
		token := r.must(Request{}).Token
		store.takes.Store(int64(time.Hour))
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				ctx, leave := context.WithTimeout(context.Background(), time.Duration(i+1)*time.Second)
				defer leave()
				if err := r.Report(ctx, Outcome{TokenID: token.ID(), Failure: limited(time.Minute)}); err == nil || time.Since(start) != time.Duration(i+1)*time.Second {
					t.Errorf("%v after %v", err, time.Since(start))
				}
			})
		}
		wg.Wait()
		require.Error(t, r.Report(t.Context(), Outcome{TokenID: token.ID(), Failure: limited(2 * time.Minute)}))
		require.LessOrEqual(t, time.Since(start), 3*time.Second+replica.StoreTimeout, "nobody waits longer than for one commit")
		store.takes.Store(0)
		time.Sleep(replica.StoreTimeout)
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: token.ID()}))
		snap, _ := store.View(t.Context(), "hangs")
		require.Contains(t, string(snap.Data), "pause", "what was reported meanwhile is stored")
	}, WithStore(store), WithName("hangs"), WithFreshness(time.Hour))
}

// Close does not return while a commit is under way whose callers have left.
func TestCloseWaitsForCommits(t *testing.T) {
	store := newSlowStore(0)
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		store.takes.Store(int64(3 * time.Second))
		go func() { _ = r.Clear(context.Background(), Clear{Backoff: true}) }()
		synctest.Wait()
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		require.ErrorIs(t, r.Clear(ctx, Clear{Backoff: true}), context.DeadlineExceeded)
		time.Sleep(3 * time.Second) // the second one's has begun
		require.NoError(t, r.Close())
		synctest.Wait()
		require.False(t, r.replica.Committing())
	}, WithStore(store), WithName("closing"))
}
