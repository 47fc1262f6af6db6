package tokenguard

import (
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// The hot path: most calls find a usable token with an atomic load, a reading of Go's monotonic clock and a compare.
//
// What it promises: a table is good for at most hotLife of Go's monotonic clock after somebody took the long way, looked
// at the wall and boot clocks, and, where others may write to the store, at its revision. In that time a token is not
// handed out past its expiry as the monotonic clock counts. The monotonic clock stands still while a machine is
// suspended: after a resume a token that expired meanwhile may still be handed out, and a gate that opened meanwhile may
// still refuse (storm.go), for what is left of hotLife. With a clock of the user's every call takes the long way.
//
// A hit takes no lock, allocates nothing and writes nothing that another core reads, but for the order of use, once in
// usedStep.

// hotLife is how long the hot path trusts its table without the long way.
const hotLife = time.Second

// usedStep is the resolution of the order of use: a hit stores its instant only that long after the last one.
const usedStep = time.Millisecond

type hotPath struct {
	table atomic.Pointer[hotTable]
	base  time.Time // of the monotonic readings

	cached, personal striped // hits

	mu   sync.Mutex       // serialises rebuilding; guards what follows
	last timeline.Instant // newest use on the long way, to order uses within one instant
}

// hotTable is an immutable picture of the tokens that may be handed out without a question.
type hotTable struct {
	valid  atomic.Int64         // monotonic nanoseconds until which the table is good
	delta  timeline.Instant     // meter instant = delta + monotonic nanoseconds
	scopes map[string]*hotEntry // what a plain request of the scope gets
	plain  *hotEntry            // scopes[""], without the map
	near   [nearby]*hotEntry    // most of scopes, for less than a map costs
	other  *hotEntry            // the personal token, where it is good for any scope
	byID   map[string]*hotUse
	state  *replica.Revision
}

const nearby = 64

// nearAt is where a scope lies in near: its length and last byte tell most scopes of one program apart.
func nearAt(scope string) uint { return (uint(len(scope))*8 ^ uint(scope[len(scope)-1])) % nearby }

// hotEntry is a grant that is ready to be handed out.
type hotEntry struct {
	scope string
	grant Grant
	until int64 // monotonic nanoseconds
	use   *hotUse
	hits  *striped
}

// hotUse follows a token through the tables.
type hotUse struct {
	last    atomic.Int64 // meter instant of the last use
	foreign atomic.Bool  // from elsewhere, and not handed out yet
}

// lookup returns the entry for a plain request of the scope, if there is no reason to look further.
func (h *hotPath) lookup(scope string) *hotEntry {
	t := h.table.Load()
	if t == nil {
		return nil
	}
	e := t.plain
	if scope != "" {
		if e = t.near[nearAt(scope)]; e == nil || e.scope != scope {
			if e = t.scopes[scope]; e == nil && t.other != nil && len(scope) <= maxScope && utf8.ValidString(scope) {
				e = t.other
			}
		}
	}
	if e == nil {
		return nil
	}
	now := int64(time.Since(h.base))
	if now >= t.valid.Load() || now >= e.until {
		return nil
	}
	e.use.touch(t.delta + timeline.Instant(now))
	e.hits.add()
	return e
}

// use notes that a token was handed out on the long way, and reports whether it is from elsewhere and went out for the
// first time.
func (h *hotPath) use(id string, now timeline.Instant) (first bool) {
	t := h.table.Load()
	if t == nil || t.byID[id] == nil {
		return false
	}
	h.mu.Lock()
	h.last = max(now, h.last+1)
	t.byID[id].last.Store(int64(h.last))
	h.mu.Unlock()
	return t.byID[id].foreign.CompareAndSwap(true, false)
}

// stamp carries the uses into the document.
func (h *hotPath) stamp(d *ledger.Document, now timeline.Instant) {
	t := h.table.Load()
	if t == nil {
		return
	}
	for id, u := range t.byID {
		if r := d.Tokens[id]; r != nil {
			r.Used = max(r.Used, min(timeline.Instant(u.last.Load()), now.Plus(time.Second)))
		}
	}
}

// clear empties the hot path for good, once the guard is closed.
func (h *hotPath) clear() {
	h.mu.Lock()
	h.table.Store(nil)
	h.mu.Unlock()
}

// extend declares the table good for a while, after the long way came to the same answer.
func (h *hotPath) extend(st *replica.Revision, until time.Duration) {
	if t := h.table.Load(); t != nil && t.state == st {
		t.valid.Store(int64(until))
	}
}

// trustedUntil is how long the hot path may trust what is known now.
func (g *Guard) trustedUntil() time.Duration {
	if g.opt.clock != nil || g.replica.Shared() && g.opt.freshness == 0 {
		return 0 // each call takes the slow path
	}
	return min(g.meter.Mono()+hotLife, g.replica.FreshUntil())
}

// rebuild makes the table for the newest state, whichever of those who published one comes last.
func (g *Guard) rebuild() {
	h := &g.hot
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.table.Load()
	st, mono := g.replica.Newest(), int64(g.meter.Mono())
	if st == nil || g.isClosed() {
		return
	}
	r := g.meter.Read() // later than mono, so that no token seems to last longer than it does
	t := &hotTable{delta: r.Now - timeline.Instant(mono), scopes: map[string]*hotEntry{}, byID: make(map[string]*hotUse, len(st.Secrets)), state: st}
	fresh := false
	for id := range st.Secrets {
		if old != nil && old.byID[id] != nil {
			t.byID[id] = old.byID[id]
			continue
		}
		fresh = true
		u := &hotUse{}
		rec := st.Doc.Tokens[id]
		u.last.Store(int64(rec.Used))
		u.foreign.Store(!g.acquiredHere(st.Doc, rec))
		t.byID[id] = u
	}
	t.valid.Store(int64(g.trustedUntil()))
	if g.opt.clock == nil {
		for scope := range st.Doc.ByScope {
			g.heat(t, scope, r)
		}
		if g.personal != nil {
			g.heatPersonal(t, r)
		}
		t.plain = t.scopes[""]
	}
	h.table.Store(t)
	if fresh { // texts that were read before may hold its value
		g.masks.Purge()
		g.templates.Purge()
	}
}

// heat puts the scope's token into the table, if a plain request gets it without a question.
func (g *Guard) heat(t *hotTable, scope string, r timeline.Reading) {
	q := &decide.Request{Kind: ledger.Anonymous, Scope: scope}
	until := timeline.Never
	if g.personal != nil {
		pv, due := g.personal.view(g.opt, t.state.Doc, scope, r.Now)
		if due || pv.Usable {
			return
		}
		if pv.Again > r.Now {
			until = pv.Again
		}
		q.Personal = pv
	}
	v := g.viewOn(q, t.state, r.Now)
	rec := v.Pick(r.Now)
	if rec == nil {
		return
	}
	use := t.byID[rec.ID]
	token, _ := tokenIn(t.state, rec.ID)
	if until = min(until, v.Policy.RefreshAt(rec)); until > r.Now && !use.foreign.Load() {
		t.add(&hotEntry{
			scope: scope,
			grant: Grant{Token: token, Source: SourceCache, Verdict: verdictOf(v, v.ServedBy(rec), r, 0)},
			until: int64(until - t.delta), use: use, hits: &g.hot.cached,
		})
	}
}

func (t *hotTable) add(e *hotEntry) {
	t.scopes[e.scope] = e
	if e.scope != "" {
		t.near[nearAt(e.scope)] = e
	}
}

// heatPersonal puts the personal token into the table, for the scopes that it is good for.
func (g *Guard) heatPersonal(t *hotTable, r timeline.Reading) {
	token := g.personal.current()
	pv, due := g.personal.view(g.opt, t.state.Doc, token.Scope, r.Now)
	if due || !pv.Usable || pv.ID != token.ID() { // replaced in between: whoever fetched it rebuilds
		return
	}
	v := g.viewOn(&decide.Request{Kind: ledger.Anonymous, Scope: token.Scope, Personal: pv}, t.state, r.Now)
	e := &hotEntry{
		scope: token.Scope,
		grant: Grant{Token: token, Source: SourcePersonal, Verdict: verdictOf(v, v.Decide(r.Now), r, 0)},
		until: int64(pv.Until - t.delta), use: new(hotUse), hits: &g.hot.personal,
	}
	t.add(e)
	if token.Scope == "" {
		t.other = e
	}
}

// acquiredHere reports whether this guard brought the token, as far as the document still knows.
func (g *Guard) acquiredHere(d *ledger.Document, r *ledger.Token) bool {
	for i := range d.Attempts {
		if d.Attempts[i].Seq == r.Seq {
			return d.Attempts[i].Owner == g.owner
		}
	}
	return false
}

// striped is a counter that many cores can add to without waiting for each other: goroutines that run at the same time
// have stacks of their own, so the address of a variable tells them apart for less than a random number costs.
type striped struct{ cells [stripes]cell }

const stripes = 64

type cell struct {
	n atomic.Int64
	_ [120]byte // two cache lines each: processors fetch them in pairs
}

func (s *striped) add() {
	var here byte
	at := uint64(uintptr(unsafe.Pointer(&here)))
	s.cells[at>>11*0x9E3779B97F4A7C15>>58].n.Add(1) // stacks begin at multiples of 2 KiB or more
}

func (s *striped) sum() (n int64) {
	for i := range s.cells {
		n += s.cells[i].n.Load()
	}
	return n
}
