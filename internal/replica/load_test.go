package replica

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/secrets"
)

// Whatever comes, changes and goes in commits: this process then has the values that one which reads the store has.
func TestValuesFollowTheTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		r := open(t, s)
		id := func(value string) string { return secrets.ID(value) }
		held := func(d *Draft, value string) {
			rec := &ledger.Token{ID: id(value), Kind: ledger.Anonymous, Scope: value, Acquired: d.At.Now, Used: d.At.Now, Value: value}
			d.Doc.Insert(d.policyOfTests(), rec)
		}
		sealed := &ledger.Token{ID: "tk_0123456789abcdef", Kind: ledger.Anonymous, Scope: "sealed", Sealed: []byte("with the key of another")}
		steps := []struct {
			name       string
			change     func(d *Draft)
			have       []string
			unreadable []string
			same       bool
		}{
			{name: "the first", change: func(d *Draft) { held(d, "a") }, have: []string{"a"}},
			{name: "two more", change: func(d *Draft) { held(d, "b"); held(d, "c") }, have: []string{"a", "b", "c"}},
			{name: "a use", change: func(d *Draft) { d.Doc.Edit(d.Doc.Tokens[id("a")]).Uses++ }, have: []string{"a", "b", "c"}, same: true},
			{name: "one loses its value and one comes", change: func(d *Draft) { d.Doc.Edit(d.Doc.Tokens[id("a")]).DropValue(); held(d, "d") }, have: []string{"b", "c", "d"}},
			{name: "its value comes again", change: func(d *Draft) { held(d, "a") }, have: []string{"a", "b", "c", "d"}},
			{name: "one goes", change: func(d *Draft) { delete(d.Doc.Tokens, id("b")); d.Doc.Index() }, have: []string{"a", "c", "d"}},
			{name: "one that cannot be read", change: func(d *Draft) { own := *sealed; own.Acquired = d.At.Now; d.Doc.Insert(d.policyOfTests(), &own) }, have: []string{"a", "c", "d"}, unreadable: []string{sealed.ID}},
			{name: "one beside it", change: func(d *Draft) { held(d, "e") }, have: []string{"a", "c", "d", "e"}, unreadable: []string{sealed.ID}},
		}
		for _, step := range steps {
			before := r.Newest()
			var known map[string]*secrets.Secret
			if before != nil {
				known = maps.Clone(before.Secrets)
			}
			_, err := r.Commit(t.Context(), func(d *Draft) bool { step.change(d); return true })
			require.NoError(t, err)
			rev := r.Newest()
			other := open(t, s)
			require.NoError(t, other.Reread(t.Context()))
			for _, of := range []*Revision{rev, other.Newest()} {
				var got []string
				for id, s := range of.Secrets {
					require.Equal(t, s.ID, id)
					got = append(got, s.Value)
				}
				slices.Sort(got)
				assert.Equal(t, step.have, got, step.name)
				assert.Equal(t, step.unreadable, slices.Sorted(maps.Keys(of.Unreadable)), step.name)
			}
			if before != nil {
				assert.Equal(t, known, before.Secrets, "%s: what was published stays", step.name)
				assert.Equal(t, step.same, rev.SameSecrets(before), step.name)
			}
		}
	})
}

func (d *Draft) policyOfTests() *ledger.Policy {
	return &ledger.Policy{Cache: ledger.CachePolicy{MaxTokens: 10}}
}
