package ledger

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

func TestInsertAKnownToken(t *testing.T) {
	d := New()
	old := held(d, "a", in(-Hour))
	held(d, "b", in(-Hour))
	d.heard(refusal("op", in(-minute)), success("x", in(-minute)))
	old.Uses, old.FreshRefusals, old.Rejected = 4, 1, 5
	d.Insert(rules(), &Token{ID: "a", Kind: Anonymous, Scope: "other", Acquired: t0, Value: "v", Seq: 9})
	r := d.Tokens["a"]
	assert.True(t, r.By("op").Refuses(t0))
	assert.Equal(t, 4, r.Uses)
	assert.Equal(t, 1, r.FreshRefusals)
	assert.Equal(t, timeline.Instant(5), r.Rejected)
	assert.True(t, r.Succeeded)
	assert.Equal(t, uint64(9), r.Seq)
	assert.Same(t, r, d.Newest("s"), "it is the newest of both scopes")
	assert.Same(t, r, d.Newest("other"))
	assert.True(t, r.Serves("s") && r.Serves("other") && !r.Serves("third"))
	d.Insert(rules(), &Token{ID: "a", Kind: Anonymous, Scope: "s", Acquired: t0, Value: "v", Seq: 3})
	assert.Equal(t, uint64(9), d.Tokens["a"].Seq)
}

func TestInsertBoundsWhatOneTokenServes(t *testing.T) {
	d := New()
	for i := range 40 {
		d.Insert(rules(), &Token{ID: "a", Kind: Anonymous, Scope: fmt.Sprint(i), Acquired: t0, Value: "v"})
	}
	assert.Len(t, d.Tokens["a"].Also, 16)
}

func TestEvict(t *testing.T) {
	d := New()
	for i := range 4 {
		r := held(d, fmt.Sprint(i), t0)
		r.Used = in(-time.Duration(i) * minute)
	}
	d.Insert(rules(), &Token{ID: "new", Kind: Anonymous, Scope: "s", Acquired: t0, Used: in(minute), Value: "v", Seq: 9})
	assert.True(t, d.Tokens["new"].HasValue() && d.Tokens["0"].HasValue() && d.Tokens["1"].HasValue())
	assert.False(t, d.Tokens["2"].HasValue())
	assert.Contains(t, d.Tokens, "3", "what was evicted stays known")
	assert.False(t, d.Tokens["3"].HasValue())
}

func TestEvictBoundsBytes(t *testing.T) {
	d := New()
	policy := rules()
	for i := range 3 {
		r := held(d, fmt.Sprint(i), t0)
		r.Value = strings.Repeat("v", 600<<10)
		d.evict(policy)
	}
	assert.True(t, d.Tokens["2"].HasValue() && d.Tokens["1"].HasValue())
	assert.False(t, d.Tokens["0"].HasValue())
	d.Tokens["2"].Value = strings.Repeat("v", 4<<20)
	d.evict(policy)
	assert.True(t, d.Tokens["2"].HasValue(), "the one in use stays, whatever its size")
	assert.False(t, d.Tokens["1"].HasValue())
}

func TestSweep(t *testing.T) {
	sweep := func(change func(*Document, *Token), now time.Duration) (*Token, bool) {
		d := New()
		r := held(d, "a", in(-Day)) // it ends at t0
		next := held(d, "next", in(-Hour))
		next.Expiry = in(30 * Day)
		change(d, r)
		d.Index()
		d.sweepTokens(rules(), in(now))
		r, ok := d.Tokens["a"]
		return r, ok
	}
	nothing := func(*Document, *Token) {}
	r, ok := sweep(nothing, -1)
	assert.True(t, ok && r.HasValue())
	dropped := func(_ *Document, r *Token) { r.DropValue() }
	_, ok = sweep(dropped, 0)
	assert.False(t, ok)
	_, ok = sweep(nothing, 0)
	assert.False(t, ok, "its value goes, and nothing is left to remember")

	worked := func(d *Document, r *Token) { r.DropValue(); d.heard(success("op", in(-minute))) }
	_, ok = sweep(worked, 59*minute-1)
	assert.True(t, ok, "that others succeed counts for an hour")
	_, ok = sweep(worked, 59*minute)
	assert.False(t, ok)

	refused := func(d *Document, r *Token) { r.DropValue(); d.heard(refusal("op", in(-minute))) }
	_, ok = sweep(refused, 7*Day-minute-1)
	assert.True(t, ok, "a rejection outlives its token by a week")
	_, ok = sweep(refused, 7*Day-minute)
	assert.False(t, ok)

	last := func(d *Document, r *Token) { r.DropValue(); delete(d.Tokens, "next") }
	_, ok = sweep(last, Hour-1)
	assert.True(t, ok, "its scope is in use for an hour")
	_, ok = sweep(last, Hour)
	assert.False(t, ok)

	newest := func(d *Document, r *Token) { r.DropValue(); r.Seq = 9 }
	_, ok = sweep(newest, 2*Day)
	assert.True(t, ok, "without it the rules would speak of an older one that lasts longer")
}

func TestSweepBoundsTombstones(t *testing.T) {
	d := New()
	for i := range 600 {
		held(d, fmt.Sprint(i), in(time.Duration(i)*second)).DropValue()
	}
	d.sweepTokens(rules(), in(Hour))
	assert.Len(t, d.Tokens, 512)
	assert.Contains(t, d.Tokens, "599")
	assert.NotContains(t, d.Tokens, "0")
}

func TestATokenThatServedEndsTheRowBeforeIt(t *testing.T) {
	sweep := func(change func(*Token)) *Scope {
		d := New()
		r := held(d, "a", in(-Day)) // it ends at t0
		r.Used = in(-Hour)
		held(d, "next", in(-Hour)).Expiry = in(30 * Day)
		d.ScopeFor(r.Scope)
		change(r)
		d.Index()
		d.sweepTokens(rules(), t0)
		return d.Scope(r.Scope)
	}
	assert.Equal(t, in(-Day), sweep(func(*Token) {}).Lifted)
	assert.Zero(t, sweep(func(r *Token) { r.FreshRefusals = 1 }).Lifted, "it was refused while it was fresh")
	assert.Zero(t, sweep(func(r *Token) { r.Used = in(-Day + 5*minute) }).Lifted, "nobody asked for it beyond its fresh time")
}
