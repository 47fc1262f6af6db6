package tokenguard_test

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// renewalFacts is the model of I11: the list of all that happened, as the upstream and the store saw it, and each
// sentence of the promise as a question about that list. It knows none of the guard's rules by their code.
type renewalFacts struct {
	limits    tokenguard.RenewalLimits
	known     map[string]*accountFacts // that a commit holds, by the upstream's name
	asked     int                      // calls of RequestFunc
	starts    map[string]bool          // attempts that were committed
	leases    map[string]*renewalProcess
	handed    []*handOver
	pauses    []pauseFact
	succeeded time.Time            // the last renewal whose answer was committed
	replaced  time.Time            // the last start in place of an account that could not be renewed
	instead   map[string]time.Time // attempts in place of such an account
	renewing  bool                 // a process that can renew has committed
	stepped   bool                 // a wall clock went forth, and may have ended a value early
	forth     time.Time            // when it last did
	disturb   int                  // kills, stops and faults of the store: each may keep a charged start from being made
}

// accountFacts is what is known of one of the upstream's accounts.
type accountFacts struct {
	name       string
	scopes     map[string]bool
	generation int       // of the refresh token that the newest commit holds
	ends       time.Time // of its last committed value
	refreshEnd time.Time // zero: never
	ended      time.Time // when the upstream, or an operator, said that it is gone
	banned     bool      // said so of the last renewal
	replaced   time.Time // by another account of its scope
	moved      time.Time // the last committed renewal
	renewed    time.Time // the last commit of a value that was renewed elsewhere: it ends a row of failures
	inside     int       // presentations in progress
	spare      bool
}

// handOver is one call of RenewalFunc.
type handOver struct {
	process    *renewalProcess
	account    *accountFacts
	lease      string
	generation int
	began      time.Time
	leaseEnd   time.Time
	returned   time.Time // zero: not yet, or the process is gone
	value      string    // of a success
	retryAfter time.Duration
	unusable   bool      // the upstream renewed, and the function made nothing of it
	refused    bool      // a ban, or an answer that cannot be used, which came in time
	committed  bool      // its end was
	settled    time.Time // and then
	good       bool      // it was a success whose answer was committed
}

type pauseFact struct{ from, until time.Time }

// refreshName is whose refresh token a hash is of.
type refreshName struct {
	account    string
	generation int
}

// refreshNames are the refresh tokens that a tokenguardtest.Upstream issues, by their hashes.
var refreshNames = sync.OnceValue(func() map[string]refreshName {
	names := map[string]refreshName{}
	for n := 1; n <= 60; n++ {
		for g := 1; g <= 400; g++ {
			names[secrets.Hash("refresh", fmt.Sprintf("refresh-%d-%d", n, g))] = refreshName{fmt.Sprintf("account-%d", n), g}
		}
	}
	return names
})

// identities are those of a document that live, by the upstream's account.
func identities(d *ledger.Document) map[string]*ledger.Token {
	out := map[string]*ledger.Token{}
	for _, r := range d.Tokens {
		if r.Identity == nil {
			continue
		}
		name := refreshNames()[r.Identity.Hash]
		if other := out[name.account]; other == nil || r.Identity.Ended == 0 ||
			other.Identity.Ended != 0 && name.generation > refreshNames()[other.Identity.Hash].generation {
			out[name.account] = r
		}
	}
	return out
}

// committed takes in a commit, and judges the starts in it by what was known before.
func (f *renewalFacts) committed(w *renewalWorld, p *renewalProcess, next *ledger.Document) error {
	now := time.Now()
	f.renewing = f.renewing || p.renews
	held := identities(next)
	for _, r := range held {
		if l := r.Identity.Lease; l.ID != "" && f.leases[l.ID] == nil {
			f.leases[l.ID] = p
		}
		if v := w.values[r.ID]; !v.adopted.IsZero() && v.committed.IsZero() { // it waited, and goes before a start in the same commit
			f.succeeded = now
		}
	}
	var err error
	for i := range next.Attempts {
		a := &next.Attempts[i]
		if began := f.instead[a.ID]; !began.IsZero() && a.Landed && !a.Failed {
			f.replaced = began
			delete(f.instead, a.ID)
			for _, of := range f.known {
				if of.scopes[a.Scope] {
					of.replaced = now
				}
			}
		}
		if f.starts[a.ID] || a.Adopted {
			continue
		}
		f.starts[a.ID] = true
		if f.leases[a.ID] != nil {
			return fmt.Errorf("the renewal %s was charged as a start", a.ID)
		}
		if e := f.started(p, a.ID, a.Scope, now); e != nil {
			err = e
		}
	}
	if n := len(f.starts) - f.asked; n > f.disturb+len(w.procs) {
		return fmt.Errorf("%d starts were charged, the upstream was asked %d times with %d disturbances", len(f.starts), f.asked, f.disturb)
	}
	for _, h := range f.handed {
		f.settle(p, h, next, held[h.account.name], now)
	}
	for name, r := range held {
		if name == "" {
			return fmt.Errorf("a refresh token of no account is in the document")
		}
		a := f.known[name]
		if a == nil {
			a = &accountFacts{name: name, scopes: map[string]bool{}}
			f.known[name] = a
		}
		a.scopes[r.Scope] = true
		for _, s := range r.Also {
			a.scopes[s] = true
		}
		g := refreshNames()[r.Identity.Hash].generation
		if g < a.generation && !a.spare {
			return fmt.Errorf("%s: refresh token %d was replaced by the older %d", name, a.generation, g)
		}
		a.generation, a.spare = g, r.Identity.SpareHash != ""
		if v, ok := w.values[r.ID]; ok {
			if a.ends = v.ends; !v.adopted.IsZero() && v.committed.IsZero() {
				a.renewed = now
				if f.succeeded = now; v.adopted.After(a.moved) {
					a.moved = v.adopted
				}
			}
		}
		if a.refreshEnd = (time.Time{}); r.Identity.Expiry != 0 {
			a.refreshEnd = now.Add(time.Duration(r.Identity.Expiry - w.meter(next)))
		}
	}
	return err
}

// settle notes whether the end of a hand-over is in the document that p commits.
func (f *renewalFacts) settle(p *renewalProcess, h *handOver, next *ledger.Document, r *ledger.Token, now time.Time) {
	if h.returned.IsZero() || h.process != p || h.good {
		return
	}
	switch {
	case h.value != "":
		if t := next.Tokens[tokenguard.TokenID(h.value)]; t != nil {
			h.committed, h.good = true, true
			h.account.moved = h.returned
			f.succeeded = now
		}
	case h.retryAfter > 0 && r != nil && r.Identity.Ended != 0 && next.Renewals.Pause.Until <= p.world.meter(next):
		// Another process ended the account, and with it the lease.
	case !h.committed && (r == nil || r.Identity.Lease.ID != h.lease):
		h.committed, h.settled = true, now
		if h.retryAfter > 0 && now.Before(h.leaseEnd) {
			f.pauses = append(f.pauses, pauseFact{now, h.returned.Add(h.retryAfter)})
		}
	}
}

// started judges a start for a scope.
func (f *renewalFacts) started(p *renewalProcess, id, scope string, now time.Time) error {
	for _, pause := range f.pauses {
		if !now.Before(pause.from) && now.Before(pause.until.Add(-time.Second)) {
			return fmt.Errorf("a start at %v, although a renewal was told to wait until %v", now, pause.until)
		}
	}
	if !f.renewing { // accounts mean nothing then
		return nil
	}
	instead := false
	for _, a := range f.known {
		if !a.scopes[scope] {
			continue
		}
		if !a.ended.IsZero() || !a.refreshEnd.IsZero() && !now.Before(a.refreshEnd.Add(-time.Second)) || a.replaced.After(a.moved) {
			continue
		}
		if a.banned {
			return fmt.Errorf("a start for %q, whose %s was banned", scope, a.name)
		}
		from := a.ends
		if f.stepped {
			from = from.Add(-p.world.up.Lifetime)
		}
		if now.Before(from.Add(f.limits.ReplaceAfter)) {
			return fmt.Errorf("a start for %q, although %s lives and its value ended at %v", scope, a.name, a.ends)
		}
		if f.replaced.After(f.succeeded) {
			return fmt.Errorf("a start for %q in place of %s, after one at %v and no renewal since", scope, a.name, f.replaced)
		}
		instead = true
	}
	if instead {
		f.instead[id] = now
	}
	return nil
}

// handOverTo judges that RenewalFunc of p is called with this refresh token now.
func (f *renewalFacts) handOverTo(w *renewalWorld, p *renewalProcess, refresh string) (*handOver, error) {
	now, doc := time.Now(), w.document()
	name := refreshNames()[secrets.Hash("refresh", refresh)]
	a := f.known[name.account]
	if a == nil {
		return nil, fmt.Errorf("%q was handed out before it was committed", refresh)
	}
	h := &handOver{process: p, account: a, generation: name.generation, began: now, leaseEnd: now}
	prior := f.of(a)
	f.handed = append(f.handed, h)
	r := identities(doc)[a.name]
	switch {
	case r == nil || r.Identity.Hash != secrets.Hash("refresh", refresh):
		return h, fmt.Errorf("%q was handed out, and is not the newest commit's", refresh)
	case r.Identity.Lease.ID == "" || f.leases[r.Identity.Lease.ID] != p:
		return h, fmt.Errorf("%q was handed out to a process without its lease", refresh)
	case w.meter(doc) >= r.Identity.Lease.End:
		return h, fmt.Errorf("%q was handed out after the lease", refresh)
	case a.inside > 0:
		return h, fmt.Errorf("%q was presented while a presentation of %s was in progress", refresh, a.name)
	}
	h.lease, h.leaseEnd = r.Identity.Lease.ID, now.Add(time.Duration(r.Identity.Lease.End-w.meter(doc)))
	if n := len(prior); n > 0 {
		if last := prior[n-1]; (last.returned.IsZero() || now.Before(last.returned)) && now.Before(last.leaseEnd) {
			return h, fmt.Errorf("%q was handed out again before the end and the lease of the last time", refresh)
		}
	}
	if opens := f.opens(a, prior); now.Before(opens) {
		return h, fmt.Errorf("%q was handed out at %v, the limits open at %v", refresh, now, opens)
	}
	inHour := 0
	for _, other := range f.handed {
		if now.Sub(other.began) < time.Hour-f.limits.Timeout {
			inHour++
		}
	}
	if inHour > f.limits.MaxPerHour {
		return h, fmt.Errorf("%d renewals in an hour, at most %d are allowed", inHour, f.limits.MaxPerHour)
	}
	for _, pause := range f.pauses {
		if !now.Before(pause.from) && now.Before(pause.until.Add(-time.Second)) {
			return h, fmt.Errorf("a renewal at %v, although one was told to wait until %v", now, pause.until)
		}
	}
	return h, nil
}

// of are the earlier hand-overs of an account.
func (f *renewalFacts) of(a *accountFacts) (out []*handOver) {
	for _, h := range f.handed {
		if h.account == a {
			out = append(out, h)
		}
	}
	return out
}

// opens is when an account may be renewed again: MinInterval after the last success, after n failures in a row BackoffBase
// doubled n-1 times, and after n bans or unusable answers 1 h doubled n-1 times, up to 24 h.
func (f *renewalFacts) opens(a *accountFacts, prior []*handOver) (at time.Time) {
	if !a.moved.IsZero() {
		at = a.moved.Add(f.limits.MinInterval)
	}
	wait, n := f.limits.BackoffBase, 0
	var end, refused time.Time // refused: the last time
	closed := 30 * time.Minute
	for i := len(prior) - 1; i >= 0 && !prior[i].good && prior[i].began.After(a.moved); i-- {
		h := prior[i]
		if h.committed && h.settled.Before(a.renewed) {
			break
		}
		if h.refused && h.committed {
			if closed = min(2*closed, 24*time.Hour); refused.IsZero() {
				refused = h.returned
			}
		}
		if n++; n == 1 {
			if end = h.returned; end.IsZero() || h.process.dead && !h.committed {
				end = h.leaseEnd
			}
		} else {
			wait = min(2*wait, f.limits.MaxBackoff)
		}
	}
	if n > 0 && end.Add(wait).After(at) {
		at = end.Add(wait)
	}
	if !refused.IsZero() && refused.Add(closed).After(at) {
		at = refused.Add(closed)
	}
	return at
}

// answered notes how the upstream answered a hand-over.
func (f *renewalFacts) answered(w *renewalWorld, h *handOver, token tokenguard.Token, err error) {
	h.account.inside--
	if h.process.dead {
		return
	}
	h.returned = time.Now()
	if err == nil {
		if h.account.banned = false; !h.unusable {
			h.value = token.Value()
		}
		h.refused = h.unusable && h.returned.Before(h.leaseEnd)
		return
	}
	switch text := err.Error(); {
	case strings.Contains(text, "invalid_grant"):
		h.account.ended, h.account.banned = h.returned, false
	case strings.Contains(text, "access_denied"):
		h.account.banned, h.refused = true, true
	}
}

// meter is the instant on the clock that the processes of the document share.
func (w *renewalWorld) meter(d *ledger.Document) timeline.Instant {
	return timeline.Instant(d.Clock.Boots["boot"] + w.ticks())
}
