package ledger

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whatever was done to a document and its ancestors, encoded or not, its bytes are those that encoding/json makes of it.
func TestEncodeTakesFromTheLastTextOnlyWhatDidNotChange(t *testing.T) {
	defer func(was func() bool) { CheckForms = was }(CheckForms)
	CheckForms = nil // it would compare, and then write anew
	r := rand.New(rand.NewPCG(1, 2))
	value := func() string { return fmt.Sprintf("%0*d", 1+r.IntN(9), r.IntN(1000)) }
	next, short, moved := 0, 0, 0
	d := New()
	add := func() {
		next++
		id := fmt.Sprintf("%03d %d", r.IntN(1000), next)
		d.Tokens[id] = &Token{ID: id, Kind: Anonymous, Scope: id, Value: value(), Seq: uint64(next)}
		d.Index()
	}
	edit := func() {
		ids := d.sortedIDs()
		d.Edit(d.Tokens[ids[r.IntN(len(ids))]]).Value = value()
	}
	for range 60 {
		add()
	}
	d.Freeze()
	rounds := 1000
	if os.Getenv("TOKENGUARD_LONG") != "" {
		rounds = 3000
	}
	for round := range rounds {
		d = d.Clone()
		for range r.IntN(4) {
			edit()
		}
		switch r.IntN(12) {
		case 0:
			add()
		case 1:
			d.forget(&Policy{}, d.Tokens[slices.Min(d.sortedIDs())])
			d.Index()
			add()
		case 2: // one goes and a published one comes, so that there are as many as before
			gone := d.Tokens[slices.Max(d.sortedIDs())]
			own := *gone
			own.ID, own.Kind, own.form = fmt.Sprint("own ", round), Personal, &form{}
			d.forget(&Policy{}, gone)
			d.Report(&Policy{}, &Report{}, "", &own, 0)
			d.Index()
		case 3: // the same of scopes
			for scope := range d.Scopes {
				delete(d.Scopes, scope)
				break
			}
			d.ScopeFor(fmt.Sprint("scope ", round)).Refusals = round
		case 4:
			d.ScopeFor(fmt.Sprint("further ", r.IntN(20))).Refusals++
		case 5, 6: // the upstream gives a known token again, or a new one
			ids := d.sortedIDs()
			for _, id := range []string{ids[r.IntN(len(ids))], fmt.Sprint("inserted ", round)}[:1+r.IntN(2)] {
				d.Insert(&Policy{Cache: CachePolicy{MaxTokens: 10_000}}, &Token{ID: id, Kind: Anonymous, Scope: id, Value: value(), Seq: uint64(round)})
			}
		}
		if d.text != nil {
			if _, took, err := d.stretches(newEncoder(), nil); took != nil {
				require.NoError(t, err)
				if short++; d.moved {
					moved++
				}
			}
		}
		for range r.IntN(3) { // not at all, as what an unreachable store could not take; and twice, with a change after
			require.Equal(t, plainly(t, d), encodedAs(t, d), "round %d", round)
			if d.text != nil {
				require.Equal(t, slices.Sorted(maps.Keys(d.Tokens)), d.text.ids, "round %d", round)
				require.Len(t, d.text.records, len(d.Tokens))
			}
			if r.IntN(2) == 0 {
				edit()
			}
		}
		d.Freeze()
	}
	require.Equal(t, plainly(t, d), encodedAs(t, d))
	assert.Greater(t, short, rounds/2, "rounds in which most of the text was taken over")
	assert.Greater(t, moved, rounds/10, "where a token had come or gone")
}

// Documents that come from one parent, as the drafts of a commit that is repeated do, note what each of them changed.
func TestDraftsOfOneDocumentNoteTheirOwnChanges(t *testing.T) {
	defer func(was func() bool) { CheckForms = was }(CheckForms)
	CheckForms = nil
	d := New()
	for i := range 100 {
		id := fmt.Sprintf("%03d", i)
		d.Tokens[id] = &Token{ID: id, Kind: Anonymous, Scope: id, Value: "as it was", Seq: uint64(i)}
	}
	d.Index()
	d.Freeze()
	changed := func(d *Document, id string) *Document {
		d = d.Clone()
		d.Edit(d.Tokens[id]).Value = "changed"
		d.Freeze()
		return d
	}
	first := d.Clone()
	encodedAs(t, first) // from here on there is a text to take over
	first.Freeze()
	require.NotNil(t, first.text)
	parent := changed(changed(changed(first, "001"), "002"), "003") // and a list with room for one more
	require.Less(t, len(parent.text.stale), cap(parent.text.stale))
	one, other := changed(parent, "010"), changed(parent, "020")
	for _, d := range []*Document{one, other} {
		require.Equal(t, plainly(t, d), encodedAs(t, d))
	}
}
