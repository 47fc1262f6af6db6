package ledger

import (
	"math"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// What each operation has seen of a token. Nothing that one operation says takes a token from another: it can only make
// others prefer a different token, and lead to a start.

// Evidence is what one operation has seen of one token. Zero instants: it has not.
type Evidence struct {
	Operation string           `json:"op,omitempty"` // masked caller; callers without a name are one operation
	Success   timeline.Instant `json:"ok,omitempty"` // when its last successful call began
	Uses      int              `json:"n,omitempty"`  // successes

	Refused     timeline.Instant `json:"auth,omitempty"`      // first standing refusal for auth
	RefusedLast timeline.Instant `json:"auth_last,omitempty"` // last one
	Early       bool             `json:"early,omitempty"`     // a refusal while the token may not have spread yet

	Quota     timeline.Instant `json:"quota,omitempty"`      // first standing refusal for quota
	QuotaLast timeline.Instant `json:"quota_last,omitempty"` // last one
	Spent     bool             `json:"spent,omitempty"`      // the refusal is confirmed
	Reset     timeline.Instant `json:"reset,omitempty"`      // when its quota is full again, as far as stated

	Assumed bool             `json:"assumed,omitempty"` // Reset is that of the quota period: one call at a time tries the token then
	Trying  timeline.Instant `json:"trying,omitempty"`  // when a call was handed it to try it; Reset is when the next may
	Missed  int              `json:"missed,omitempty"`  // refusals after the assumed reset

	Refusals int              `json:"k,omitempty"`     // that stand, at most one a minute
	Known    timeline.Instant `json:"known,omitempty"` // newest refusal that was applied, also one that was disproved since
	Heard    timeline.Instant `json:"at,omitempty"`
}

// First is the earliest word of the operation that stands; 0: there is none.
func (e *Evidence) First() (at timeline.Instant) {
	if e == nil {
		return 0
	}
	for _, word := range [...]timeline.Instant{e.Success, e.Refused, e.Quota} {
		if word != 0 && (at == 0 || word < at) {
			at = word
		}
	}
	return at
}

// Bounds of the evidence, and of what follows from it.
const (
	maxEvidence      = 16          // operations that are remembered for each token
	maxEvidenceTotal = 512         // and in a document
	observation      = time.Minute // refusals of one operation that are closer together are one observation
	corroboration    = 30 * time.Second
	maxLives         = 3
	maxAlso          = 16 // scopes that one token serves beside its first
)

// live reports whether a refusal for quota still holds at t: its stated reset has not come.
func (e *Evidence) live(t timeline.Instant) bool { return e.Reset == 0 || t < e.Reset }

// Refuses reports whether the operation's last word on the token is a refusal.
func (e *Evidence) Refuses(t timeline.Instant) bool {
	return e != nil && (e.Refused != 0 || e.Spent && e.live(t))
}

// Suspects reports whether a refusal for quota stands, confirmed or not.
func (e *Evidence) Suspects(t timeline.Instant) bool { return e != nil && e.Quota != 0 && e.live(t) }

// Stands reports whether a refusal of the operation stands, of whatever sort.
func (e *Evidence) Stands() bool { return e != nil && (e.Refused != 0 || e.Quota != 0 || e.Early) }

// since is when the operation began to refuse the token.
func (e *Evidence) since() timeline.Instant {
	if e.Refused != 0 {
		return e.Refused
	}
	return e.Quota
}

// clearRefusal drops what a success of the operation disproves.
func (e *Evidence) clearRefusal(began timeline.Instant) (changed bool) {
	if e.RefusedLast != 0 && began >= e.RefusedLast || e.Early && e.Refused == 0 {
		changed = e.Refused != 0 || e.Early
		e.Refused, e.RefusedLast, e.Early, e.Refusals = 0, 0, false, 0
	}
	if e.QuotaLast != 0 && began >= e.QuotaLast {
		changed = true
		e.clearQuota()
		e.Refusals = 0
	}
	return changed
}

// clearQuota drops what is known of the quota.
func (e *Evidence) clearQuota() {
	e.Quota, e.QuotaLast, e.Spent, e.Reset, e.Assumed, e.Trying, e.Missed = 0, 0, false, 0, false, 0, 0
}

// By is what the operation has seen of the token; nil: nothing.
func (r *Token) By(operation string) *Evidence {
	for i := range r.Evidence {
		if r.Evidence[i].Operation == operation {
			return &r.Evidence[i]
		}
	}
	return nil
}

// byFor is By for writing. Beyond the bound, the operation whose loss says least goes: one without a refusal before one
// with, the least recently heard first, one with a success last.
func (r *Token) byFor(operation string, at timeline.Instant) *Evidence {
	if e := r.By(operation); e != nil {
		e.Heard = max(e.Heard, at)
		return e
	}
	if len(r.Evidence) >= maxEvidence {
		least := 0
		for i := range r.Evidence {
			if r.Evidence[i].weight() < r.Evidence[least].weight() {
				least = i
			}
		}
		r.Evidence = slices.Delete(r.Evidence, least, least+1)
	}
	r.Evidence = append(r.Evidence, Evidence{Operation: operation, Heard: at})
	return &r.Evidence[len(r.Evidence)-1]
}

func (e *Evidence) weight() timeline.Instant {
	w := e.Heard
	if e.Success != 0 {
		w = w.Plus(10 * Day)
	}
	if e.Refused != 0 || e.Quota != 0 {
		w = w.Plus(5 * Day)
	}
	return w
}

// succeededSince reports whether an operation other than except had a success that began after t.
func (r *Token) succeededSince(t timeline.Instant, except *Evidence) bool {
	for i := range r.Evidence {
		if e := &r.Evidence[i]; e != except && e.Success > t {
			return true
		}
	}
	return false
}

// Contradicted reports whether another operation had a success that began after e's refusal.
func (r *Token) Contradicted(e *Evidence) bool { return r.succeededSince(e.since(), e) }

// Doubts counts the operations other than this one that refuse the token and are not contradicted.
func (r *Token) Doubts(operation string, t timeline.Instant) (n int) {
	for i := range r.Evidence {
		if e := &r.Evidence[i]; e.Operation != operation && e.Refuses(t) && !r.Contradicted(e) {
			n++
		}
	}
	return n
}

// SuspectSince is the first refusal for quota, of whichever operation, since which nobody had a success; else the first
// that stands.
func (r *Token) SuspectSince() (at timeline.Instant) {
	for _, all := range [...]bool{false, true} {
		for i := range r.Evidence {
			if q := r.Evidence[i].Quota; q != 0 && (all || !r.succeededSince(q, nil)) && (at == 0 || q < at) {
				at = q
			}
		}
		if at != 0 {
			break
		}
	}
	return at
}

// FreshUntil ends the time in which a refusal speaks of the acquisition rather than of what has happened to the token
// since: min(5 min, a quarter of its lifetime) after it was acquired.
func (p *Policy) FreshUntil(r *Token) timeline.Instant {
	_, ends := p.Expiry(r)
	return r.Acquired.Plus(min(5*time.Minute, ends.Sub(r.Acquired)/4))
}

// refusedAt is when a refusal that stands was last reported, of whichever operation; 0: none stands.
func (r *Token) refusedAt() timeline.Instant {
	at := max(r.Rejected, r.Spent)
	for i := range r.Evidence {
		if e := &r.Evidence[i]; e.Refused != 0 || e.Spent {
			at = max(at, e.RefusedLast, e.QuotaLast)
		}
	}
	return at
}

// askedAgain is how long after its acquisition a token is asked for again to count as working.
const askedAgain = time.Minute

// Proved reports whether the token was asked for again a minute after it came, and was not refused while it was fresh.
func (r *Token) Proved() bool { return r.FreshRefusals == 0 && r.Used >= r.Acquired.Plus(askedAgain) }

// Use notes when the token was last handed out, and reports whether it has proved itself by that.
func (d *Document) Use(r *Token, at timeline.Instant) (changed bool) {
	if at <= r.Used {
		return false
	}
	before := r.Proved()
	r = d.Edit(r)
	r.Used = at
	if !r.Proved() || before {
		return false
	}
	for scope := range r.scopes {
		d.scopeWorked(scope)
	}
	return true
}

// LastSuccess is when the last successful call with the token began, of whichever operation.
func (r *Token) LastSuccess() (at timeline.Instant) {
	for i := range r.Evidence {
		at = max(at, r.Evidence[i].Success)
	}
	return at
}

// scopes are those that the token serves.
func (r *Token) scopes(yield func(string) bool) {
	if !yield(r.Scope) {
		return
	}
	for _, scope := range r.Also {
		if !yield(scope) {
			return
		}
	}
}

// Serves reports whether the token was acquired for the scope.
func (r *Token) Serves(scope string) bool { return r.Scope == scope || slices.Contains(r.Also, scope) }

// trimEvidence keeps the evidence of a document within its bound.
func (d *Document) trimEvidence() {
	total := 0
	for _, r := range d.Tokens {
		total += len(r.Evidence)
	}
	for ; total > maxEvidenceTotal; total-- {
		var from *Token
		least, at := timeline.Instant(math.MaxInt64), 0
		for _, r := range d.Tokens {
			for i := range r.Evidence {
				if w := r.Evidence[i].weight(); w < least {
					from, least, at = r, w, i
				}
			}
		}
		from = d.Edit(from)
		from.Evidence = slices.Delete(from.Evidence, at, at+1)
	}
}

// Successes are those of one token that wait for a commit, by operation.
type Successes map[string]Success

// Success is what waits of one operation.
type Success struct {
	Began timeline.Instant // of the last
	Uses  int
}
