package main

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// What takes its time in a real state: a lease that ends, a token that is forgotten.
func TestChangesOfTime(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	attempt := func(id string, state tokenguard.AttemptState) tokenguard.Attempt {
		return tokenguard.Attempt{ID: id, Start: at, End: at.Add(time.Minute), State: state}
	}
	before := inspected{Exists: true, At: at, Attempts: []tokenguard.Attempt{attempt("a", tokenguard.AttemptInProgress)},
		Tokens: []inspectedToken{{ID: "tk_old", Scope: "models", State: "expired"}, {ID: "tk_kept", State: "usable"}}}
	after := inspected{Exists: true, At: at.Add(time.Hour),
		Attempts: []tokenguard.Attempt{attempt("a", tokenguard.AttemptKilled), attempt("b", tokenguard.AttemptAdopted)},
		Tokens:   []inspectedToken{{ID: "tk_kept", State: "usable"}}}
	var said []string
	for _, c := range compare(before, after) {
		said = append(said, c.Event+": "+c.Text)
	}
	assert.Equal(t, []string{
		"killed: its process did not come back; it stays charged",
		"adopted: a token that was fetched elsewhere was taken in",
		`forgotten: token tk_old of scope "models" left the state`,
	}, said)
	assert.Empty(t, compare(after, after))
}

// A loss is told once, also when a look meets the file between the loss and the first commit after it.
func TestLossIsToldOnce(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	whole, between, after := inspected{Exists: true, At: at}, inspected{Losses: 1}, inspected{Exists: true, At: at, Losses: 1}
	events := func(looks ...inspected) (said []string) {
		for i := range looks[1:] {
			for _, c := range compare(looks[i], looks[i+1]) {
				said = append(said, c.Text)
			}
		}
		return said
	}
	const lost = "the state was lost or set aside; the hourly limit is treated as used up"
	assert.Equal(t, []string{lost}, events(whole, after, after))
	between.Exists = true
	assert.Equal(t, []string{lost}, events(whole, between, after))
	assert.Equal(t, []string{"the state is gone"}, events(whole, inspected{}))
}

// A server that goes away is told once, and so is that it is back.
func TestWatchOutlivesItsServer(t *testing.T) {
	server := miniredis.RunT(t)
	p := place{name: "good", server: "redis://" + server.Addr() + "/0"}
	require.NoError(t, p.open())
	defer p.close()
	var said []string
	err := watch(t.Context(), &p, 10*time.Millisecond, func(c change) (bool, error) {
		said = append(said, c.Event)
		switch c.Event {
		case "watching":
			server.Close()
		case "readable":
			assert.Equal(t, "the state can be read again", c.Text)
		case "unreadable":
			assert.Contains(t, c.Text, "store")
			require.NoError(t, server.Restart())
		}
		return c.Event != "readable", nil
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"watching", "unreadable", "readable"}, said)
}

// A ban closes the guard and the key of its scope for one reason: each is told once, and that it is over when both are.
func TestTwoClosingsOfOneReason(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	closed := func(hours ...int) (r inspected) {
		r = inspected{Exists: true, At: at}
		for _, n := range hours {
			r.Closed = append(r.Closed, inspectedLimit{Reason: tokenguard.ReasonBackoff, Until: at.Add(time.Duration(n) * time.Hour), Detail: "as a test wants it"})
		}
		return r
	}
	said := func(a, b inspected) (out []string) {
		for _, c := range compare(a, b) {
			out = append(out, c.Event)
		}
		return out
	}
	assert.Equal(t, []string{"closed", "closed"}, said(closed(), closed(1, 1)))
	assert.Empty(t, said(closed(1, 1), closed(1, 1)))
	assert.Empty(t, said(closed(1, 2), closed(1, 2)))
	assert.Equal(t, []string{"closed"}, said(closed(1, 2), closed(1, 4)))
	assert.Empty(t, said(closed(1, 2), closed(2)), "the scope is still closed")
	assert.Equal(t, []string{"open"}, said(closed(1, 2), closed()))
}
