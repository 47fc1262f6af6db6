package redisstore

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/storetest"
	"golang.org/x/sync/errgroup"
)

func write(data string) func(tokenguard.Snapshot) ([]byte, error) {
	return func(tokenguard.Snapshot) ([]byte, error) { return []byte(data), nil }
}

// increment counts in decimal.
func increment(s tokenguard.Snapshot) ([]byte, error) {
	n, _ := strconv.Atoi(string(s.Data))
	return []byte(strconv.Itoa(n + 1)), nil
}

func TestNewRefuses(t *testing.T) {
	client := newClient(t, "127.0.0.1:1")
	tests := []struct {
		name   string
		client redis.UniversalClient
		opts   []Option
		want   string
	}{
		{"no client", nil, nil, "client is nil"},
		{"no prefix", client, []Option{WithPrefix("")}, "prefix is empty"},
		{"short life", client, []Option{WithTTL(time.Hour)}, "ttl is 1h0m0s"},
		{"long life", client, []Option{WithTTL(1 << 62)}, "ttl is"},
		{"short timeout", client, []Option{WithTimeout(time.Millisecond)}, "timeout is 1ms"},
		{"fewer than no replicas", client, []Option{WithWaitReplicas(-1, time.Second)}, "wait replicas is -1"},
		{"replicas slower than the timeout", client, []Option{WithWaitReplicas(1, 2*time.Second)}, "wait replicas timeout is 2s"},
		{"deaf client", redis.NewClient(&redis.Options{}), nil, "ContextTimeoutEnabled"},
		{"deaf cluster", redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}}), nil, "ContextTimeoutEnabled"},
		{"ring", redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}}), nil, "Ring"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(test.client, test.opts...)
			require.ErrorContains(t, err, "tokenguard: redisstore: ")
			require.ErrorContains(t, err, test.want)
			if test.client != nil {
				_ = test.client.Close()
			}
		})
	}
	_, err := New(client, WithPrefix(""), WithTTL(0))
	require.ErrorContains(t, err, "prefix")
	require.ErrorContains(t, err, "ttl", "all mistakes at once")
}

func TestContract(t *testing.T) {
	opener := func(server func(t *testing.T) string) func(t *testing.T) func() tokenguard.Store {
		return func(t *testing.T) func() tokenguard.Store {
			addr := server(t)
			return func() tokenguard.Store { return newStore(t, newClient(t, addr), WithTimeout(20*time.Second)) }
		}
	}
	for name, open := range map[string]func(t *testing.T) func() tokenguard.Store{
		"miniredis":    opener(func(t *testing.T) string { return miniredis.RunT(t).Addr() }),
		"redis-server": opener(func(t *testing.T) string { return startServer(t).addr() }),
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) tokenguard.Store { return open(t)() }, storetest.Shared(open))
		})
	}
}

func TestUpdateAndView(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		ctx := t.Context()
		a, b := newStore(t, newClient(t, addr)), newStore(t, newClient(t, addr))
		snap, err := a.View(ctx, "n")
		require.NoError(t, err)
		require.Zero(t, snap.Rev)
		require.Empty(t, snap.Epoch)
		require.Nil(t, snap.Data)
		require.WithinDuration(t, time.Now(), snap.Now, time.Minute, "the server runs on this machine")

		first, err := a.Update(ctx, "n", write("one"))
		require.NoError(t, err)
		require.Equal(t, "one", string(first.Data))
		require.NotZero(t, first.Rev)
		require.NotEmpty(t, first.Epoch)

		second, err := b.Update(ctx, "n", func(s tokenguard.Snapshot) ([]byte, error) {
			return append(bytes.Clone(s.Data), " two"...), nil
		})
		require.NoError(t, err)
		require.Equal(t, "one two", string(second.Data))
		require.Greater(t, second.Rev, first.Rev)
		require.Equal(t, first.Epoch, second.Epoch)

		for _, s := range []*Store{a, b} {
			n, err := s.Revision(ctx, "n")
			require.NoError(t, err)
			require.Equal(t, second.Rev, n)
			snap, err := s.View(ctx, "n")
			require.NoError(t, err)
			require.Equal(t, "one two", string(snap.Data))
			require.Equal(t, second.Rev, snap.Rev)
			require.False(t, snap.Now.Before(second.Now))
		}
		other, err := a.View(ctx, "other")
		require.NoError(t, err)
		require.Zero(t, other.Rev)
	})
}

// What fn leaves unwritten, it must have decided on the newest document all the same.
func TestUpdateWithoutWriting(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		ctx := t.Context()
		a, b := newStore(t, newClient(t, addr)), newStore(t, newClient(t, addr))
		_, err := a.Update(ctx, "n", write("one"))
		require.NoError(t, err)
		newest, err := b.Update(ctx, "n", write("two"))
		require.NoError(t, err)

		var last string
		snap, err := a.Update(ctx, "n", func(s tokenguard.Snapshot) ([]byte, error) {
			last = string(s.Data)
			return nil, nil
		})
		require.NoError(t, err)
		require.Equal(t, "two", last)
		require.Equal(t, newest.Rev, snap.Rev)

		_, err = b.Update(ctx, "n", write("three"))
		require.NoError(t, err)
		refusal := errors.New("refused")
		_, err = a.Update(ctx, "n", func(s tokenguard.Snapshot) ([]byte, error) {
			last = string(s.Data)
			return nil, refusal
		})
		require.Equal(t, refusal, err, "fn's own error, as it is")
		require.Equal(t, "three", last)
	})
}

func TestUpdateIsAtomic(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		const stores, callers, rounds = 4, 4, 25
		var group errgroup.Group
		var mu sync.Mutex
		revs := map[uint64]bool{}
		for range stores {
			s := newStore(t, newClient(t, addr), WithTimeout(time.Minute))
			for range callers {
				group.Go(func() error {
					for range rounds {
						snap, err := s.Update(t.Context(), "n", increment)
						if err != nil {
							return err
						}
						mu.Lock()
						revs[snap.Rev] = true
						mu.Unlock()
					}
					return nil
				})
			}
		}
		require.NoError(t, group.Wait())
		require.Len(t, revs, stores*callers*rounds)
		snap, err := newStore(t, newClient(t, addr)).View(t.Context(), "n")
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(stores*callers*rounds), string(snap.Data))
	})
}

// counter counts the scripts that a client sends.
type counter struct {
	mu   sync.Mutex
	sent int
}

func (c *counter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "eval") { // the others are the handshake
			c.mu.Lock()
			c.sent++
			c.mu.Unlock()
		}
		return next(ctx, cmd)
	}
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c *counter) trips() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.sent
	c.sent = 0
	return n
}

func countingClient(addr string) (*redis.Client, *counter) {
	c, sent := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true}), &counter{}
	c.AddHook(sent)
	return c, sent
}

func TestRoundTrips(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		ctx := t.Context()
		warm := newStore(t, newClient(t, addr))
		_, err := warm.Update(ctx, "n", increment) // loads the scripts
		require.NoError(t, err)
		_, err = warm.View(ctx, "n")
		require.NoError(t, err)

		client, sent := countingClient(addr)
		defer client.Close()
		s := newStore(t, client)
		update := func(fn func(tokenguard.Snapshot) ([]byte, error)) int {
			sent.trips()
			_, err := s.Update(ctx, "n", fn)
			require.NoError(t, err)
			return sent.trips()
		}
		require.Equal(t, 2, update(increment), "the first of a process reads")
		require.Equal(t, 1, update(increment))
		_, err = warm.Update(ctx, "n", increment)
		require.NoError(t, err)
		require.Equal(t, 2, update(increment), "a conflict brings the newest document along")
		require.Equal(t, 1, update(func(tokenguard.Snapshot) ([]byte, error) { return nil, nil }))
		_, err = s.View(ctx, "n")
		require.NoError(t, err)
		require.Equal(t, 1, sent.trips())
		_, err = s.Revision(ctx, "n")
		require.NoError(t, err)
		require.Equal(t, 1, sent.trips())
	})
}

// Who waited for a turn while another asked needs no answer of its own.
func TestViewsAreShared(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		client, sent := countingClient(addr)
		defer client.Close()
		s := newStore(t, client)
		update(t, s, increment)
		sent.trips()
		s.docs["n"].asked = time.Now().Add(time.Hour)
		require.Equal(t, "1", string(view(t, s).Data))
		require.Zero(t, sent.trips())
		s.docs["n"].asked = time.Now().Add(-time.Nanosecond)
		view(t, s)
		require.Equal(t, 1, sent.trips())
	})
}

// In an outage one operation in a while tries the engine; the others fail at once.
func TestOutageIsShared(t *testing.T) {
	client, sent := countingClient("127.0.0.1:1")
	defer client.Close()
	s := newStore(t, client, WithTimeout(100*time.Millisecond))
	_, first := s.View(t.Context(), "n")
	require.Error(t, first)
	require.Equal(t, 1, sent.trips())
	later := *s.docs["n"].outage.Load()
	later.at = later.at.Add(time.Hour)
	s.docs["n"].outage.Store(&later)
	_, err := s.Update(t.Context(), "n", increment)
	require.ErrorIs(t, err, later.err)
	require.Zero(t, sent.trips())

	later.at = time.Time{}
	s.docs["n"].outage.Store(&later)
	s.docs["n"].turn <- struct{}{} // somebody tries
	_, err = s.View(t.Context(), "n")
	require.ErrorIs(t, err, later.err)
	require.Zero(t, sent.trips())
	<-s.docs["n"].turn
	_, err = s.View(t.Context(), "n")
	require.Error(t, err)
	require.Equal(t, 1, sent.trips())

	ctx, cancel := context.WithCancel(t.Context())
	s.docs["n"].outage.Store(nil)
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err = s.View(ctx, "n")
	require.Error(t, err)
	require.Nil(t, s.docs["n"].outage.Load(), "a caller that leaves at once is no outage")
	s = newStore(t, newClient(t, "127.0.0.1:1"))
	ctx, cancel = context.WithTimeout(t.Context(), patience+10*time.Millisecond)
	defer cancel()
	_, err = s.View(ctx, "n")
	require.Error(t, err)
	require.NotNil(t, s.docs["n"].outage.Load(), "one that waited is")
}

func TestWatch(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		a, b := newStore(t, newClient(t, addr)), newStore(t, newClient(t, addr))
		ctx, cancel := context.WithCancel(t.Context())
		hints := a.Watch(ctx, "n")
		<-hints // subscribed
		for range 3 {
			_, err := b.Update(t.Context(), "n", increment)
			require.NoError(t, err)
			<-hints
		}
		cancel()
		for range hints { // closed when the context ends
		}
		hints = a.Watch(t.Context(), "n")
		require.NoError(t, a.Close())
		for range hints {
		}
	})
}

func TestClose(t *testing.T) {
	s := newStore(t, newClient(t, "127.0.0.1:1"))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err := s.View(t.Context(), "n")
	require.ErrorIs(t, err, tokenguard.ErrClosed)
	_, err = s.Revision(t.Context(), "n")
	require.ErrorIs(t, err, tokenguard.ErrClosed)
	_, err = s.Update(t.Context(), "n", increment)
	require.ErrorIs(t, err, tokenguard.ErrClosed)
}

func TestRefusesAnEmptyNameAndAnEndedContext(t *testing.T) {
	s := newStore(t, newClient(t, "127.0.0.1:1"))
	_, err := s.View(t.Context(), "")
	require.ErrorContains(t, err, "name is empty")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Update(ctx, "n", increment)
	require.ErrorIs(t, err, context.Canceled)
}

// One caller's operation that hangs delays the others no longer than their own deadline.
func TestTurnHeedsTheContext(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		s := newStore(t, newClient(t, addr))
		inside, leave := make(chan struct{}), make(chan struct{})
		var group errgroup.Group
		group.Go(func() error {
			first := true
			_, err := s.Update(t.Context(), "n", func(tokenguard.Snapshot) ([]byte, error) {
				if first {
					first = false
					close(inside)
					<-leave
				}
				return []byte("x"), nil
			})
			return err
		})
		<-inside
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := s.View(ctx, "n")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = s.View(t.Context(), "another document")
		require.NoError(t, err)
		close(leave)
		require.NoError(t, group.Wait())
	})
}
