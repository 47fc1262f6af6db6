package journal

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// event is of the sort of its name; the ones without a name are not sampled.
type event struct {
	name string
	n    int
}

func newJournal() *Journal[event, string] {
	return New(time.Now(), func(e *event) (string, bool) { return e.name, e.name != "" })
}

func numbers(events []event) (out []int) {
	for _, e := range events {
		out = append(out, e.n)
	}
	return out
}

func TestHistoryKeepsTheLastEventsOldestFirst(t *testing.T) {
	j := newJournal()
	require.Empty(t, j.History())
	var want []int
	for n := range 2*size + 3 {
		j.Append(event{n: n})
		want = append(want, n)
		want = want[max(len(want)-size, 0):]
		if n < 3 || n%size < 2 || n%size > size-3 {
			require.Equal(t, want, numbers(j.History()), "after %d", n+1)
		}
	}
	j.History()[0].n = -1
	assert.Equal(t, want, numbers(j.History()), "what is returned is a copy")
}

func TestEventsThatAreNotSampledAreAlwaysDue(t *testing.T) {
	j := newJournal()
	assert.Nil(t, j.Sample(&event{}))
	for range 10 * sampleBurst {
		repeats, due := j.Admit(&event{})
		require.True(t, due)
		require.Zero(t, repeats)
	}
}

func TestRepeatedEventsAreSampledAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		due := func(name string) (repeats int, due bool) { return j.Admit(&event{name: name}) }
		for range sampleBurst {
			repeats, ok := due("a")
			require.True(t, ok)
			require.Zero(t, repeats)
		}
		for range 7 {
			_, ok := due("a")
			require.False(t, ok, "after the burst")
		}
		_, ok := due("b")
		require.True(t, ok, "another sort has a burst of its own")

		time.Sleep(sampleEvery)
		repeats, ok := due("a")
		require.True(t, ok, "one each second")
		require.Equal(t, 7, repeats)
		_, ok = due("a")
		require.False(t, ok)
		time.Sleep(sampleEvery)
		repeats, ok = due("a")
		require.True(t, ok)
		require.Equal(t, 1, repeats, "counted once")
	})
}

// Quiet is the way around the lock: it must agree with Admit on when an event is due, and count with it.
func TestQuietUntilTheNextEventIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := time.Now().Add(-time.Hour)
		j := New(base, func(e *event) (string, bool) { return e.name, true })
		mono := func() int64 { return int64(time.Since(base)) }
		e := &event{name: "a"}
		s := j.Sample(e)
		require.False(t, s.Quiet(mono()), "nothing is known to be in the way")
		for range sampleBurst {
			_, due := j.Admit(e)
			require.True(t, due)
			require.False(t, s.Quiet(mono()))
		}
		_, due := j.Admit(e)
		require.False(t, due)
		for range 4 {
			require.True(t, s.Quiet(mono()))
			s.Skip()
		}
		time.Sleep(sampleEvery - time.Millisecond)
		require.True(t, s.Quiet(mono()))
		s.Skip()
		time.Sleep(time.Millisecond)
		require.False(t, s.Quiet(mono()))
		repeats, due := j.Admit(e)
		require.True(t, due)
		require.Equal(t, 6, repeats, "what Admit left out, and Skip")
	})
}

func TestMoreSortsThanAreSampledApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		for n := range sampleKinds {
			_, due := j.Admit(&event{name: fmt.Sprint("known ", n)})
			require.True(t, due)
		}
		for n := range sampleBurst {
			_, due := j.Admit(&event{name: fmt.Sprint("other ", n)})
			require.True(t, due, "the others share a sample, and are not lost")
		}
		_, due := j.Admit(&event{name: "one more"})
		require.False(t, due)
		_, due = j.Admit(&event{name: "known 3"})
		require.True(t, due)
		time.Sleep(sampleEvery)
		repeats, due := j.Admit(&event{name: "yet another"})
		require.True(t, due)
		require.Equal(t, 1, repeats)
	})
}

func TestSubscribersGetWhatHappensFromNowOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		ended := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		j.Append(event{n: 0})
		first, second := j.Subscribe(ctx, ended), j.Subscribe(t.Context(), ended)
		for n := 1; n <= 3; n++ {
			j.Append(event{n: n})
		}
		for n := 1; n <= 3; n++ {
			require.Equal(t, n, (<-first).n)
			require.Equal(t, n, (<-second).n)
		}
		cancel()
		synctest.Wait()
		_, open := <-first
		require.False(t, open, "its context ended")
		j.Append(event{n: 4})
		require.Equal(t, 4, (<-second).n)
		close(ended)
		synctest.Wait()
		_, open = <-second
		require.False(t, open, "the guard ended")
		require.Empty(t, j.readers, "nothing is left of them")
	})
}

func TestSubscriberThatDoesNotKeepUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal()
		ctx, cancel := context.WithCancel(t.Context())
		slow, quick := j.Subscribe(ctx, nil), j.Subscribe(ctx, nil)
		const many = buffer + 100
		for n := range many {
			j.Append(event{n: n}) // waits for nobody
			synctest.Wait()
			require.Equal(t, n, (<-quick).n)
		}
		for n := range buffer + 1 { // and the one that is on its way
			require.Equal(t, n, (<-slow).n, "the oldest are kept, in order")
		}
		j.Append(event{n: many})
		require.Equal(t, many, (<-slow).n, "it goes on with what comes")
		cancel()
		synctest.Wait()
		require.Empty(t, j.readers, "also one that did not read to the end")
	})
}

func TestJournalOfManyWriters(t *testing.T) {
	j := newJournal()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := j.Subscribe(ctx, nil)
	admitted := make(chan int, 8)
	var all sync.WaitGroup
	for range cap(admitted) {
		all.Go(func() {
			count := 0
			for range 50 {
				e := event{name: "a"}
				if _, due := j.Admit(&e); due {
					j.Append(e)
					count++
				}
			}
			admitted <- count
		})
	}
	all.Wait()
	close(admitted)
	total := 0
	for count := range admitted {
		total += count
	}
	assert.GreaterOrEqual(t, total, sampleBurst)
	assert.Less(t, total, 8*50)
	assert.Len(t, j.History(), total)
	assert.Equal(t, "a", (<-events).name)
}
