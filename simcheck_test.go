package tokenguard

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// simCheck is what the outside sees: the upstream, the bytes that were committed, what callers got. It shares no rule
// with the guard.
type simCheck struct {
	asks   []timeline.Instant // when the upstream was asked, true time
	doc    *ledger.Document   // newest committed
	tokens map[string]simToken
	ids    []string
	offset timeline.Instant // document time minus true time, once known
	reboot timeline.Instant // true time of a reboot after which nothing was committed yet; 0: there was none

	adoptable map[string]simAdopted // what processes are adopting
	personal  map[string]bool       // personal tokens that were handed to processes
	failed    int                   // in a row, by the totals that the document keeps
	failedAt  timeline.Instant
}

type simToken struct {
	scope  string
	expiry timeline.Instant // true time, if the lifetime counts from when the upstream answered
	ends   timeline.Instant // and if it counts from when the fetch began: from then on nobody need be handed it
}

// issue hands out a new secret. A process that doubts what time it is by the store may have it end as much earlier.
func (c *simCheck) issue(scope string, began, now timeline.Instant, life time.Duration, doubt time.Duration, noText bool) string {
	secret := fmt.Sprintf("secret %d", len(c.tokens))
	if noText {
		secret += "\xff\xfe"
	}
	id := TokenID(secret)
	c.tokens[id] = simToken{scope, now.Plus(life), began.Plus(life - doubt)}
	c.ids = append(c.ids, id)
	return secret
}

// stepped is a wall clock that was set forward: it may end tokens early.
func (c *simCheck) stepped(by time.Duration) {
	for id, t := range c.tokens {
		t.ends -= timeline.Instant(by)
		c.tokens[id] = t
	}
}

// boots is a reboot with the wall clock set right, which is believed where it goes forward: it may end tokens early.
func (c *simCheck) boots(now, wall timeline.Instant) {
	if c.doc == nil {
		return
	}
	c.reboot = now
	forward := max(wall, c.doc.Clock.Last) - now - c.offset
	for id, t := range c.tokens {
		t.ends -= max(forward, 0)
		c.tokens[id] = t
	}
	c.guesses(now, wall)
}

// guesses is a process that has nothing but its wall clock to tell what time it is after a reboot. One that is behind goes on
// from the last commit, whatever time that is by now, and so do the tokens.
func (c *simCheck) guesses(now, wall timeline.Instant) {
	if c.reboot == 0 || wall >= now+c.offset {
		return
	}
	for id, t := range c.tokens {
		t.expiry = timeline.Never
		c.tokens[id] = t
	}
}

// rebooted is I8 for the first commit after a reboot.
func (c *simCheck) rebooted(w *simWorld, p *simProc, last, next *ledger.Document, began timeline.Instant) error {
	if c.reboot == 0 {
		return nil
	}
	at, guess := next.Clock.Last, p.guess
	if least, most := max(last.Clock.Last, began+guess), max(w.now()+guess, last.Clock.Last+w.now()-c.reboot); at < least || at > most {
		return fmt.Errorf("I8: after a reboot the meter is at %v, not within %v of it", time.Duration(at-least), time.Duration(most-least))
	}
	forward := at - began - c.offset
	c.offset, c.reboot = at-began, 0
	if forward > 0 {
		for i := range c.asks { // so much longer ago by the clock that counts
			c.asks[i] -= forward
		}
	}
	return nil
}

func (c *simCheck) someToken(roll int) string {
	if len(c.ids) == 0 {
		return ""
	}
	return c.ids[max(0, len(c.ids)-1-roll%3)]
}

// asked is I1 as the upstream sees it.
func (c *simCheck) asked(now timeline.Instant) error {
	c.asks = append(c.asks, now)
	inHour, inDay := 0, 0
	for i, at := range c.asks {
		if i < len(c.asks)-1 && now.Sub(at) < 300*time.Second {
			return fmt.Errorf("I1: the upstream was asked twice within %v", now.Sub(at))
		}
		if now.Sub(at) < time.Hour {
			inHour++
		}
		if now.Sub(at) < 24*time.Hour {
			inDay++
		}
	}
	if inHour > 3 || inDay > 20 {
		return fmt.Errorf("I1: asked %d times in an hour, %d in a day", inHour, inDay)
	}
	return nil
}

// committed is I2 and I7: what each commit may not do.
func (c *simCheck) committed(w *simWorld, p *simProc, data []byte, began timeline.Instant) error {
	next, err := ledger.Decode(data)
	if err != nil {
		return fmt.Errorf("I7: %w", err)
	}
	last := c.doc
	c.doc = next
	c.adopts(next, w.step.Load())
	if last == nil {
		if c.offset = next.Clock.Last - began; w.faults != nil && w.faults.remote { // the store's clock, when it commits
			c.offset = next.Clock.Last - w.now()
		}
		return nil
	}
	if err := c.bounded(data); err != nil {
		return err
	}
	if next.Clock.Last < last.Clock.Last {
		return fmt.Errorf("I8: the meter went back by %v", last.Clock.Last.Sub(next.Clock.Last))
	}
	if err := c.rebooted(w, p, last, next, began); err != nil {
		return err
	}
	// A commit is at the instant at which it was asked for, or at that of a later one that came before it.
	if at := next.Clock.Last - c.offset; at < began || at > w.now() {
		return fmt.Errorf("I8: the meter and true time differ by %v", time.Duration(at-w.now()))
	}
	for _, a := range last.Attempts {
		i := slices.IndexFunc(next.Attempts, func(b ledger.Attempt) bool { return a.ID == b.ID })
		if i < 0 && !a.Adopted && a.End > next.Clock.Last-timeline.Instant(24*time.Hour) { // those are counted by the hour
			return fmt.Errorf("I7: attempt %s is gone", a.ID)
		}
	}
	for id, r := range last.Tokens {
		if now, e := next.Tokens[id], r.By(""); e != nil && e.Refused != 0 && (now == nil && next.Clock.Last < r.Expiry || now != nil && now.By("") == nil) {
			return fmt.Errorf("I7: the rejection of %s is gone", id)
		}
	}
	c.count(last, next)
	for _, a := range next.Attempts {
		if slices.ContainsFunc(last.Attempts, func(b ledger.Attempt) bool { return a.ID == b.ID }) {
			continue
		}
		if a.Adopted {
			continue
		}
		if err := c.adoptedBefore(&a, last); err != nil {
			return err
		}
		// One from before the failure is entered late by its own process, which found it missing.
		if c.failed > 0 && a.Start >= c.failedAt && a.Start < c.failedAt.Plus(min(600*time.Second<<min(c.failed-1, 3), 3600*time.Second)) {
			return fmt.Errorf("I2: %s started in the backoff", a.ID)
		}
		if a.Start < next.Pause.Until && next.Pause == last.Pause {
			return fmt.Errorf("I2: %s started in the Retry-After", a.ID)
		}
	}
	return nil
}

// count follows the consecutive failures that close the whole guard.
func (c *simCheck) count(last, next *ledger.Document) {
	if next.Counts.Successes > last.Counts.Successes {
		c.failed = 0
	}
	more := 0
	for _, class := range []Class{ClassTransient, ClassRateLimited, ClassUnknown} {
		more += int(next.Counts.Failures[string(class)] - last.Counts.Failures[string(class)])
	}
	if c.failed += more; more == 0 {
		return // one that closes its key alone, at most
	}
	for _, a := range next.Attempts {
		i := slices.IndexFunc(last.Attempts, func(b ledger.Attempt) bool { return a.ID == b.ID })
		if i >= 0 && a.Landed && a.Failed && !last.Attempts[i].Landed {
			c.failedAt = max(c.failedAt, a.Start)
		}
	}
}

// deadNow are the tokens that callers without a name refused within the last minute.
func (c *simCheck) deadNow(now timeline.Instant) map[string]bool {
	now += c.offset // on the meter
	dead := map[string]bool{}
	if c.doc != nil && c.reboot == 0 {
		for id, r := range c.doc.Tokens {
			e := r.By("")
			dead[id] = e != nil && e.Refused != 0 && now < e.RefusedLast.Plus(time.Minute)
		}
	}
	return dead
}

// usable are the tokens of the scope that everybody may have.
func (c *simCheck) usable(now timeline.Instant, scope string) (ids []string) {
	if c.doc == nil {
		return nil
	}
	for id, r := range c.doc.Tokens {
		t := c.tokens[id]
		if r.Kind == ledger.Anonymous && t.scope == scope && now < t.ends && r.Value != "" && !r.By("").Stands() {
			ids = append(ids, id)
		}
	}
	return ids
}

// answered is I3 and I4, for a caller that reports nothing. before are the tokens that were usable when it called, dead
// those that were rejected by then.
func (c *simCheck) answered(now timeline.Instant, req Request, before []string, dead map[string]bool, grant Grant, err error) error {
	if err == nil {
		id := grant.Token.ID()
		switch t := c.tokens[id]; {
		case c.personal[id]:
			return nil
		case t.scope != req.Scope:
			return fmt.Errorf("I3: the token %s of scope %q went to scope %q", id, t.scope, req.Scope)
		case dead[id] && c.deadNow(now)[id]: // when it called, and when it was answered
			return fmt.Errorf("I3: the rejected token %s was handed out", id)
		case now >= t.expiry:
			return fmt.Errorf("I3: the token %s was handed out %v after its expiry", id, now.Sub(t.expiry))
		}
		return nil
	}
	if req.Kind == Personal || errors.Is(err, ErrStore) || errors.Is(err, ErrClosed) || errors.Is(err, errSimCrash) {
		return nil
	}
	for _, id := range c.usable(now, req.Scope) {
		if slices.Contains(before, id) {
			return fmt.Errorf("I4: %s is usable, the caller got %w", id, err)
		}
	}
	return nil
}
