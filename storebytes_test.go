package tokenguard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// roughStore does with the bytes that it is given what it likes, and fails when it is told to.
type roughStore struct {
	Store
	fails bool
}

func (s *roughStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	return s.Store.Update(ctx, name, func(snap Snapshot) ([]byte, error) {
		data, err := fn(snap)
		if s.fails {
			return nil, errors.New("the disk is full")
		}
		out := append([]byte(nil), data...)
		if data == nil {
			out = nil
		}
		clear(data)
		return out, err
	})
}

// A document is made of the bytes of the last one. What a store does with those that it was given does not matter.
func TestAStoreMayModifyTheBytesThatItIsGiven(t *testing.T) {
	store := &roughStore{Store: NewMemoryStore()}
	n := 0
	g, err := New(func(context.Context, Request) (Token, error) {
		n++
		return NewTokenIn(fmt.Sprint("a token of the test ", n), time.Hour), nil
	}, WithStore(store), WithName("n"), WithRateLimits(RateLimits{MaxRequestsPerHour: 100, MaxRequestsPerDay: 100, MinInterval: time.Nanosecond}))
	require.NoError(t, err)
	defer g.Close()
	var last Token
	for i := range 30 {
		grant, err := g.Acquire(t.Context(), Request{Scope: fmt.Sprint("scope ", i)})
		require.NoError(t, err)
		last = grant.Token
	}
	for i := range 5 {
		require.NoError(t, g.Report(t.Context(), Outcome{TokenID: last.ID(), Failure: Failure{StatusCode: 429, Message: "too many requests",
			Header: map[string][]string{"Retry-After": {fmt.Sprint(60 + i)}}}}))
		snap, err := store.View(t.Context(), "n")
		require.NoError(t, err)
		require.True(t, json.Valid(snap.Data), "%q", snap.Data)
	}
}

// A use that a failed commit did not store is stored by the next one.
func TestAUseIsStoredAfterAFailedCommit(t *testing.T) {
	store := &roughStore{Store: NewMemoryStore()}
	g, err := New(func(context.Context, Request) (Token, error) {
		return NewTokenIn("a token of the test", time.Hour), nil
	}, WithStore(store), WithName("n"))
	require.NoError(t, err)
	defer g.Close()
	held, err := g.Token(t.Context())
	require.NoError(t, err)
	used := func() int64 {
		snap, err := store.View(t.Context(), "n")
		require.NoError(t, err)
		var doc struct {
			Tokens map[string]struct{ Used int64 }
		}
		require.NoError(t, json.Unmarshal(snap.Data, &doc))
		return doc.Tokens[held.ID()].Used
	}
	report := func(seconds int) error {
		return g.Report(t.Context(), Outcome{TokenID: held.ID(), Failure: Failure{StatusCode: 429, Message: "too many requests",
			Header: map[string][]string{"Retry-After": {fmt.Sprint(seconds)}}}})
	}
	require.NoError(t, report(60))
	before := used()
	doc := g.cache.table.Load()
	doc.uses[held.ID()].touch(g.meter.Read().Now.Plus(time.Millisecond / 2 * 3))
	at := doc.uses[held.ID()].at.Load()
	require.Greater(t, at, before)
	store.fails = true
	_ = report(90)
	require.Equal(t, before, used())
	store.fails = false
	require.NoError(t, report(120))
	require.Equal(t, at, used())
	require.NoError(t, report(180))
	require.Equal(t, at, used(), "it was noted and stays")
}
