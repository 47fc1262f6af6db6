package tokenguard

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Of two scopes of one length the names differ where the scopes do, up to the longest that has one.
func TestNamesTellScopesApart(t *testing.T) {
	for size := range longestName + 1 {
		known, bare := map[name]string{}, strings.Repeat("x", size)
		known[nameOf(bare)] = bare
		for at := range size {
			for _, c := range []byte{0, 1, 'y', 0x80, 0xFF} {
				scope := bare[:at] + string([]byte{c}) + bare[at+1:]
				n := nameOf(scope)
				require.NotContains(t, known, n, "%q", scope)
				known[n] = scope
			}
		}
		for n, scope := range known {
			require.Equal(t, n, nameOf(strings.Clone(scope)))
		}
	}
}

// Scopes of which one is the beginning of another have hashes of their own.
func TestHashesDifferByLength(t *testing.T) {
	for _, c := range []string{"x", "\x00"} {
		seen := map[uint64]int{}
		for size := range 3 * longestName {
			h := hashOf(strings.Repeat(c, size))
			require.NotContains(t, seen, h, "%d bytes as %d", size, seen[h])
			seen[h] = size
		}
	}
}

// Each scope gets its own token from Acquire, whatever its length, and whichever other ones are in its place of the table;
// and each is a hit that is counted once.
func TestEachScopeGetsItsOwnToken(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = nil
		var scopes []string
		for size := 1; size <= 2*longestName; size++ {
			scopes = append(scopes, strings.Repeat("x", size))
			for at := range min(size, 3) {
				scopes = append(scopes, strings.Repeat("x", at)+"y"+strings.Repeat("x", size-at-1))
			}
		}
		tokens := map[string]string{}
		for _, scope := range scopes {
			if _, ok := tokens[scope]; !ok {
				time.Sleep(time.Nanosecond)
				tokens[scope] = r.must(Request{Scope: scope}).Token.Value()
			}
		}
		before := r.Stats().Cache.Hits
		calls := int64(0)
		for range 3 {
			time.Sleep(hotLife)
			for scope, value := range tokens {
				for range 3 {
					calls++
					require.Equal(t, value, r.must(Request{Scope: strings.Clone(scope)}).Token.Value(), "%q", scope)
				}
			}
		}
		assert.Equal(t, before+calls, r.Stats().Cache.Hits)
		assert.Equal(t, len(tokens), r.up.count())
	}, WithRateLimits(RateLimits{MaxRequestsPerHour: 1000, MaxRequestsPerDay: 1000, MinInterval: time.Nanosecond}), WithCache(CacheConfig{MaxTokens: 1000}))
}

// Scopes that a table keeps in one place are told apart, too.
func TestScopesOfOnePlace(t *testing.T) {
	s := newScopes(8)
	var entries []*entry
	for i := 0; len(entries) < 8; i++ {
		scope := fmt.Sprint("scope ", i)
		if hashOf(scope)%uint64(len(s.slots)) == uint64(len(s.slots)-1) { // the next place is the first
			entries = append(entries, &entry{scope: scope})
			s.add(entries[len(entries)-1])
		}
	}
	for _, e := range entries {
		require.Same(t, e, s.find(e.scope))
	}
	again := &entry{scope: entries[3].scope}
	s.add(again)
	require.Same(t, again, s.find(again.scope), "it takes the place of the one that the scope had")
	require.Same(t, entries[4], s.find(entries[4].scope))
}
