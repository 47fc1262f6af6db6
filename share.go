package tokenguard

import (
	"context"
	"fmt"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// What a process may start while the store cannot be read or written: nothing, its share of the limits, or all of them.

// WithFailOpenToLocalShare lets acquisitions start while the store cannot be read or written, within this process' share
// of the limits: n processes share the store, from 2 to the smaller of the limits per hour and per day (3 by default).
//
// While the store is away, and for an hour after (so that the others can tell first what they started), this process
// keeps 1/n of the limits per hour and per day, rounded down, and n times MinInterval. Every attempt in the last document
// that it saw counts against that share, whoever started it, and so does what it started since. Backoff, Retry-After and
// closed keys hold undivided. What it starts is charged to the document with its first call after the outage. A process
// that has seen no document since its own start cannot bound anything, and refuses.
//
// So n processes that lose the store together keep the limits per hour and day exactly, as far as they had seen the same
// document (WithFreshness) and each is called within an hour after. The spacing between processes is not kept.
//
// The worst case: processes that are cut off while others still reach the store start their shares beside the others'
// whole budget, together less than one budget more; the same holds for who did not notice the outage, until those who
// did have told. More than n processes start more than the limits. Without this option such calls are refused with
// ErrStore; cached tokens are served either way.
func WithFailOpenToLocalShare(n int) Option {
	return func(o *options) { o.processes, o.sharing = n, true }
}

// divide derives the options that hold while the store is away.
func (o *options) divide() {
	if !o.sharing {
		return
	}
	const field = "WithFailOpenToLocalShare"
	l := o.RateLimit
	most := min(l.MaxRequestsPerHour, l.MaxRequestsPerDay)
	switch {
	case o.failOpen:
		o.mistake(field, "set beside WithFailOpenDespiteUnavailableStore", "the only one of the two")
	case most < 2:
		o.mistake(field, fmt.Sprint(o.processes), fmt.Sprintf("left out where the limits per hour and per day leave no share: the smaller one is %d", most))
	case o.processes < 2 || o.processes > most:
		o.mistake(field, fmt.Sprint(o.processes), fmt.Sprintf("from 2 to %d, the smaller of the limits per hour and per day", most))
	default:
		o.share = o.policy.Divided(o.processes)
	}
}

// opens reports whether this process may start acquisitions without the store, knowing st.
func (o *options) opens(st *state) bool {
	return o.failOpen || o.share != nil && st != nil && st.rev > 0
}

// policyNow sets the policy that holds at now: the share while the store is away and for an hour after.
func (s *shelf) policyNow(v *decide.Input, now timeline.Instant) {
	v.Policy, v.Full, v.FullFrom = s.opt.policy, nil, 0
	if s.opt.share == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.away:
		v.Policy, v.Full, v.FullFrom = s.opt.share, s.opt.policy, now.Plus(ledger.Hour)
	case now < s.aloneUntil:
		v.Policy, v.Full, v.FullFrom = s.opt.share, s.opt.policy, s.aloneUntil
	}
}

// missed notes that the store did not answer, unless it was the caller who left.
func (s *shelf) missed(caller context.Context, err error) {
	if caller.Err() != nil {
		return
	}
	now := s.meter.read().Now
	s.mu.Lock()
	first := !s.away && now >= s.aloneUntil
	s.away = true
	s.mu.Unlock()
	switch {
	case first && s.opt.failOpen:
		s.find("the store is unavailable and the guard fails open: " + mask(err.Error()))
	case first && s.opt.share != nil:
		s.find(fmt.Sprintf("the store is unavailable and the guard keeps to its share of 1/%d: %s", s.opt.processes, mask(err.Error())))
	}
}

// reached notes that the store answers. Until the hour window has passed over the outage, what the others started in it
// may be missing in the document.
func (s *shelf) reached() {
	now := s.meter.read().Now
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		s.away, s.aloneUntil = false, now.Plus(ledger.Hour)
	}
}

// commitOrKeep commits c. Where the store does not take it and the guard may act without, c counts in this process alone.
func (s *shelf) commitOrKeep(ctx context.Context, c change) (timeline.Reading, error) {
	r, err := s.commit(ctx, c)
	if err != nil && s.opt.opens(s.newest()) {
		return s.keep(c, false), nil
	}
	return r, err
}
