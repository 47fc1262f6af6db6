package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// An index and its copies are what maps and copies of them would be.
func TestScopeIndexIsAMap(t *testing.T) {
	type pair struct {
		index ScopeIndex
		model map[string][]*Token
	}
	r := rand.New(rand.NewPCG(1, 2))
	same := func(p *pair) {
		seen := map[string][]*Token{}
		for scope, list := range p.index.All() {
			if _, twice := seen[scope]; twice { // what require would say takes a hundred times as long
				t.Fatalf("%s is there twice", scope)
			}
			seen[scope] = list
		}
		require.Equal(t, p.model, seen)
		for i := range 100 {
			scope := fmt.Sprint(i)
			if got := p.index.Of(scope); !slices.Equal(p.model[scope], got) {
				require.Equal(t, p.model[scope], got)
			}
		}
		require.GreaterOrEqual(t, p.index.Most(), len(p.model))
	}
	copied := func(p *pair, without string) *pair {
		c := &pair{p.index.clone(), map[string][]*Token{}}
		for scope, list := range p.model {
			c.model[scope] = list
		}
		if without != "" {
			c.index = p.index.Without(without)
			delete(c.model, without)
		}
		return c
	}
	p := &pair{model: map[string][]*Token{}}
	for range 400 {
		before := p
		p = copied(p, "")
		for range r.IntN(4) {
			scope := fmt.Sprint(r.IntN(100))
			if p.model[scope] = []*Token{{ID: fmt.Sprint(r.Uint32())}}; r.IntN(8) == 0 {
				delete(p.model, scope)
			}
			p.index.set(scope, p.model[scope])
		}
		same(p)
		same(before)
		same(copied(p, fmt.Sprint(r.IntN(100))))
		same(p)
		require.LessOrEqual(t, len(p.index.own), apart+4)
	}
}

// Of one token that came, or took another's place, the index is made anew as if it were of all.
func TestReindexIsIndexOfOneToken(t *testing.T) {
	tokens := func(id string) []*Token {
		return []*Token{
			nil, {ID: id, Kind: Personal}, {ID: id, Kind: Anonymous, Scope: "a", Seq: 1}, {ID: id, Kind: Anonymous, Scope: "a", Seq: 9},
			{ID: id, Kind: Anonymous, Scope: "b", Also: []string{"a", "c"}, Seq: 3, Acquired: 1}, {ID: id, Kind: Anonymous, Scope: "c", Seq: 5},
		}
	}
	for _, old := range tokens("it") {
		for _, r := range tokens("it")[1:] {
			d := New()
			for _, other := range []*Token{{ID: "1", Kind: Anonymous, Scope: "a", Also: []string{"b"}, Seq: 3, Acquired: 2}, {ID: "2", Kind: Anonymous, Scope: "a", Seq: 5}} {
				d.Tokens[other.ID] = other
			}
			if old != nil {
				d.Tokens["it"] = old
			}
			d.Index()
			d.Tokens["it"] = r
			d.reindex(old, "it")
			got := listed(d.ByScope)
			d.Index()
			require.Equal(t, listed(d.ByScope), got, "%+v, %+v", old, r)
		}
	}
}

// What a record takes up is found out once it cannot change any more, and is the same.
func TestSizesOfFrozenRecords(t *testing.T) {
	d := New()
	r := held(d, "a", t0)
	d.ScopeFor("s").Last.Text = "a text"
	token, scope := r.encodedSize(), d.Scopes["s"].encodedSize("s")
	r.Value += "longer"
	d.Scopes["s"].Last.Text += "longer"
	d.Freeze()
	for range 3 {
		require.Equal(t, token+len("longer"), r.encodedSize())
		require.Equal(t, scope+len("longer"), d.Scopes["s"].encodedSize("s"))
	}
	c := d.Clone()
	v, k := c.Edit(r), c.ScopeFor("s")
	v.Value, k.Last.Text = "", ""
	require.Less(t, v.encodedSize(), token)
	require.Less(t, k.encodedSize("s"), scope)
}
