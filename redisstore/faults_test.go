package redisstore

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
	"golang.org/x/sync/errgroup"
)

func update(t *testing.T, s *Store, fn func(tokenguard.Snapshot) ([]byte, error)) tokenguard.Snapshot {
	t.Helper()
	snap, err := s.Update(t.Context(), "n", fn)
	require.NoError(t, err)
	return snap
}

func view(t *testing.T, s *Store) tokenguard.Snapshot {
	t.Helper()
	snap, err := s.View(t.Context(), "n")
	require.NoError(t, err)
	return snap
}

// recovered waits until the Store tries the engine again and gets an answer.
func recovered(t *testing.T, s *Store) {
	t.Helper()
	eventually(t, "the store is back", func() bool {
		_, err := s.View(t.Context(), "n")
		return err == nil
	})
}

// A request that is sent again because its answer was lost is one commit, also where others came in between.
func TestLostAnswerIsOneCommit(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		p := startProxy(t, addr)
		behind, direct := newStore(t, newClient(t, p.addr())), newStore(t, newClient(t, addr))
		update(t, behind, increment)
		p.loseAnswer(func() {})
		require.Equal(t, "2", string(update(t, behind, increment).Data))
		p.loseAnswer(func() { _, _ = direct.Update(context.Background(), "n", increment) })
		require.Equal(t, "3", string(update(t, behind, increment).Data))
		require.Equal(t, "4", string(view(t, behind).Data))
		p.loseAnswer(func() {})
		require.Equal(t, "4", string(view(t, behind).Data))
	})
}

// A commit that the network or a stopped server held up does nothing when it arrives at last.
func TestLateCommitIsRefused(t *testing.T) {
	server := startServer(t)
	const timeout = 400 * time.Millisecond
	p := startProxy(t, server.addr())
	s := newStore(t, newClient(t, p.addr()), WithTimeout(timeout))
	before := update(t, s, increment)

	server.signal(syscall.SIGSTOP)
	_, err := s.Update(t.Context(), "n", increment)
	require.ErrorContains(t, err, `tokenguard: redisstore: update "n": `)
	_, err = s.View(t.Context(), "n")
	require.Error(t, err)
	server.signal(syscall.SIGCONT)
	direct := newStore(t, server.client(), WithTimeout(time.Minute))
	require.Equal(t, before.Rev, view(t, direct).Rev)

	recovered(t, s)
	p.slow(timeout / 3) // each way; more than a quarter
	_, err = s.Update(t.Context(), "n", increment)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, before.Rev, view(t, direct).Rev)

	p.slow(timeout / 20)
	recovered(t, s)
	require.Equal(t, "2", string(update(t, s, increment).Data))
}

// A clock that this process carried on wrongly (a suspend, a step of the server's) is noticed at the commit.
func TestStaleClockIsReadAgain(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		s := newStore(t, newClient(t, addr))
		update(t, s, increment)
		for _, wrong := range []time.Duration{-time.Hour, time.Hour} {
			doc := s.docs["n"]
			doc.seen.snap.Now = doc.seen.snap.Now.Add(wrong)
			runs := 0
			snap := update(t, s, func(snap tokenguard.Snapshot) ([]byte, error) {
				runs++
				return snap.Now.AppendFormat(nil, time.RFC3339Nano), nil
			})
			require.Equal(t, 2, runs)
			decided, err := time.Parse(time.RFC3339Nano, string(snap.Data))
			require.NoError(t, err)
			require.WithinDuration(t, snap.Now, decided, time.Minute)
		}
	})
}

func TestClientKill(t *testing.T) {
	server := startServer(t)
	var group errgroup.Group
	const stores, rounds = 4, 100
	for range stores {
		s := newStore(t, server.client(), WithTimeout(time.Minute))
		group.Go(func() error {
			for range rounds {
				if _, err := s.Update(t.Context(), "n", increment); err != nil {
					return err
				}
			}
			return nil
		})
	}
	killer := server.client()
	for range 20 {
		require.NoError(t, killer.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes").Err())
		require.NoError(t, pause(t.Context(), 5*time.Millisecond))
	}
	require.NoError(t, group.Wait())
	require.Equal(t, fmt.Sprint(stores*rounds), string(view(t, newStore(t, server.client())).Data))
}

// loses says how a document is lost, and checks what the Stores of older and newer processes show.
func loses(t *testing.T, server *server, lose func()) {
	t.Helper()
	old := newStore(t, server.client(), WithTimeout(10*time.Second))
	update(t, old, increment)
	before := update(t, old, increment)
	lose()
	revision, err := old.Revision(t.Context(), "n")
	require.NoError(t, err)
	require.NotEqual(t, before.Rev, revision, "the cheap look notices")
	after := view(t, old)
	require.NotEqual(t, before.Epoch, after.Epoch)
	require.Greater(t, after.Rev, before.Rev)
	require.Equal(t, "2", string(after.Data), "what this process saw is not forgotten")
	require.Equal(t, after.Epoch, view(t, old).Epoch, "one loss is one new epoch")
	restored := update(t, old, increment)
	require.Equal(t, "3", string(restored.Data))
	require.Equal(t, after.Epoch, restored.Epoch)
	require.Greater(t, restored.Rev, after.Rev)
	require.Equal(t, restored.Epoch, view(t, newStore(t, server.client())).Epoch, "a newer process sees the new lineage")
}

func TestFlushAll(t *testing.T) {
	server := startServer(t)
	loses(t, server, func() { server.do("FLUSHALL") })
}

func TestRestartWithoutPersistence(t *testing.T) {
	server := startServer(t)
	loses(t, server, func() {
		server.kill()
		server.start()
	})
}

func TestRestartWithPersistence(t *testing.T) {
	server := startServer(t, "--appendonly", "yes", "--appendfsync", "always")
	s := newStore(t, server.client(), WithTimeout(10*time.Second))
	before := update(t, s, increment)
	server.kill()
	_, err := s.View(t.Context(), "n")
	require.Error(t, err)
	server.start()
	recovered(t, s)
	after := view(t, s)
	require.Equal(t, before.Rev, after.Rev)
	require.Equal(t, before.Epoch, after.Epoch)
	require.Equal(t, "2", string(update(t, s, increment).Data))
}

func TestFullMemory(t *testing.T) {
	t.Run("noeviction", func(t *testing.T) {
		server := startServer(t, "--maxmemory-policy", "noeviction")
		s := newStore(t, server.client())
		before := update(t, s, increment)
		server.do("CONFIG", "SET", "maxmemory", "1")
		_, err := s.Update(t.Context(), "n", increment)
		require.ErrorContains(t, err, "OOM") // before 7.0 with the script's words in front
		require.Equal(t, before.Rev, view(t, s).Rev, "reading goes on")
		server.do("CONFIG", "SET", "maxmemory", "0")
		require.Equal(t, "2", string(update(t, s, increment).Data))
	})
	t.Run("eviction", func(t *testing.T) {
		server := startServer(t, "--maxmemory-policy", "allkeys-lru")
		loses(t, server, func() {
			server.do("CONFIG", "SET", "maxmemory", "1")
			eventually(t, "the key is evicted", func() bool { return server.do("EXISTS", "tokenguard:{n}") == int64(0) })
			server.do("CONFIG", "SET", "maxmemory", "0")
		})
	})
}

func TestFailoverThatLostCommits(t *testing.T) {
	master, replica := startServer(t), startServer(t)
	replica.do("REPLICAOF", "127.0.0.1", fmt.Sprint(master.port))
	p := startProxy(t, master.addr())
	old := newStore(t, newClient(t, p.addr()), WithTimeout(10*time.Second))
	bystander := newStore(t, newClient(t, p.addr()), WithTimeout(10*time.Second))
	waiting := newStore(t, newClient(t, p.addr()), WithWaitReplicas(1, time.Second), WithTimeout(10*time.Second))

	eventually(t, "a commit is confirmed by the replica", func() bool {
		_, err := waiting.Update(t.Context(), "n", write("1"))
		return err == nil
	})
	kept := view(t, bystander)
	replica.do("REPLICAOF", "NO", "ONE")
	require.Equal(t, "2", string(update(t, old, increment).Data), "acknowledged, and never replicated")
	lost := update(t, old, increment)
	impatient := newStore(t, newClient(t, p.addr()), WithWaitReplicas(1, 50*time.Millisecond))
	_, err := impatient.Update(t.Context(), "n", write("unconfirmed"))
	require.ErrorIs(t, err, ErrNotReplicated)
	require.ErrorContains(t, err, "0 of 1 within 50ms")
	master.kill()
	p.turnTo(replica.addr())

	// Who saw nothing of what is lost goes on; its commits must not hide the loss from who did.
	require.Equal(t, kept.Rev, view(t, bystander).Rev)
	require.Equal(t, "2", string(update(t, bystander, increment).Data))
	forked := update(t, bystander, increment)
	require.Greater(t, forked.Rev, lost.Rev)
	require.Equal(t, lost.Epoch, forked.Epoch)

	after := view(t, old)
	require.NotEqual(t, lost.Epoch, after.Epoch)
	require.Greater(t, after.Rev, forked.Rev)
	require.Equal(t, "3", string(after.Data))
	restored := update(t, old, increment)
	require.Equal(t, restored.Epoch, view(t, bystander).Epoch)
	require.Equal(t, "4", string(view(t, bystander).Data))
}

func TestWrongPassword(t *testing.T) {
	server := startServer(t, "--requirepass", "right")
	for _, password := range []string{"", "wrong"} {
		client := redis.NewClient(&redis.Options{Addr: server.addr(), Password: password, ContextTimeoutEnabled: true})
		t.Cleanup(func() { _ = client.Close() })
		s := newStore(t, client)
		_, err := s.Update(t.Context(), "n", increment)
		require.True(t, redis.IsAuthError(err), "%v", err)
	}
}
