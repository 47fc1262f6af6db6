package tokenguard

import (
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/counts"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/striped"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// table is a picture of one revision's tokens, of those that may be handed out without a question. Entries come in as their
// scopes are asked for.
type table struct {
	term   atomic.Pointer[term]
	delta  timeline.Instant // meter instant = delta + monotonic nanoseconds
	scopes scopes           // what a plain request of a scope gets
	plain  *entry           // that of the scope "", without the search
	other  *entry           // the personal token, where it is good for any scope
	byWall timeline.Instant // when the wall clock ends the personal token that is in it; 0: never
	uses   map[string]*lastUse
	rev    *replica.Revision
}

// entry is a grant that is ready to be handed out.
type entry struct {
	name                                 // from here to barred is what a hit looks at, in one cache line
	hits atomic.Pointer[striped.Counter] // counts them
	loan
	barred bool // some operation is to have another token, or none: a named caller has to ask
	sort   counts.Sort

	grant Grant
	scope string
	until timeline.Instant // then it needs a decision again
	use   *lastUse
}

// newTableLocked begins the table of a revision, carrying the uses over. foreign reports whether a token is from another
// process. c.mu is held. mono was read before now, so that no token seems to last longer than it does.
func (c *tokenCache) newTableLocked(rev *replica.Revision, mono time.Duration, now timeline.Instant, foreign func(*ledger.Token) bool) *table {
	t := &table{delta: now - timeline.Instant(mono), scopes: newScopes(min(rev.Doc.ByScope.Most(), firstScopes) + 1), rev: rev}
	old := c.table.Load()
	if old != nil && old.rev.SameSecrets(rev) {
		t.uses = old.uses
		return t
	}
	t.uses = make(map[string]*lastUse, len(rev.Secrets))
	for id := range rev.Secrets {
		if old != nil && old.uses[id] != nil {
			if t.uses[id] = old.uses[id]; old.rev.Epoch != rev.Epoch { // an older document came back, which may not have it
				t.uses[id].noted.Store(-1)
			}
			continue
		}
		rec, u := rev.Doc.Tokens[id], &lastUse{}
		u.at.Store(int64(rec.Used))
		u.foreign.Store(foreign(rec))
		t.uses[id] = u
	}
	return t
}

// roomyLocked is the current table, with room for one more scope. Most scopes of thousands are not asked for between one
// commit and the next, and to make places for all of them would be much of what a commit takes. c.mu is held.
func (c *tokenCache) roomyLocked(t *table) *table {
	if 4*(t.scopes.used+1) <= len(t.scopes.slots) {
		return t
	}
	larger := &table{delta: t.delta, scopes: newScopes(2 * t.scopes.used), plain: t.plain, other: t.other, byWall: t.byWall, uses: t.uses, rev: t.rev}
	larger.term.Store(t.term.Load())
	for i := range t.scopes.slots {
		if e := t.scopes.slots[i].Load(); e != nil {
			larger.scopes.add(e)
		}
	}
	c.table.Store(larger)
	return larger
}

// add enters an entry into a table, and has its hits counted for its scope.
func (c *tokenCache) add(t *table, e *entry) {
	e.hits.Store(c.usage.scope(e.scope).Hits(e.sort))
	t.add(e)
}

// addPersonal enters the personal token, if there is one that serves. One that is good for any scope has the hits of those
// without a token of their own counted with the others.
func (c *tokenCache) addPersonal(t *table, in *inputs, now timeline.Instant) {
	byWall := in.personal.endsByWall() // first: a token that comes in between has the table made again
	e := in.personalEntry(t, now)
	if e == nil {
		return
	}
	t.byWall = byWall
	c.add(t, e)
	if e.scope == "" {
		if t.other = in.personalEntry(t, now); t.other != nil {
			t.other.ends = e.ends
			t.other.hits.Store(c.usage.others.Hits(e.sort))
		}
	}
}

// displaced has the hits of a scope that lost its place counted with the others, until its next table. One whose table is
// just being made may count for the place's new name in that table.
func (c *tokenCache) displaced(scope string, place *counts.Place) {
	t := c.table.Load()
	if t == nil {
		return
	}
	e := t.plain
	if scope != "" {
		e = t.scopes.find(scope)
	}
	if e != nil {
		e.hits.CompareAndSwap(place.Hits(e.sort), c.usage.others.Hits(e.sort))
	}
}

func (t *table) add(e *entry) {
	if len(e.scope) <= longestName {
		e.name = nameOf(e.scope)
	}
	e.ends = int64(e.until - t.delta)
	if e.scope == "" {
		t.plain = e
	} else {
		t.scopes.add(e)
	}
}
