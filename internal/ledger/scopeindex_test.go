package ledger

import (
	"fmt"
	"math/rand/v2"
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
			require.NotContains(t, seen, scope)
			seen[scope] = list
		}
		require.Equal(t, p.model, seen)
		for i := range 100 {
			scope := fmt.Sprint(i)
			require.Equal(t, p.model[scope], p.index.Of(scope))
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
