package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// What every second story has beside the rest: a store with a clock of its own, processes whose wall clocks differ from it
// and from each other, a machine that is suspended or booted again, a store that one process is cut off from for a while,
// personal tokens whose source may hang, Retry-After in reports, expiries stated as times of day, tokens that are no text,
// floods of adopted tokens, and callers in Wait.

// simFaults is what is wrong in such a story.
type simFaults struct {
	remote    bool          // the store has a clock
	skew      time.Duration // of that clock, from true time
	suspended atomic.Int64  // so far: Go's timers stand still in it
	resumed   time.Time     // from the last one
	boots     int
	booted    int64 // true time of the last boot
	adopted   int
	waits     []context.CancelFunc // of callers in Wait

	ownClocks bool // wrong: a process takes its own clock for the store's
	noSuspend bool // wrong: a suspend does not count as time
}

// mix decides on the faults of a story.
func (w *simWorld) mix() {
	w.faults = &simFaults{remote: w.random.IntN(2) == 0, skew: w.someSkew()}
}

// someSkew is between a process and a store.
func (w *simWorld) someSkew() time.Duration {
	return time.Duration(w.random.IntN(601)-300) * time.Second
}

// calm has those leave that would wait for a limit to open.
func (f *simFaults) calm() {
	if f == nil {
		return
	}
	for _, leave := range f.waits {
		leave()
	}
}

// stamp puts the store's clock on a snapshot.
func (f *simFaults) stamp(p *simProc, snap Snapshot) Snapshot {
	switch {
	case f == nil || !f.remote:
	case f.ownClocks:
		snap.Now = p.wall()
	default:
		snap.Now = p.world.trueTime().Add(f.skew)
	}
	return snap
}

// wall is the wall clock of a process.
func (p *simProc) wall() time.Time { return p.world.wall().Add(p.skew) }

// trueTime is that of the world, whatever clocks say.
func (w *simWorld) trueTime() time.Time {
	return w.begin.AddDate(26, 0, 0).Add(time.Duration(w.now()) - time.Duration(w.first))
}

// boot is the name of the boot, and ticks the time since.
func (w *simWorld) boot() (name string, ticks func() int64) {
	switch f := w.faults; {
	case w.noBoot:
		return "", w.ticks
	case f == nil:
		return "this boot", w.ticks
	default:
		from := f.booted
		return fmt.Sprint("boot ", f.boots), func() int64 {
			suspended := int64(0)
			if f.noSuspend {
				suspended = f.suspended.Load()
			}
			return w.ticks() - from - suspended + int64(time.Minute)
		}
	}
}

// actFault does one of the things that only such a story has.
func (w *simWorld) actFault(n int) error {
	f, p := w.faults, w.procs[w.random.IntN(len(w.procs))]
	switch roll := w.random.IntN(100); {
	case roll < 25:
		d := []time.Duration{time.Second, 20 * time.Second, 2 * time.Minute, time.Hour, 26 * time.Hour}[w.random.IntN(5)]
		w.note("suspended for %v", d)
		f.suspended.Add(int64(d))
		f.resumed = time.Now()
	case roll < 30: // with the clock of the machine set right
		w.note("a reboot")
		for len(w.procs) > 0 {
			w.stats.crashes++
			w.kill(w.procs[0])
		}
		w.mu.Lock()
		w.check.stepped(max(-time.Duration(w.step.Swap(0)), 0))
		if !f.remote {
			w.check.boots(w.now(), timeline.UnixNano(w.wall()))
		}
		w.mu.Unlock()
		f.boots++
		f.booted = w.ticks()
		for range 3 {
			if err := w.birth(); err != nil {
				return err
			}
		}
	case roll < 45:
		p.away = !p.away
		w.note("p%d away from the store: %v", p.id, p.away)
	case roll < 60:
		w.adopt(p, n)
	case roll < 75:
		w.pauseBy(p, n)
	case roll < 85:
		req := Request{Kind: []Kind{Anonymous, Personal}[w.random.IntN(2)]}
		w.note("p%d calls for %q", p.id, req.Kind)
		w.ask(p, n, req)
	default:
		req := Request{Scope: simScopes[w.random.IntN(len(simScopes))]}
		w.note("p%d waits for %q", p.id, req.Scope)
		w.wait(p, n, req, time.Duration(w.random.IntN(20)+1)*time.Minute)
	}
	return nil
}

// adopt has a process adopt tokens that others fetched, some of them unusable.
func (w *simWorld) adopt(p *simProc, n int) {
	f, scope, count := w.faults, simScopes[w.random.IntN(len(simScopes))], []int{1, 1, 1, 30}[w.random.IntN(4)]
	kinds := make([]int, count)
	for i := range kinds {
		kinds[i] = w.random.IntN(8)
	}
	w.note("p%d adopts %d tokens for %q", p.id, count, scope)
	ctx := context.WithValue(p.ctx, simCall{}, n)
	first := f.adopted
	f.adopted += count
	p.calls.Go(func() {
		for i, kind := range kinds {
			value, life := fmt.Sprintf("adopted %d", first+i), time.Duration(kind+1)*5*time.Minute
			switch kind {
			case 0:
				value += "\x01"
			case 1:
				value += "\xff\xfe"
			}
			w.mu.Lock()
			now, step := w.now(), w.step.Load()
			id := TokenID(value)
			w.check.adoptable[id] = simAdopted{simToken{scope, now.Plus(life), now.Plus(life)}, step}
			w.mu.Unlock()
			err := p.guard.Adopt(ctx, NewToken(value, p.wall().Add(life)).WithScope(scope))
			w.mu.Lock()
			switch {
			case kind == 0 && !errors.Is(err, ErrRequest) && !errors.Is(err, ErrStore) && !errors.Is(err, ErrClosed) && !p.dead:
				w.fail(fmt.Errorf("I7: a token with a control character was adopted: %w", err))
			case kind > 0 && errors.Is(err, ErrRequest) && w.now() < now.Plus(life) && step == w.step.Load():
				w.fail(fmt.Errorf("I4: an adopted token was refused: %w", err))
			}
			w.mu.Unlock()
		}
	})
}

// simAdopted is a token that is being adopted.
type simAdopted struct {
	simToken
	step int64 // of the wall clock by which its expiry is stated
}

// adopts registers what was adopted since. A step of the clock before that makes another expiry of it.
func (c *simCheck) adopts(next *ledger.Document, step int64) {
	for _, id := range slices.Sorted(maps.Keys(next.Tokens)) { // the same story has one order
		t, ok := c.adoptable[id]
		if !ok {
			continue
		}
		if t.step != step {
			t.expiry, t.ends = timeline.Never, 0
		}
		c.tokens[id] = t.simToken
		c.ids = append(c.ids, id)
		delete(c.adoptable, id)
	}
}

// pauseBy reports that an upstream asked to wait, a moment ago.
func (w *simWorld) pauseBy(p *simProc, n int) {
	w.mu.Lock()
	id := w.check.someToken(w.random.IntN(1 << 20))
	w.mu.Unlock()
	if id == "" {
		return
	}
	seconds, ago := 30+w.random.IntN(600), time.Duration(w.random.IntN(20))*time.Second
	failure := Failure{StatusCode: 429, Message: string(ClassRateLimited), Header: map[string][]string{"Retry-After": {fmt.Sprint(seconds)}}, At: p.wall().Add(-ago)}
	w.note("p%d reports Retry-After %d of %s, %v ago", p.id, seconds, id, ago)
	ctx := context.WithValue(p.ctx, simCall{}, n)
	p.calls.Go(func() { _ = p.guard.Report(ctx, Outcome{TokenID: id, Caller: "batch", Failure: failure}) })
}

// personal is the source of the personal token. It hangs until the scheduler lets it go on.
func (p *simProc) personal(ctx context.Context) (Token, error) {
	w := p.world
	ctx = context.WithValue(ctx, simCall{}, p.id<<10)
	out := make(chan simOutcome, 1)
	go func() { out <- p.pass(ctx, "personal") }()
	select {
	case o := <-out:
		switch {
		case o.err != nil:
			return Token{}, o.err
		case o.roll%3 == 0:
			return Token{}, errSimFault
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		life := []time.Duration{time.Minute, time.Hour}[o.roll%2]
		value := fmt.Sprintf("personal %d", o.roll%5)
		w.check.personal[TokenID(value)] = true
		return NewTokenIn(value, life), nil
	case <-ctx.Done():
		return Token{}, ctx.Err()
	}
}

// wait has a process call Wait, for at most a time.
func (w *simWorld) wait(p *simProc, n int, req Request, most time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithValue(p.ctx, simCall{}, n), most)
	w.faults.waits = append(w.faults.waits, cancel)
	p.calls.Go(func() {
		defer cancel()
		w.called(ctx, p, req, func() (Grant, error) { return p.guard.Wait(ctx, req) })
	})
}

// adoptedBefore is I1 for what was adopted: it counts as a start, so none may follow too soon. An attempt whose end comes in
// a day late is entered once more, with the start that it had, and follows nothing that came in between.
func (c *simCheck) adoptedBefore(a *ledger.Attempt, last *ledger.Document) error {
	inHour := 0
	for i := range last.Attempts {
		b := &last.Attempts[i]
		since := a.Start.Sub(b.End)
		if !b.Adopted || since < 0 || since >= time.Hour {
			continue
		}
		if inHour++; since < 300*time.Second {
			return fmt.Errorf("I1: %s started %v after a token was adopted", a.ID, since)
		}
	}
	if inHour >= 3 {
		return fmt.Errorf("I1: %s started although %d tokens were adopted within an hour", a.ID, inHour)
	}
	return nil
}

// bounded is I9: floods leave a document of a bounded size.
func (c *simCheck) bounded(data []byte) error {
	if len(data) > 256<<10 {
		return fmt.Errorf("I9: the document has %d bytes", len(data))
	}
	if strings.Count(string(data), "\"adopted\"") > 200 {
		return errors.New("I9: more adopted attempts than a window can need")
	}
	return nil
}
