package tokenguard

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/replica"
)

// Publishing a revision and handing out its answers happen on many goroutines: none may bring an old table back.
func TestNewestTableStands(t *testing.T) {
	g, _, token := stormGuard(t, WithRateLimits(RateLimits{MaxRequestsPerHour: 1000, MaxRequestsPerDay: 1000}))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				_ = g.Report(context.Background(), Outcome{TokenID: token.ID(), Failure: Failure{StatusCode: 429, Message: quotaText}})
				_ = g.Clear(context.Background(), Clear{Suspicion: "*"})
				_, _ = g.Acquire(context.Background(), Request{Scope: "held"})
			}
		})
	}
	all.Wait()
	require.Same(t, g.replica.Newest(), g.cache.table.Load().rev)
}

// Scopes that lie at one place of the hot table keep their own tokens.
func TestHotScopesKeepApart(t *testing.T) {
	g, err := New(func(_ context.Context, req Request) (Token, error) {
		return NewTokenIn("secret of "+req.Scope, time.Hour), nil
	}, WithRateLimits(RateLimits{MaxRequestsPerHour: 100, MaxRequestsPerDay: 100, MinInterval: time.Nanosecond}))
	require.NoError(t, err)
	defer g.Close()
	scopes := []string{"", "a", "aa", "ba", "ca", "x:pull", "y:pull"}
	for range 3 {
		for _, scope := range scopes {
			grant, err := g.Acquire(t.Context(), Request{Scope: scope})
			require.NoError(t, err)
			require.Equal(t, "secret of "+scope, grant.Token.Value())
		}
	}
	for _, scope := range scopes {
		require.NotNil(t, g.cache.lookup(scope, ""), "scope %q is on the hot path", scope)
		require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = g.Acquire(context.Background(), Request{Scope: scope, Caller: "c"}) }))
	}
	require.Nil(t, g.cache.lookup("da", ""))
	_, err = g.Acquire(t.Context(), Request{Kind: "other"})
	require.ErrorIs(t, err, ErrRequest, "also where a plain request is on the hot path")
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = g.Token(context.Background()) }))
}

// A token that another process acquired is on the hot path once it was handed out.
func TestHotPathTakesInTokensFromElsewhere(t *testing.T) {
	store := NewMemoryStore()
	for i := range 2 {
		g, err := New(func(context.Context, Request) (Token, error) { return NewTokenIn("secret of one", time.Hour), nil },
			WithStore(store), WithName("two"), WithFreshness(time.Hour))
		require.NoError(t, err)
		defer g.Close()
		grant, err := g.Acquire(t.Context(), Request{})
		require.NoError(t, err)
		require.Equal(t, []Source{SourceRequest, SourceShared}[i], grant.Source)
		require.NotNil(t, g.cache.lookup("", ""))
		grant, err = g.Acquire(t.Context(), Request{})
		require.NoError(t, err)
		require.Equal(t, SourceCache, grant.Source)
	}
}

// The personal token is handed out on the hot path, for every scope that it is good for, and what stands in for it says
// why.
func TestHotPersonalToken(t *testing.T) {
	fetched := 0
	source := func(context.Context) (Token, error) {
		fetched++
		return NewTokenIn(fmt.Sprint("personal ", max(fetched, 2)), 2*time.Hour), nil
	}
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = []func(context.Context, Request) (Token, error){gives("anonymous", allDay)}
		scopes := []string{"", "a", "not seen before"}
		for range 2 {
			require.Equal(t, SourcePersonal, r.must(Request{}).Source)
		}
		for _, scope := range scopes {
			require.NotNil(t, r.cache.lookup(scope, ""))
			require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = r.Acquire(t.Context(), Request{Scope: scope}) }))
		}
		_, err := r.Acquire(t.Context(), Request{Scope: "\xff"})
		require.ErrorIs(t, err, ErrRequest)
		s := r.Stats().Calls
		require.Equal(t, s.Served, s.Answers[StepCache][ReasonPersonal])
		require.Zero(t, s.Answers[StepCache][ReasonCached])

		// It is rejected: anonymous ones stand in for an hour, and the verdict says so.
		personal := r.must(Request{}).Token
		time.Sleep(time.Minute)
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: personal.ID(), Failure: unauth}))
		for range 3 {
			grant := r.must(Request{})
			require.Equal(t, "anonymous", grant.Token.Value())
			if grant.Source == SourceCache {
				require.Contains(t, grant.Verdict().Detail, "the personal token is rejected")
			}
		}
		require.NotNil(t, r.cache.lookup("", ""))
		require.Equal(t, 2, fetched, "it may have been replaced, but is the same")
		time.Sleep(time.Hour - time.Nanosecond)
		require.Equal(t, SourceCache, r.must(Request{}).Source)
		time.Sleep(time.Nanosecond)
		require.Nil(t, r.cache.lookup("", ""), "it may be usable again")
		require.Equal(t, "personal 3", r.must(Request{}).Token.Value())

		// It is fetched again when it expires.
		require.Equal(t, SourcePersonal, r.must(Request{}).Source)
		time.Sleep(2*time.Hour - 10*time.Second - time.Nanosecond)
		require.Equal(t, "personal 3", r.must(Request{}).Token.Value())
		time.Sleep(time.Nanosecond)
		require.Nil(t, r.cache.lookup("", ""))
		require.Equal(t, "personal 4", r.must(Request{}).Token.Value())
		require.Equal(t, 1, r.up.count())
	}, WithPersonalToken(source), WithCandidate(Moderate()))
}

// A scope that has anonymous tokens of its own takes no lock to find out that the personal one goes first.
func TestHotPersonalTokenBeforeAnonymousOnes(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		require.NoError(t, r.Adopt(t.Context(), NewTokenIn("anonymous", allDay).WithScope("a")))
		for range 3 {
			require.Equal(t, SourcePersonal, r.must(Request{Scope: "a"}).Source)
		}
		r.cache.mu.Lock()
		defer r.cache.mu.Unlock()
		e := r.cache.lookup("a", "")
		require.NotNil(t, e)
		require.Equal(t, SourcePersonal, e.grant.Source)
	}, WithPersonalToken(func(context.Context) (Token, error) { return NewTokenIn("personal", 2*time.Hour), nil }))
}

// A personal token of one scope says nothing of another.
func TestHotPersonalTokenOfAScope(t *testing.T) {
	source := func(context.Context) (Token, error) {
		return NewTokenIn("personal", time.Hour).WithScope("a"), nil
	}
	bubble(t, func(t *testing.T, r *rig) {
		for range 3 {
			require.Equal(t, "personal", r.must(Request{Scope: "a"}).Token.Value())
			require.Equal(t, "value-1", r.must(Request{Scope: "b"}).Token.Value())
		}
		require.Equal(t, SourcePersonal, r.cache.lookup("a", "").grant.Source)
		require.Contains(t, r.cache.lookup("b", "").grant.Verdict().Detail, "for another scope")
		require.Nil(t, r.cache.lookup("c", ""))
	}, WithPersonalToken(source))
}

// A Grant encodes and prints with its verdict, which is a copy for each caller.
func TestGrantShowsItsVerdict(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		grant := r.must(Request{})
		v := grant.Verdict()
		require.Equal(t, ReasonCached, v.Reason)
		v.Reason = "changed"
		require.Equal(t, ReasonCached, grant.Verdict().Reason)
		require.Equal(t, ReasonCached, r.must(Request{}).Verdict().Reason)
		require.Equal(t, "token(tk_d824fcd276f27520 anonymous expiry=2000-01-02T00:00:00Z) from cache: cached (cache): "+v.Detail, grant.String())
		b, err := json.Marshal(grant)
		require.NoError(t, err)
		require.JSONEq(t, `{"token": {"id": "tk_d824fcd276f27520", "kind": "anonymous", "acquired_at": "2000-01-01T00:00:00Z", "expiry": "2000-01-02T00:00:00Z"}, "source": "cache",
			"verdict": {"step": "cache", "reason": "cached", "answer": "serve", "detail": "token tk_d824fcd276f27520 of 2000-01-01T00:00:00Z",
				"evidence": {"since": "2000-01-01T00:00:00Z", "token_id": "tk_d824fcd276f27520"}}}`, string(b))
		require.Zero(t, Grant{}.Verdict())
	})
}

// Names that differ in one place only, at the front, in the middle and at the end, as those of registries do.
func TestScopesFindEachOther(t *testing.T) {
	for _, n := range []int{0, 1, 2, 5, 100, 5000} {
		s := newScopes(n)
		var entries []*entry
		for i := range n {
			e := &entry{scope: strings.Replace("repository:library/image:pull", []string{"repo", "image", "pull"}[i%3], fmt.Sprint(i), 1)}
			s.add(e)
			entries = append(entries, e)
		}
		require.GreaterOrEqual(t, len(s.slots), 4*n, "at most a quarter full")
		for _, e := range entries {
			require.Same(t, e, s.find(e.scope))
			require.Nil(t, s.find(e.scope+" "))
		}
		require.Nil(t, s.find(""))
	}
}

// Names of each length that differ in one byte, and zero bytes.
func TestShortScopesAreToldApart(t *testing.T) {
	var names []string
	for n := range 35 {
		names = append(names, strings.Repeat("x", n), strings.Repeat("\x00", n+1))
		for at := range n {
			name := []byte(strings.Repeat("x", n))
			name[at] = 'y'
			names = append(names, string(name))
		}
	}
	s, entries := newScopes(len(names)), map[string]*entry{}
	for _, name := range names {
		require.Nil(t, s.find(name), "%q", name)
		entries[name] = &entry{scope: name}
		s.add(entries[name])
	}
	for name, e := range entries {
		require.Same(t, e, s.find(name), "%q", name)
	}
}

// A commit makes no entry anew but of what is asked for, and what is asked for is a hit at once.
func TestEntriesAreMadeWhenAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		g, err := New(func(_ context.Context, req Request) (Token, error) {
			return NewTokenIn("a token of "+req.Scope, time.Hour), nil
		}, WithRateLimits(RateLimits{MaxRequestsPerHour: 100, MaxRequestsPerDay: 100, MinInterval: time.Nanosecond}))
		require.NoError(t, err)
		defer g.Close()
		get := func(scope string) {
			t.Helper()
			grant, err := g.Acquire(ctx, Request{Scope: scope})
			require.NoError(t, err)
			require.Equal(t, "a token of "+scope, grant.Token.Value())
		}
		for i := range 20 {
			time.Sleep(time.Second)
			get(fmt.Sprint(i))
		}
		made := func() (n int) {
			slots := g.cache.table.Load().scopes.slots
			for i := range slots {
				if slots[i].Load() != nil {
					n++
				}
			}
			return n
		}
		_, err = g.replica.Commit(ctx, func(d *replica.Draft) bool { d.Doc.Counts.Starts++; return true })
		require.NoError(t, err)
		assert.Zero(t, made())
		hits := g.Stats().Calls.Answers[StepCache][ReasonCached]
		first := g.cache.lookup("7", "")
		require.NotNil(t, first, "a hit at once")
		assert.Same(t, first, g.cache.lookup("7", ""))
		assert.Equal(t, 1, made())
		assert.Nil(t, g.cache.lookup("none", ""))
		assert.Equal(t, 1, made(), "who asks for what is not there leaves nothing")
		assert.EqualValues(t, hits+2, g.Stats().Calls.Answers[StepCache][ReasonCached])

		// A scope whose token is refused has to ask, each time, and takes one place.
		require.NoError(t, g.Report(ctx, Outcome{TokenID: TokenID("a token of 3"), Failure: unauth}))
		for range 3 {
			assert.Nil(t, g.cache.lookup("3", ""))
		}
		assert.Equal(t, 1, made())
		assert.EqualValues(t, hits+2, g.Stats().Calls.Answers[StepCache][ReasonCached])
		old := g.cache.table.Load()
		get("5")
		g.publish()
		assert.Nil(t, g.cache.first(old, "9"), "nothing is entered in a table that was replaced")
	})
}

// After a restart each scope has a token that the former process acquired. Its first call makes a hit of it, and nothing of
// the others is made anew, unless they share it.
func TestAFirstUseOfAnotherProcesssTokenLeavesTheOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, store := context.Background(), NewMemoryStore()
		process := func() *Guard {
			g, err := New(func(_ context.Context, req Request) (Token, error) {
				if strings.HasPrefix(req.Scope, "shared") {
					return NewTokenIn("a token of several scopes", time.Hour), nil
				}
				return NewTokenIn("a token of "+req.Scope, time.Hour), nil
			}, WithStore(store), WithName("n"), WithRateLimits(RateLimits{MaxRequestsPerHour: 100, MaxRequestsPerDay: 100, MinInterval: time.Nanosecond}))
			require.NoError(t, err)
			return g
		}
		former := process()
		scopes := []string{"a", "b", "c", "shared 1", "shared 2", ""}
		for _, scope := range scopes {
			time.Sleep(time.Second)
			_, err := former.Acquire(ctx, Request{Scope: scope})
			require.NoError(t, err)
		}
		require.NoError(t, former.Close())

		g := process()
		defer g.Close()
		get := func(scope string) Source {
			t.Helper()
			grant, err := g.Acquire(ctx, Request{Scope: scope})
			require.NoError(t, err)
			return grant.Source
		}
		require.Equal(t, SourceShared, get("a"))
		require.NotNil(t, g.cache.lookup("a", ""))
		for _, scope := range scopes[1:] {
			require.Nil(t, g.cache.lookup(scope, ""), "nobody of this process was told of it yet")
		}
		table := g.cache.table.Load()
		for _, scope := range []string{"b", "c"} {
			require.Equal(t, SourceShared, get(scope))
			require.NotNil(t, g.cache.lookup(scope, ""), "%q is a hit from now on", scope)
			require.Equal(t, SourceCache, get(scope))
		}
		require.NotNil(t, g.cache.lookup("a", ""), "and stays one")
		require.True(t, table == g.cache.table.Load(), "the table is not made anew")
		require.Equal(t, SourceShared, get(g.replica.Newest().Doc.Tokens[TokenID("a token of several scopes")].Scope))
		require.NotNil(t, g.cache.lookup("shared 1", ""))
		require.NotNil(t, g.cache.lookup("shared 2", ""), "the same token, which is ours now")
		require.Equal(t, SourceShared, get(""))
		require.NotNil(t, g.cache.lookup("", ""))
	})
}
