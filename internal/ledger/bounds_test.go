package ledger

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Tests allocate much and keep little: collecting less often saves a third of what they cost.
func init() { debug.SetGCPercent(400) }

// What a store takes, in bytes.
const mostOfAStore = 4 << 20

// Folding changes no window of a guard on the document, and closes those of a looser one that comes later at least as
// long. The model is a plain list of ends.
func TestFoldingFreesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 3 {
		d, policy := New(), rules()
		peer := LimitPolicy{MaxRequestsPerHour: 7, MaxRequestsPerDay: 30}
		var ends []timeline.Instant
		var own []Attempt
		now := t0
		for i := range 200 {
			now += timeline.Instant(random.Int64N(int64(20 * time.Minute)))
			if random.IntN(8) == 0 {
				a := d.Charge(policy, &Start{ID: fmt.Sprint("own", i), Scope: "s"}, now)
				d.Complete(policy, &Completion{Attempt: a, End: now, Failed: Streak{Class: "transient"}})
				own = append(own, a)
			} else {
				id := fmt.Sprint("adopted", i)
				require.True(t, d.Adopt(policy, &Token{ID: id, Kind: Anonymous, Scope: id, Acquired: now, Value: "v"}, id, "", now))
			}
			ends = append(ends, now)
			d.NotePeer(peer, now)
			d.Prune(policy, now)
			for _, a := range own {
				kept := slices.ContainsFunc(d.Attempts, func(b Attempt) bool { return a.ID == b.ID })
				require.True(t, kept || a.Start <= now-timeline.Instant(Day), "its process would charge it again")
			}
			for _, length := range []time.Duration{Hour, Day} {
				var within []timeline.Instant
				for _, end := range ends {
					if end > now-timeline.Instant(length) {
						within = append(within, end)
					}
				}
				slices.Sort(within)
				for _, n := range []int{1, 5, 20, 30} {
					count, nth := d.Ended(now-timeline.Instant(length), n)
					want := timeline.Instant(0)
					if len(within) >= n {
						want = within[len(within)-n]
					}
					require.Equal(t, want, nth, "the %d-th of %d", n, len(within))
					require.GreaterOrEqual(t, count, min(n, len(within)))
				}
				for _, n := range []int{31, 60, 100} {
					if _, nth := d.Ended(now-timeline.Instant(length), n); len(within) >= n {
						require.GreaterOrEqual(t, nth, within[len(within)-n], "a looser guard opens no sooner")
					}
				}
			}
		}
		require.NotEmpty(t, d.Folded)
		again, err := Decode(must(d.Encode()))
		require.NoError(t, err)
		require.Equal(t, d.Folded, again.Folded)
	}
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}

func TestAdoptionsStayBounded(t *testing.T) {
	d, policy := New(), rules()
	for i := range 3000 {
		id, now := fmt.Sprint("adopted", i), in(time.Duration(i)*time.Second)
		d.Adopt(policy, &Token{ID: id, Kind: Anonymous, Scope: "s", Acquired: now, Value: "v"}, id, "", now)
		d.NotePeer(policy.RateLimit, now)
		if i%10 == 9 {
			d.Prune(policy, now)
		}
		require.Equal(t, len(d.Folded) > 0, d.Version == secondVersion)
	}
	data := must(d.Encode())
	assert.Less(t, len(data), 256<<10)
	assert.Len(t, d.Attempts, 20)
	assert.Equal(t, secondVersion, d.Version, "an older program would drop the counts")
	count, _ := d.Ended(in(0)-1, 20)
	assert.Equal(t, 3000, count)
	d.Prune(policy, in(3000*time.Second).Plus(Day))
	assert.Empty(t, d.Folded, "a day later they count no more")
}

// However badly JSON takes what callers hand in, a document stays one that a store takes.
func TestDocumentsStaySmall(t *testing.T) {
	for name, unit := range map[string]string{"markup": "<", "control": "\x01", "quotes": `"`, "separators": "\u2028", "no text": "\xff", "letters": "a"} {
		t.Run(name, func(t *testing.T) {
			d, policy := New(), rules()
			policy.Cache.MaxTokens = 10000
			for i := range 24 {
				now := in(time.Duration(i) * time.Minute)
				r := &Token{ID: fmt.Sprint("t", i), Kind: Anonymous, Scope: ScopeKey(strings.Repeat(unit, 500) + fmt.Sprint(i)), Acquired: now, Used: now}
				r.SetValue(strings.Repeat(unit, 64<<10/len(unit)))
				d.Adopt(policy, r, r.ID, "", now)
				for j := range 10 {
					p := limited(strings.Repeat(unit, 64/len(unit))+fmt.Sprint(j), now, now.Plus(10*Hour))
					for k := range 11 {
						d.Report(policy, p, ScopeKey(fmt.Sprint(i, k)+strings.Repeat(unit, 500)), nil, now)
					}
				}
				d.Prune(policy, now)
			}
			assert.Greater(t, len(d.Scopes), 50)
			held := 0
			for _, r := range d.Tokens {
				if r.HasValue() {
					held++
				}
			}
			assert.GreaterOrEqual(t, held, 12, "tokens of 64 KB that are kept")
			data := must(d.Encode())
			assert.Less(t, len(data), mostOfAStore/2)
			again, err := Decode(data)
			require.NoError(t, err)
			for id, r := range d.Tokens {
				assert.Equal(t, r.Plain(), again.Tokens[id].Plain())
			}
		})
	}
	t.Run("small tokens", func(t *testing.T) {
		d, policy := New(), rules()
		policy.Cache.MaxTokens = 10000
		for i := range 10000 {
			r := &Token{ID: fmt.Sprintf("tk_%016d", i), Kind: Anonymous, Scope: fmt.Sprint("scope ", i), Acquired: t0, Used: t0, Seq: uint64(i), Value: "v"}
			d.Tokens[r.ID] = r
		}
		d.Index()
		d.evict(policy)
		d.Prune(policy, in(Hour/2))
		assert.Less(t, len(must(d.Encode())), mostOfAStore/2)
	})
}

func TestEncodedLen(t *testing.T) {
	for _, s := range []string{"", "plain", "<>&", "\"\\\b\f\n\r\t", "\x00\x1f\x7f", "héllo, 世界", "\u2028\u2029", "\xff\xc3", "\ufffd"} {
		d := New()
		d.Epoch = s
		without := New()
		without.Epoch = "x"
		assert.Equal(t, len(must(d.Encode())), len(must(without.Encode()))-1+encodedLen(s)-emptied(s), "%q", s)
	}
}

// emptied is what a field that is left out saves.
func emptied(s string) int {
	if s != "" {
		return 0
	}
	return len(`"epoch":"",`)
}

func TestScopeKey(t *testing.T) {
	long := strings.Repeat("scope of a long name/", 20)
	for _, scope := range []string{"", "s", "repository:library/busybox:pull", strings.Repeat("a", maxScope)} {
		assert.Equal(t, scope, ScopeKey(scope))
	}
	seen := map[string]string{}
	for _, scope := range []string{long, long + "x", strings.Repeat("a", maxScope+1), strings.Repeat("\x01", 100), strings.Repeat("世", 100), ScopeKey(long), ScopeKey(ScopeKey(long))} {
		key := ScopeKey(scope)
		assert.NotEqual(t, scope, key)
		assert.True(t, IsHashed(key))
		assert.LessOrEqual(t, encodedLen(key), maxScope)
		assert.Equal(t, key, ScopeKey(scope))
		assert.Empty(t, seen[key], "%q has the key of another", scope)
		seen[key] = scope
	}
	for _, scope := range []string{"~" + strings.Repeat("0", 31), "x" + strings.Repeat("0", 32), "~" + strings.Repeat("G", 32)} {
		assert.False(t, IsHashed(scope), scope)
	}
}

// A document that was written with whole names is found again under the keys.
func TestLongScopesOfOldDocuments(t *testing.T) {
	long := strings.Repeat("scope of a long name/", 20)
	d := New()
	d.Charge(rules(), &Start{ID: "a", Scope: long, Class: "transient"}, t0)
	held(d, "t", t0).Scope = long
	d.Tokens["t"].Also = []string{long + "also"}
	d.ScopeFor(long).Pause = Pause{From: t0, Until: in(Hour)}
	again, err := Decode(must(json.Marshal(d)))
	require.NoError(t, err)
	key := ScopeKey(long)
	assert.Equal(t, "t", again.Newest(key).ID)
	assert.Equal(t, "t", again.Newest(ScopeKey(long+"also")).ID)
	assert.Equal(t, in(Hour), again.Scope(key).Pause.Until)
	assert.Equal(t, key, again.Attempts[0].Scope)
	assert.Equal(t, key, again.Triggers[0].Scope)
	require.NoError(t, err)
	same, err := Decode(must(again.Encode()))
	require.NoError(t, err)
	assert.Equal(t, again, same)
}

// What a state was lost and found with counts once for each hour.
func TestMergeOfFolds(t *testing.T) {
	d, known := New(), New()
	d.fold(Fold{in(0), 3})
	known.fold(Fold{in(0), 5})
	known.fold(Fold{in(-2 * Hour), 2})
	assert.True(t, d.merge(known))
	count, _ := d.Ended(in(-Day), 1)
	assert.Equal(t, 7, count)
	assert.False(t, d.merge(known))
	d.ClampFuture(in(-60 * Hour))
	assert.Equal(t, in(-60*Hour), d.Folded[len(d.Folded)-1].End)
}

// Of accounts that are adopted without end, those that were used last are kept.
func TestIdentitiesStayBounded(t *testing.T) {
	d, policy := New(), rules()
	for i := range 100 {
		id, now := fmt.Sprint("t", i), in(time.Duration(i)*time.Second)
		d.Adopt(policy, &Token{ID: id, Kind: Anonymous, Scope: "s", Acquired: now, Used: now, Value: "v",
			Parts: Parts{Plain: make([]byte, 64<<10)}, Identity: &Identity{ID: id, Hash: id, Since: now}}, id, "", now)
	}
	d.Prune(policy, in(Hour/2))
	assert.Less(t, len(must(d.Encode())), mostOfAStore/2)
	assert.True(t, d.Tokens["t99"].HasValue())
	assert.True(t, d.Tokens["t90"].Living(in(Hour/2)) && !d.Tokens["t90"].HasValue(), "beyond the number of values, an account stays renewable")
	assert.Nil(t, d.Tokens["t0"].Identity)
	assert.Contains(t, d.Tokens, "t0")
}

// An attempt that ended just then did not end after it.
func TestEndedCountsFromAnInstant(t *testing.T) {
	d := New()
	for i := range 3 {
		d.Charged(Attempt{ID: fmt.Sprint(i), Start: in(time.Duration(i) * minute), End: in(time.Duration(i) * minute), Landed: true})
	}
	for after, want := range map[time.Duration]int{-1: 3, 0: 2, minute - 1: 2, minute: 1, 2 * minute: 0} {
		count, _ := d.Ended(in(after), 3)
		assert.Equal(t, want, count, after)
	}
}
