package tokenguard

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Most calls succeed, and most successes tell nothing but that there was one more: the operation has had one with the
// token, and nothing that it disproves is known. For a second at most after one went the slow road, those like it are
// counted without a lock that others wait for (internal/replica/counter.go). A success still has the instants of its own
// call, and each decision of this process counts it.

// reportCache remembers such successes, by token and caller.
type reportCache struct {
	reader  *reader
	replica *replica.Replica
	policy  *ledger.Policy
	cache   *tokenCache
	answers *answerCounts // counts them, too

	seed  maphash.Seed
	slots [256]atomic.Pointer[knownSuccess]
}

// knownSuccess is a success that told nothing new of one revision.
type knownSuccess struct {
	token, caller string
	rev           *replica.Revision
	generation    uint64           // of the secrets that are taken out of the caller's name
	from, until   int64            // monotonic nanoseconds
	at            timeline.Instant // at from
	counter       *replica.Counter
}

func (c *reportCache) slot(o *Outcome) *atomic.Pointer[knownSuccess] {
	h := maphash.String(c.seed, o.TokenID)
	if o.Caller != "" {
		h ^= maphash.String(c.seed, o.Caller) * 0x9E3779B97F4A7C15
	}
	return &c.slots[h>>32%uint64(len(c.slots))]
}

// isPlain reports whether the outcome says that a call succeeded, and nothing else.
func (o *Outcome) isPlain() bool {
	return o.Latency >= 0 && o.Limit == 0 && o.Remaining == 0 && o.ResetAt.IsZero() && o.Failure.IsZero()
}

// counted counts a success that is known to tell nothing new. It reports whether it did.
func (c *reportCache) counted(o *Outcome) bool {
	t := c.cache.table.Load()
	if t == nil || !o.isPlain() {
		return false
	}
	s := c.slot(o).Load()
	if s == nil || s.rev != t.rev || s.token != o.TokenID || s.caller != o.Caller || s.generation != c.reader.keeper.Generation() {
		return false
	}
	now := int64(time.Since(c.cache.base))
	if now < s.from || now >= s.until || !s.counter.Add(s.at+timeline.Instant(now-s.from), o.Latency) {
		return false
	}
	c.answers.add(successOutcome)
	return true
}

// expect has the successes like this one counted from now on, if none of them can tell anything new of the revision.
// mono was read at the instant at.
func (c *reportCache) expect(o *Outcome, q *decide.Request, rev *replica.Revision, at timeline.Instant, mono time.Duration) {
	until := min(c.cache.trusted(), mono+hotLife)
	rec := rev.Doc.Tokens[q.Failing]
	if !o.isPlain() || rec == nil || rec.Kind != ledger.Anonymous || until <= mono {
		return
	}
	generation := c.reader.keeper.Generation()
	last := q.Report // of them: what one tells, a later one does
	last.Began = at.Plus(until - mono)
	if rev.Doc.WouldChange(c.policy, &last, q.Scope, nil, at) || c.reader.operation(q.Caller) != q.Operation {
		return
	}
	c.slot(o).Store(&knownSuccess{token: strings.Clone(o.TokenID), caller: strings.Clone(o.Caller), rev: rev, generation: generation,
		from: int64(mono), until: int64(until), at: at, counter: c.replica.Counter(q.Failing, q.Operation)})
}
