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
	Usable  int     `json:"usable"`   // of Size: not expired, rejected or spent
	// Expiry is when the last of the usable ones ends; zero: none is usable.
	Expiry time.Time `json:"expiry,omitzero"`
}

// hotLife is how long the token table is trusted without the slow path.
const hotLife = time.Second

// usedStep is the resolution of the order of use: a hit stores its instant only that long after the last one.
const usedStep = time.Millisecond

// tokenCache answers most calls: with an atomic load, a reading of Go's monotonic clock and a compare.
//
// A table is good for at most hotLife of Go's monotonic clock after a call took the slow path, looked at the wall and
// boot clocks, and, where others may write to the store, at its revision. In that time a token is not handed out past
// its expiry as the monotonic clock counts. The monotonic clock stands still while a machine is suspended: after a
// resume a token that expired meanwhile may still be handed out, and a limit that opened meanwhile may still refuse
// (answers.go), for what is left of hotLife. With a user-supplied clock every call takes the slow path.
//
// A hit takes no lock, allocates nothing and writes nothing that another core reads, but for the order of use, once in
// usedStep.
type tokenCache struct {
	table atomic.Pointer[table]
	base  time.Time // of the monotonic readings

	cached, personal striped // hits

	mu   sync.Mutex       // serialises rebuilding; guards what follows
	last timeline.Instant // newest use on the slow path, to order uses within one instant
}

// table is an immutable picture of the tokens that may be handed out without a question.
type table struct {
	valid  atomic.Int64      // monotonic nanoseconds until which the table is good
	delta  timeline.Instant  // meter instant = delta + monotonic nanoseconds
	scopes map[string]*entry // what a plain request of the scope gets
	plain  *entry            // scopes[""], without the map
	near   [nearby]*entry    // most of scopes, for less than a map costs
	other  *entry            // the personal token, where it is good for any scope
	uses   map[string]*lastUse
	rev    *replica.Revision
}

const nearby = 64

// nearAt is where a scope lies in near: its length and last byte tell most scopes of one program apart.
func nearAt(scope string) uint { return (uint(len(scope))*8 ^ uint(scope[len(scope)-1])) % nearby }

// entry is a grant that is ready to be handed out.
type entry struct {
	scope  string
	grant  Grant
	until  timeline.Instant // then it needs a decision again
	barred bool             // some operation is to have another token, or none: a named caller has to ask
	ends   int64            // until, in monotonic nanoseconds
	use    *lastUse
	hits   *striped
}

// lastUse follows a token through the tables.
type lastUse struct {
	at      atomic.Int64 // meter instant
	foreign atomic.Bool  // from another process, and not handed out yet
}

// touch notes a use, unless one was noted a moment ago.
func (u *lastUse) touch(at timeline.Instant) {
	if int64(at)-u.at.Load() > int64(usedStep) {
		u.at.Store(int64(at))
	}
}

// used is when the token was last handed out. An instant from before a step back of the clock is no later than now.
func (u *lastUse) used(now timeline.Instant) timeline.Instant {
	return min(timeline.Instant(u.at.Load()), now.Plus(time.Second))
}

// lookup returns the entry for a plain request of the scope by the caller, if there is no reason to look further.
func (c *tokenCache) lookup(scope, caller string) *entry {
	t := c.table.Load()
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
	if e == nil || e.barred && caller != "" {
		return nil
	}
	now := int64(time.Since(c.base))
	if now >= t.valid.Load() || now >= e.ends {
		return nil
	}
	e.use.touch(t.delta + timeline.Instant(now))
	e.hits.add()
	return e
}

// use notes that a token was handed out on the slow path, and reports whether it is from another process and went out
// for the first time.
func (c *tokenCache) use(id string, now timeline.Instant) (first bool) {
	t := c.table.Load()
	if t == nil || t.uses[id] == nil {
		return false
	}
	c.mu.Lock()
	c.last = max(now, c.last+1)
	t.uses[id].at.Store(int64(c.last))
	c.mu.Unlock()
	return t.uses[id].foreign.CompareAndSwap(true, false)
}

// stamp carries the uses into the document. It reports whether a decision may be another one now: whether a token has
// proved itself by being asked for again.
func (c *tokenCache) stamp(d *ledger.Document, now timeline.Instant) (changed bool) {
	t := c.table.Load()
	if t == nil {
		return false
	}
	for id, u := range t.uses {
		if r := d.Tokens[id]; r != nil {
			changed = d.Use(r, u.used(now)) || changed
		}
	}
	return changed
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
		used := *r
		used.Used = at
		if fresh := p.FreshUntil(r); used.Proved() != r.Proved() || (at > fresh) != (r.Used > fresh) {
			return true
		}
	}
	return false
}

// clear empties the cache for good, once the guard is closed.
func (c *tokenCache) clear() {
	c.mu.Lock()
	c.table.Store(nil)
	c.mu.Unlock()
}

// confirm declares the table of a revision good for a while, after the slow path came to the same answer.
func (c *tokenCache) confirm(rev *replica.Revision, until time.Duration) {
	if t := c.table.Load(); t != nil && t.rev == rev {
		t.valid.Store(int64(until))
	}
}

// newTableLocked begins the table of a revision, carrying the uses over. foreign reports whether a token is from another
// process. c.mu is held. mono was read before now, so that no token seems to last longer than it does.
func (c *tokenCache) newTableLocked(rev *replica.Revision, mono time.Duration, now timeline.Instant, foreign func(*ledger.Token) bool) *table {
	t := &table{delta: now - timeline.Instant(mono), scopes: map[string]*entry{}, uses: make(map[string]*lastUse, len(rev.Secrets)), rev: rev}
	old := c.table.Load()
	for id := range rev.Secrets {
		if old != nil && old.uses[id] != nil {
			t.uses[id] = old.uses[id]
			continue
		}
		rec, u := rev.Doc.Tokens[id], &lastUse{}
		u.at.Store(int64(rec.Used))
		u.foreign.Store(foreign(rec))
		t.uses[id] = u
	}
	return t
}

func (t *table) add(e *entry) {
	e.ends = int64(e.until - t.delta)
	t.scopes[e.scope] = e
	if e.scope == "" {
		t.plain = e
	} else {
		t.near[nearAt(e.scope)] = e
	}
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
	if answered := calls.Total - calls.Left; answered > 0 {
		out.HitRate = float64(out.Hits) / float64(answered)
	}
	return out
}
