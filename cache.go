package tokenguard

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/tokenguard/tokenguard/internal/counts"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/striped"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// CacheConfig sets the token cache.
type CacheConfig struct {
	// TTL is how long a token serves whose expiry the upstream did not state: up to 30 days, default 3600 s
	// (cache_ttl).
	TTL time.Duration
	// MaxTokens is how many tokens are kept, least recently used out first: 1 to 10000, default 100 (max_cache_size).
	MaxTokens int
	// CleanupInterval is the least time between two sweeps for dead entries, done on calls: up to 24 h, default 300 s
	// (cleanup_interval).
	CleanupInterval time.Duration
	// Strict lets TTL cap a stated expiry too (strict).
	Strict bool
}

// CacheStats is the token cache.
type CacheStats struct {
	Hits    int64   `json:"hits"`
	HitRate float64 `json:"hit_rate"` // of the answered calls, in [0,1]
	Size    int     `json:"size"`     // tokens in the shared state
	Limit   int     `json:"limit"`    // CacheConfig.MaxTokens
	Usable  int     `json:"usable"`   // of Size: not expired and readable here; operations may be barred from one all the same
	// Expiry is when the last of the usable ones ends; zero: none is usable.
	Expiry time.Time `json:"expiry,omitzero"`
	// Tokens are the newest anonymous ones that the state knows, newest first: at most 20, ended ones included.
	Tokens []TokenStats `json:"tokens,omitempty"`
}

// TokenStats is what is known of one token.
type TokenStats struct {
	ID         string    `json:"id"`
	Scope      string    `json:"scope,omitempty"`
	AcquiredAt time.Time `json:"acquired_at"`
	EndsAt     time.Time `json:"ends_at"`
	State      string    `json:"state"`     // usable, suspect, spent, rejected or expired
	Calls      int64     `json:"calls"`     // outcomes that were reported
	UsesLeft   int64     `json:"uses_left"` // forecast; -1: unknown
}

const tokensShown = 20

// hotLife is how long the token table is trusted without the slow path.
const hotLife = time.Second

// tokenCache answers most calls with a few loads and one addition.
//
// A table is good for a term of at most hotLife of Go's monotonic clock, which begins when a call takes the slow path:
// looks at the wall and boot clocks, and, where others may write to the store, at its revision. Within it most hits read
// no clock (term.go). In that time a token is not handed out past its expiry as the monotonic clock counts. The monotonic
// clock stands still while a machine is suspended: after a resume a token that expired meanwhile may still be handed out,
// and a limit that opened meanwhile may still refuse (answers.go), for what is left of the term. With a user-supplied
// clock each call looks at the store and at that clock (look).
//
// A hit takes no lock, allocates nothing and writes nothing that another core reads, but for the order of use, once in
// a term.
type tokenCache struct {
	table   atomic.Pointer[table]
	closed  atomic.Pointer[table] // the last one of a guard that is closed: its uses are still to be saved
	base    time.Time             // of the monotonic readings
	mono    func() time.Duration  // since base, for terms
	lends   bool                  // hits may do without the clock
	replica *replica.Replica
	rebuild func()                                                    // makes the table of the newest revision
	entry   func(t *table, scope string, now timeline.Instant) *entry // nil: the scope has to ask
	bubble  bool                                                      // made in a bubble of testing/synctest, whose clocks are its own

	usage *usage // counts the hits

	mu   sync.Mutex       // serialises rebuilding; guards what follows
	term *term            // the last one that was begun
	last timeline.Instant // newest use on the slow path, to order uses within one instant
}

// lookup returns the entry for a plain request of the scope by the caller, if there is no reason to look further.
func (c *tokenCache) lookup(scope, caller string) *entry {
	t := c.table.Load()
	if t == nil {
		return nil
	}
	e := c.find(t, scope)
	if e == nil || e.barred && caller != "" {
		return nil
	}
	hits := e.hits.Load()
	if e.lent(hits.Add()) || c.holds(t, e, hits) {
		return e
	}
	return nil
}

// holds reports whether an entry that is not lent is good by the clock. If not, it takes back what was counted.
func (c *tokenCache) holds(t *table, e *entry, hits *striped.Counter) bool {
	now := int64(time.Since(c.base))
	m := t.term.Load()
	if !e.good(m, now) {
		hits.AddTo(0, -1)
		return false
	}
	e.use.touch(t.delta + timeline.Instant(now))
	e.lend(m)
	return true
}

// look is lookup for a call that has just looked at the store and the clock. At that instant the table of that revision
// holds, with any clock, and a further term begins.
func (c *tokenCache) look(rev *replica.Revision, now timeline.Instant, scope, caller string) *entry {
	t := c.table.Load()
	if t == nil || t.rev != rev || rev.Dirty {
		return nil
	}
	e := c.find(t, scope)
	if e == nil || e.barred && caller != "" || now >= e.until || e.use == nil || e.sort == counts.Personal {
		return nil // without a use it was over when it was made; the wall clock may end a personal token
	}
	c.confirm(rev, c.trusted())
	c.used(e.use, rev.Doc.Tokens[e.grant.Token.ID()], now)
	e.hits.Load().Add()
	return e
}

// find returns what a plain request of a scope gets; nil: it has to ask.
func (c *tokenCache) find(t *table, scope string) *entry {
	if scope == "" {
		return t.plain
	}
	if e := t.scopes.find(scope); e != nil {
		return e
	}
	return c.first(t, scope)
}

// first is what a scope gets that was not asked for since the table was made: a commit makes nothing anew of what nobody
// asks for.
func (c *tokenCache) first(t *table, scope string) *entry {
	if len(t.rev.Doc.ByScope.Of(scope)) > 0 && !ledger.IsHashed(scope) { // callers know a hashed one by another name
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.table.Load() != t {
			return nil
		}
		if e := t.scopes.find(scope); e != nil {
			return e
		}
		t = c.roomyLocked(t)
		if e := c.entry(t, scope, c.replica.Meter.Read().Now); e != nil {
			c.add(t, e)
			return e
		}
		if o := t.other; o != nil {
			e := &entry{scope: scope, grant: o.grant, until: o.until, use: o.use, sort: o.sort}
			c.add(t, e)
			return e
		}
		e := &entry{scope: scope, until: t.delta} // it is over: the scope has to ask
		e.hits.Store(c.usage.others.Hits(e.sort))
		t.add(e)
		return e
	}
	if t.other != nil && len(scope) <= maxScope && utf8.ValidString(scope) {
		return t.other
	}
	return nil
}

// ours enters a token of another process that was handed out for the first time into the table, unless it serves more than
// one scope. A new table would make each of the others ask anew, and after a restart each of thousands hands in such a token.
func (c *tokenCache) ours(rec *ledger.Token, scope string) bool {
	if scope == "" || rec.Scope != scope || len(rec.Also) > 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.table.Load()
	if t == nil {
		return false
	}
	if old := t.scopes.find(scope); ledger.IsHashed(scope) || old != nil && old.use != nil { // else it is the one that has the scope ask
		return true
	}
	t = c.roomyLocked(t)
	if e := c.entry(t, scope, c.replica.Meter.Read().Now); e != nil {
		c.add(t, e)
	}
	return true
}

// clear empties the cache for good, once the guard is closed.
func (c *tokenCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed.Store(c.table.Swap(nil))
	c.term.end()
}

func tokenStats(v *decide.Input, r timeline.Reading) (out []TokenStats) {
	var known []*ledger.Token
	for _, rec := range v.Doc.Tokens {
		if rec.Kind == ledger.Anonymous {
			known = append(known, rec)
		}
	}
	slices.SortFunc(known, func(a, b *ledger.Token) int { return cmp.Or(cmp.Compare(b.Seq, a.Seq), cmp.Compare(a.ID, b.ID)) })
	for _, rec := range known[:min(len(known), tokensShown)] {
		_, ends := v.Policy.Expiry(rec)
		t := TokenStats{ID: rec.ID, Scope: rec.Scope, AcquiredAt: r.Time(rec.Acquired), EndsAt: r.Time(ends), State: v.TokenState(rec, r.Now), Calls: rec.Usage.Calls, UsesLeft: -1}
		if t.State == "usable" || t.State == "suspect" {
			if f := v.Doc.History.Forecast(rec.Usage, int64(r.Now)); f.HasUses {
				t.UsesLeft = f.UsesLeft
			}
		}
		out = append(out, t)
	}
	return out
}

func cacheStats(v *decide.Input, r timeline.Reading, calls CallStats) CacheStats {
	out := CacheStats{Limit: v.Policy.Cache.MaxTokens, Hits: calls.Answers[StepCache][ReasonCached] + calls.Answers[StepCache][ReasonPersonal]}
	var last timeline.Instant
	for _, rec := range v.Doc.Tokens {
		if rec.HasValue() {
			out.Size++
			if v.Usable(rec, r.Now) {
				out.Usable++
				_, ends := v.Policy.Expiry(rec)
				last = max(last, ends)
			}
		}
	}
	out.Expiry = r.Time(last)
	out.Tokens = tokenStats(v, r)
	if answered := calls.Total - calls.Left; answered > 0 {
		out.HitRate = float64(out.Hits) / float64(answered)
	}
	return out
}

// usedStep is the resolution of the order of use among hits that read the clock: one stores its instant only that long
// after the last one. A hit that reads none leaves it as the first of its term stored it.
const usedStep = time.Millisecond

// lastUse follows a token through the tables.
type lastUse struct {
	at      atomic.Int64 // meter instant
	noted   atomic.Int64 // at, where a document had it already
	foreign atomic.Bool  // from another process, and not handed out yet
}

// touch notes a use, unless one was noted a moment ago.
func (u *lastUse) touch(at timeline.Instant) {
	if u != nil && int64(at)-u.at.Load() > int64(usedStep) {
		u.at.Store(int64(at))
	}
}

// used is when the token was last handed out. An instant from before a step back of the clock is no later than now.
func (u *lastUse) used(now timeline.Instant) timeline.Instant {
	return min(timeline.Instant(u.at.Load()), now.Plus(time.Second))
}

// used notes a use on the slow path. What proves the token is committed soon: its scope counts as one in use from then on,
// for others and after a restart, and somebody who waits may start.
func (c *tokenCache) used(u *lastUse, r *ledger.Token, now timeline.Instant) {
	c.mu.Lock()
	c.last = max(now, c.last+1)
	u.at.Store(int64(c.last))
	c.mu.Unlock()
	if r != nil && proves(r, now) {
		c.replica.SaveSoon()
	}
}

// use notes that a token was handed out on the slow path, and reports whether it is from another process and went out
// for the first time.
func (c *tokenCache) use(r *ledger.Token, now timeline.Instant) (first bool) {
	t := c.table.Load()
	if t == nil || t.uses[r.ID] == nil {
		return false
	}
	c.used(t.uses[r.ID], r, now)
	return t.uses[r.ID].foreign.CompareAndSwap(true, false)
}

// stamp carries the uses into the document. It reports whether a decision may be another one now: whether a token has
// proved itself by being asked for again.
func (c *tokenCache) stamp(d *ledger.Document, now timeline.Instant) (changed bool) {
	t := cmp.Or(c.table.Load(), c.closed.Load())
	if t == nil {
		return false
	}
	for id, u := range t.uses {
		at := u.at.Load()
		if at == u.noted.Load() {
			continue
		}
		r := d.Tokens[id]
		switch {
		case r == nil:
		case int64(r.Used) >= at: // and not by this, whose commit may fail
			u.noted.Store(at)
		default:
			changed = d.Use(r, u.used(now)) || changed
		}
	}
	return changed
}

// proves reports whether a use now proves the token, which the document does not know yet.
func proves(r *ledger.Token, now timeline.Instant) bool {
	used := *r
	used.Used = max(used.Used, now)
	return used.Proved() && !r.Proved()
}

// tells reports whether a use that is not in the document yet can change a decision: it proves its token, or shows that
// it served beyond its fresh time.
func (c *tokenCache) tells(p *ledger.Policy, d *ledger.Document, now timeline.Instant) bool {
	t := c.table.Load()
	if t == nil {
		return false
	}
	for id, u := range t.uses {
		r, at := d.Tokens[id], u.used(now)
		if r == nil || at <= r.Used {
			continue
		}
		if fresh := p.FreshUntil(r); proves(r, at) || (at > fresh) != (r.Used > fresh) {
			return true
		}
	}
	return false
}
