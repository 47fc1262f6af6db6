package tokenguard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// mapStore is a Store as a third party would write it.
type mapStore struct {
	mu    sync.Mutex
	docs  map[string]tokenguard.Snapshot
	epoch string
	clock *handClock // nil: the guard's decides
	down  error
}

func (s *mapStore) snapshot(name string) tokenguard.Snapshot {
	snap := s.docs[name]
	snap.Epoch = s.epoch
	if s.clock != nil {
		snap.Now = s.clock.Now()
	}
	return snap
}

func (s *mapStore) View(_ context.Context, name string) (tokenguard.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot(name), s.down
}

func (s *mapStore) Update(_ context.Context, name string, fn func(tokenguard.Snapshot) ([]byte, error)) (tokenguard.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return tokenguard.Snapshot{}, s.down
	}
	data, err := fn(s.snapshot(name))
	if err != nil {
		return tokenguard.Snapshot{}, err
	}
	if data != nil {
		if s.docs == nil {
			s.docs = map[string]tokenguard.Snapshot{}
		}
		s.docs[name] = tokenguard.Snapshot{Data: bytes.Clone(data), Rev: s.docs[name].Rev + 1}
	}
	return s.snapshot(name), nil
}

func (s *mapStore) Close() error { return errors.New("a guard closes only what New opened") }

func (s *mapStore) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func onStore(s tokenguard.Store) []tokenguard.Option {
	return []tokenguard.Option{tokenguard.WithStore(s), tokenguard.WithName("acceptance")}
}

func TestTwoGuardsShareTokensAndLimits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	for name, opts := range map[string][]tokenguard.Option{
		"file": {tokenguard.WithStateFile(file)}, "store": onStore(&mapStore{epoch: "1"}),
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t, opts...)
			other := u.open(opts...)
			token := u.served(acquired, plain).Token
			grant, err := other.Acquire(t.Context(), plain)
			require.NoError(t, err)
			assert.Equal(t, tokenguard.SourceShared, grant.Source)
			assert.Equal(t, token.Value(), grant.Token.Value())
			grant, err = other.Acquire(t.Context(), plain)
			require.NoError(t, err)
			assert.Equal(t, tokenguard.SourceCache, grant.Source)
			_, err = other.Acquire(t.Context(), scoped("2"))
			assert.ErrorIs(t, err, tokenguard.ErrRateLimited)
			require.NoError(t, other.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID(), Failure: noneLeft, Limit: 9}))
			u.refused(tokenguard.ReasonTokenTooNew, plain)
		})
	}
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestNewEpochCountsAsFull(t *testing.T) {
	s := &mapStore{epoch: "1"}
	u := newUser(t, onStore(s)...)
	u.served(acquired, plain)
	s.set(func() { s.epoch, s.docs = "2", nil })
	u.clock.move(10 * time.Minute)
	_, err := u.Acquire(t.Context(), scoped("2"))
	assert.ErrorIs(t, err, tokenguard.ErrRateLimited)
}

func TestStoreClockDecides(t *testing.T) {
	s := &mapStore{clock: &handClock{now: oddStart}}
	up := &origin{lifetime: 24 * time.Hour}
	// Between two looks the guard counts the store's clock on by itself; this one jumps, so each call looks.
	g, err := tokenguard.New(up.request, append(onStore(s), tokenguard.WithFreshness(0))...)
	require.NoError(t, err)
	defer g.Close()
	_, err = g.Token(t.Context())
	require.NoError(t, err)
	s.clock.move(300*time.Second - 1)
	_, err = g.Acquire(t.Context(), scoped("2"))
	require.ErrorIs(t, err, tokenguard.ErrRateLimited)
	s.clock.move(time.Second)
	_, err = g.Acquire(t.Context(), scoped("2"))
	require.NoError(t, err)
}

func TestStoreDown(t *testing.T) {
	s := &mapStore{}
	u := newUser(t, onStore(s)...)
	u.served(acquired, plain)
	gone := errors.New("connection refused")
	s.set(func() { s.down = gone })
	u.clock.move(10 * time.Minute)
	u.served(cached, plain)
	_, err := u.Acquire(t.Context(), scoped("2"))
	require.ErrorIs(t, err, tokenguard.ErrStore)
	require.ErrorIs(t, err, tokenguard.ErrRefused)
	require.ErrorIs(t, err, gone)
	assert.NotEmpty(t, u.Stats().Store.Error)

	open := u.open(append(onStore(s), tokenguard.WithFailOpenToLocalShare(1))...)
	_, err = open.Token(t.Context())
	require.ErrorIs(t, err, tokenguard.ErrStore, "a process that has seen no document bounds nothing")
	s.set(func() { s.down = nil })
	require.Equal(t, 1, open.Stats().Acquisitions.Day.Used)
	s.set(func() { s.down = gone })
	_, err = open.Acquire(t.Context(), scoped("2"))
	require.NoError(t, err)
	_, err = open.Acquire(t.Context(), scoped("3"))
	assert.ErrorIs(t, err, tokenguard.ErrRateLimited, "it still meters itself")
	s.set(func() { s.down = nil }) // else Close says that what was started is not stored
}

func TestKilledInsideRequestFuncIsChargedButNoFailure(t *testing.T) {
	file := tokenguard.WithStateFile(filepath.Join(t.TempDir(), "state"))
	hang, inside := make(chan struct{}), make(chan struct{})
	u := newUser(t, file)
	u.up.next = []tokenguard.RequestFunc{func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		close(inside)
		<-hang
		return tokenguard.Token{}, errors.New("too late")
	}, nil}
	var group sync.WaitGroup
	group.Go(func() { _, _ = u.Acquire(context.Background(), plain) })
	<-inside
	other := u.open(file)
	assert.Equal(t, 1, other.Stats().Acquisitions.Hour.Used, "charged before the call")
	// The lease is a little longer than the timeout of 30 s; the spacing counts from its end.
	u.clock.move(45 * time.Second)
	_, err := other.Acquire(t.Context(), plain)
	require.ErrorIs(t, err, tokenguard.ErrRateLimited)
	u.clock.move(300 * time.Second)
	grant, err := other.Acquire(t.Context(), plain)
	require.NoError(t, err)
	assert.Equal(t, tokenguard.SourceRequest, grant.Source)
	assert.Zero(t, other.Stats().Limiter.ConsecutiveFailures)
	assert.Equal(t, 2, other.Stats().Acquisitions.Hour.Used)
	close(hang)
	group.Wait()
	assert.Equal(t, 2, other.Stats().Acquisitions.Hour.Used, "a late result frees nothing")
}

func TestEncryptionRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	file := tokenguard.WithStateFile(path)
	u := newUser(t, file, tokenguard.WithEncryption(key(1)))
	token := u.served(acquired, plain).Token
	require.NoError(t, u.Close())
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.NotContains(t, string(data), token.Value())
	rotated, err := u.open(file, tokenguard.WithEncryption(key(2), key(1))).Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, token.Value(), rotated.Value())
	_, err = u.open(file, tokenguard.WithEncryption(key(3))).Token(t.Context())
	assert.ErrorIs(t, err, tokenguard.ErrRateLimited, "a lost key lifts no limit")
}

func TestTokensStayOutOfEveryStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	opts := []tokenguard.Option{tokenguard.WithStateFile(path), tokenguard.WithoutTokenPersistence()}
	u := newUser(t, opts...)
	token := u.served(acquired, plain).Token
	u.served(cached, plain)
	_, err := u.open(opts...).Token(t.Context())
	assert.ErrorIs(t, err, tokenguard.ErrRateLimited)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.NotContains(t, string(data), token.Value())
}

func TestDamagedFileIsSetAsideAndCountsAsFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	file := tokenguard.WithStateFile(path)
	u := newUser(t, file)
	u.served(acquired, plain)
	require.NoError(t, u.Close())
	require.NoError(t, os.WriteFile(path, []byte("damaged"), 0o600))
	_, err := u.open(file).Token(t.Context())
	assert.ErrorIs(t, err, tokenguard.ErrRateLimited)
	files, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	aside := false
	for _, name := range files {
		data, _ := os.ReadFile(name)
		aside = aside || name != path && string(data) == "damaged"
	}
	assert.True(t, aside, "%v", files)
}

func TestSteppingClockFreesNothing(t *testing.T) {
	u := newUser(t)
	u.served(acquired, plain)
	u.clock.move(-48 * time.Hour)
	_, err := u.Acquire(t.Context(), scoped("2"))
	assert.ErrorIs(t, err, tokenguard.ErrRefused)
}

func TestFloodsLeaveNothing(t *testing.T) {
	s := &mapStore{}
	u := newUser(t, onStore(s)...)
	u.served(acquired, plain)
	before := len(s.docs["acceptance"].Data)
	long := strings.Repeat("x", 1000)
	for i := range 300 {
		_, _ = u.Acquire(t.Context(), tokenguard.Request{Scope: fmt.Sprint("scope-", i), Caller: fmt.Sprint(i, long),
			Failure: tokenguard.Failure{StatusCode: 429, Message: fmt.Sprint("insufficient_quota ", i, long)}, Failing: fmt.Sprint("tk", i)})
		require.NoError(t, u.Report(t.Context(), tokenguard.Outcome{TokenID: fmt.Sprint("unknown", i), Failure: unauthorized}))
	}
	assert.InDelta(t, before, len(s.docs["acceptance"].Data), 2000)
	assert.Equal(t, 1, u.up.count())
}

func TestStatsNamesAndSecrets(t *testing.T) {
	var out bytes.Buffer
	var events []tokenguard.Event
	s := &mapStore{}
	u := newUser(t, append(onStore(s), tokenguard.WithLogger(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))),
		tokenguard.WithObserver(func(e tokenguard.Event) { events = append(events, e) }))...)
	token := u.served(acquired, plain).Token
	u.clock.move(time.Minute)
	leaky := unauthorized
	leaky.Message = "invalid token " + token.Value()
	refusal := u.refused(tokenguard.ReasonBackoff, tokenguard.Request{Caller: token.Value(), Failure: leaky, Failing: token.Value()})
	stats, err := json.Marshal(u.Stats())
	require.NoError(t, err)
	told, err := json.Marshal(events)
	require.NoError(t, err)
	require.NotEmpty(t, events)
	type wrapped struct{ secret tokenguard.Token }
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb, token, wrapped{token})
	}
	all := out.String() + string(stats) + string(told) + refusal.Error() + fmt.Sprintf("%+v", refusal.Verdict)
	assert.NotContains(t, all, token.Value())
	assert.Contains(t, all, `"component":"`)

	var got map[string]map[string]any
	top := map[string]json.RawMessage{}
	require.NoError(t, json.Unmarshal(stats, &top))
	got = map[string]map[string]any{}
	for _, part := range []string{"acquisitions", "rate_limit", "calls", "dedup", "cache", "predictor", "store", "recommendation"} {
		fields := map[string]any{}
		require.NoError(t, json.Unmarshal(top[part], &fields), part)
		got[part] = fields
	}
	for part, names := range map[string]string{
		"acquisitions": "hour day attempts successes failures in_progress", "rate_limit": "consecutive_failures next_allowed",
		"calls": "answers filter_rate", "cache": "hit_rate size", "predictor": "level confidence reason accuracy", "recommendation": "action reason priority",
	} {
		for _, name := range strings.Fields(names) {
			assert.Contains(t, got[part], name, part)
		}
	}
	assert.Equal(t, map[string]any{"used": 1.0, "limit": 3.0, "remaining": 2.0}, subset(got["acquisitions"]["hour"], "used", "limit", "remaining"))
	assert.Contains(t, []any{"keep_current", "request_anonymous", "wait"}, got["recommendation"]["action"])
	assert.Contains(t, []any{"low", "medium", "high"}, got["recommendation"]["priority"])
	assert.Len(t, subset(got["predictor"]["accuracy"], "share_right", "brier", "count"), 3)
}

func subset(object any, names ...string) map[string]any {
	out := map[string]any{}
	for _, name := range names {
		if v, ok := object.(map[string]any)[name]; ok {
			out[name] = v
		}
	}
	return out
}

func TestNothingRunsAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails if a goroutine is left, and nobody closes the guard
		up := &origin{lifetime: time.Hour}
		g, err := tokenguard.New(up.request, tokenguard.WithClock(bubbleClock{}))
		require.NoError(t, err)
		_, err = g.Token(t.Context())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = g.Wait(ctx, scoped("other"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
