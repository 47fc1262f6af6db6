package tokenguard

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
	"pgregory.net/rapid"
)

// The limits against a model that is obviously right: plain lists of instants, walked through from end to end.

// modelLog is what the limits should remember.
type modelLog struct {
	limits   RateLimits
	ends     []time.Time                 // of every attempt; of an unfinished one its lease's end
	killed   map[time.Time]time.Duration // the lengths of those leases, by their ends
	failed   int                         // in a row
	failedAt time.Time
	pause    modelPause            // Retry-After
	closed   map[string]modelPause // scopes that RequestFunc was refused for
	refusals map[string]int
	started  map[string]time.Time // last start by scope
}

type modelPause struct {
	until  time.Time
	length time.Duration
}

// opens is when the limits let a start of this scope through; not after now: they do.
func (m *modelLog) opens(scope string, now time.Time) time.Time {
	latest := now
	for _, w := range []struct {
		length time.Duration
		limit  int
	}{{ledger.Hour, m.limits.MaxRequestsPerHour}, {ledger.Day, m.limits.MaxRequestsPerDay}} {
		for m.within(latestOf(now, m.ends, w.length, w.limit), w.length) >= w.limit {
			panic("the model contradicts itself")
		}
		latest = later(latest, latestOf(now, m.ends, w.length, w.limit))
	}
	for _, end := range m.ends {
		latest = later(latest, end.Add(m.limits.MinInterval))
	}
	if m.failed > 0 {
		latest = later(latest, m.failedAt.Add(modelBackoff(m.limits.FailureBackoffBase, m.failed, m.limits.MaxBackoff)))
	}
	return later(later(latest, m.pause.until), m.closed[scope].until)
}

// within counts the ends in the length before t, and those after t.
func (m *modelLog) within(t time.Time, length time.Duration) (n int) {
	for _, end := range m.ends {
		if end.After(t.Add(-length)) {
			n++
		}
	}
	return n
}

// latestOf is the first instant from now on at which fewer than limit ends lie within the length before it.
func latestOf(now time.Time, ends []time.Time, length time.Duration, limit int) time.Time {
	m := modelLog{ends: ends}
	if m.within(now, length) < limit {
		return now
	}
	best := time.Time{}
	for _, end := range ends { // it can only be where an end leaves
		if t := end.Add(length); t.After(now) && m.within(t, length) < limit && (best.IsZero() || t.Before(best)) {
			best = t
		}
	}
	return best
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// modelBackoff is min(base * 2^(n-1), most), without the overflow.
func modelBackoff(base time.Duration, n int, most time.Duration) time.Duration {
	for range n - 1 {
		if base *= 2; base >= most {
			return most
		}
	}
	return min(base, most)
}

// pull is what is documented for a clock that steps back by more than a day.
func (m *modelLog) pull(now time.Time) {
	for i, end := range m.ends {
		length := m.killed[end]
		if end.Add(-length).After(now.Add(25 * time.Hour)) {
			m.ends[i] = now.Add(length)
			m.kills(m.ends[i], length)
		}
	}
	if m.failedAt.After(now.Add(25 * time.Hour)) {
		m.failedAt = now
	}
	begin := func(p modelPause) modelPause {
		if p.until.Add(-p.length).After(now.Add(25 * time.Hour)) {
			p.until = now.Add(p.length)
		}
		return p
	}
	m.pause = begin(m.pause)
	for scope, p := range m.closed {
		m.closed[scope] = begin(p)
	}
	for scope, at := range m.started {
		if at.After(now.Add(25 * time.Hour)) {
			m.started[scope] = now
		}
	}
}

// kills notes the length of an attempt that has no other end than its lease's.
func (m *modelLog) kills(end time.Time, length time.Duration) {
	if m.killed == nil {
		m.killed = map[time.Time]time.Duration{}
	}
	if length > 0 {
		m.killed[end] = length
	}
}

// forget drops ends of more than a day ago but for the last ones: those decide after a step back.
func (m *modelLog) forget(now time.Time) {
	slices.SortFunc(m.ends, time.Time.Compare)
	for len(m.ends) > m.limits.MaxRequestsPerDay && !m.ends[0].After(now.Add(-ledger.Day)) {
		m.ends = m.ends[1:]
	}
}

// tidy drops a scope's refusals a day after it opened again, with each commit.
func (m *modelLog) tidy(now time.Time) {
	for scope, p := range m.closed {
		if !p.until.After(now.Add(-ledger.Day)) && !m.started[scope].After(now.Add(-ledger.Day)) {
			delete(m.closed, scope)
			delete(m.refusals, scope)
		}
	}
}

func TestLimitsAgainstTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
		w, err := newModelWorld(pick, nil)
		if err == nil {
			err = w.run(60)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

// wrongRules are limiters that were really written somewhere. Each is brought about by what it would have stored.
var wrongRules = map[string]func(o RateLimits) func(*ledger.Document, timeline.Instant){
	"refund on failure": func(RateLimits) func(*ledger.Document, timeline.Instant) {
		return func(d *ledger.Document, _ timeline.Instant) {
			dropAttempts(d, func(a ledger.Attempt) bool { return a.Failed })
		}
	},
	"count from the start": func(RateLimits) func(*ledger.Document, timeline.Instant) {
		return func(d *ledger.Document, _ timeline.Instant) {
			for i := range d.Attempts {
				d.Attempts[i].End = d.Attempts[i].Start
			}
		}
	},
	"prune by count": func(o RateLimits) func(*ledger.Document, timeline.Instant) {
		return func(d *ledger.Document, _ timeline.Instant) {
			d.Attempts = d.Attempts[max(0, len(d.Attempts)-max(1, o.MaxRequestsPerHour-1)):]
		}
	},
	"ignore what is unfinished": func(RateLimits) func(*ledger.Document, timeline.Instant) {
		return func(d *ledger.Document, now timeline.Instant) {
			dropAttempts(d, func(a ledger.Attempt) bool { return a.InProgress(now) })
		}
	},
	"token bucket": func(o RateLimits) func(*ledger.Document, timeline.Instant) {
		return func(d *ledger.Document, now timeline.Instant) {
			refill := ledger.Hour / time.Duration(o.MaxRequestsPerHour)
			level, last := time.Duration(o.MaxRequestsPerHour)*refill, timeline.Instant(0)
			for _, a := range d.Attempts {
				level = min(level+a.End.Sub(max(last, a.End-timeline.Instant(ledger.Hour))), ledger.Hour) - refill
				last = a.End
			}
			level = min(level+now.Sub(max(last, now-timeline.Instant(ledger.Hour))), ledger.Hour)
			spent := int((ledger.Hour - level + refill - 1) / refill)
			d.Attempts = d.Attempts[max(0, len(d.Attempts)-max(spent, 1)):]
		}
	},
	"forget the backoff over a restart": func(RateLimits) func(*ledger.Document, timeline.Instant) {
		return func(d *ledger.Document, _ timeline.Instant) { d.Failures = ledger.Streak{} }
	},
}

func dropAttempts(d *ledger.Document, del func(ledger.Attempt) bool) {
	kept := d.Attempts[:0:0]
	for _, a := range d.Attempts {
		if !del(a) {
			kept = append(kept, a)
		}
	}
	d.Attempts = kept
}

// The checker catches each wrong rule, so it would catch ours.
func TestModelCatchesWrongRules(t *testing.T) {
	for name, rule := range wrongRules {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(200) {
				random := rand.New(rand.NewPCG(seed, 1))
				w, err := newModelWorld(func(_ string, n int) int { return random.IntN(n) }, nil)
				require.NoError(t, err)
				w.store.mutate = rule(w.log.limits)
				if err := w.run(60); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Fatal("no run noticed it")
		})
	}
}
