package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The limits against a model that is obviously right: plain lists of instants, walked through from end to end.

// modelLog is what the limits should remember.
type modelLog struct {
	limits   RateLimits
	ends     []time.Time // of every attempt; of an unfinished one its lease's end
	failed   int         // in a row
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
	}{{hour, m.limits.MaxRequestsPerHour}, {day, m.limits.MaxRequestsPerDay}} {
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
		if end.After(now.Add(25 * time.Hour)) {
			m.ends[i] = now
		}
	}
	if m.failedAt.After(now.Add(25 * time.Hour)) {
		m.failedAt = now
	}
	begin := func(p modelPause) modelPause {
		if p.until.After(now.Add(25 * time.Hour)) {
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

// forget drops a scope's refusals a day after it opened again, and ends of more than a day ago but for the last ones:
// those decide after a step back.
func (m *modelLog) forget(now time.Time) {
	slices.SortFunc(m.ends, time.Time.Compare)
	for len(m.ends) > m.limits.MaxRequestsPerDay && !m.ends[0].After(now.Add(-day)) {
		m.ends = m.ends[1:]
	}
	for scope, p := range m.closed {
		if !p.until.After(now.Add(-day)) && !m.started[scope].After(now.Add(-day)) {
			delete(m.closed, scope)
			delete(m.refusals, scope)
		}
	}
}

// modelWorld drives real guards on one store beside the model.
type modelWorld struct {
	pick   func(label string, n int) int // 0 to n-1
	clock  *modelClock
	store  *mutantStore
	guard  *Guard
	log    modelLog
	opts   []Option
	answer func(ctx context.Context) (Token, error)
	asked  int
	starts []time.Time // on the guard's clock since it last stepped back
	hung   chan struct{}
	old    []*Guard
	calls  sync.WaitGroup
	tokens int
}

type modelClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *modelClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *modelClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// mutantStore changes each document on its way into the store, as a limiter with a wrong rule would have.
type mutantStore struct {
	Store
	mutate func(d *document, now instant)
	now    func() time.Time
}

func (s *mutantStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	return s.Store.Update(ctx, name, func(snap Snapshot) ([]byte, error) {
		data, err := fn(snap)
		if err != nil || data == nil || s.mutate == nil {
			return data, err
		}
		d, err := decodeDocument(data)
		if err != nil {
			return nil, err
		}
		s.mutate(d, unixNano(s.now()))
		return d.encode()
	})
}

var modelScopes = []string{"", "a", "b"}

func newModelWorld(pick func(string, int) int, mutate func(*document, instant)) (*modelWorld, error) {
	w := &modelWorld{pick: pick, clock: &modelClock{now: time.Unix(1.8e9, 0)}, hung: make(chan struct{})}
	durations := func(label string, ds ...time.Duration) time.Duration { return ds[pick(label, len(ds))] }
	base := durations("base", time.Second, time.Minute, 10*time.Minute)
	w.log = modelLog{closed: map[string]modelPause{}, refusals: map[string]int{}, started: map[string]time.Time{}, limits: RateLimits{
		MaxRequestsPerHour: 1 + pick("per hour", 5), MaxRequestsPerDay: 1 + pick("per day", 12),
		MinInterval:        durations("interval", time.Second, time.Minute, 5*time.Minute, time.Hour),
		FailureBackoffBase: base, MaxBackoff: base * time.Duration(1+pick("backoffs", 20)),
	}}
	w.store = &mutantStore{Store: NewMemoryStore(), mutate: mutate, now: w.clock.Now}
	w.opts = []Option{
		WithRateLimits(w.log.limits), WithStore(w.store), WithName("model"), WithClock(w.clock),
		WithClassifier(func(f Failure) Class { return Class(f.Message) }),
	}
	return w, w.open()
}

func (w *modelWorld) open() (err error) {
	w.guard, err = New(func(ctx context.Context, _ Request) (Token, error) { return w.answer(ctx) }, w.opts...)
	return err
}

func (w *modelWorld) close() error {
	close(w.hung)
	w.calls.Wait()
	for _, g := range append(w.old, w.guard) {
		if err := g.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (w *modelWorld) step() error {
	switch w.pick("action", 10) {
	case 0:
		w.clock.add(time.Duration(1+w.pick("seconds", 120)) * time.Second)
	case 1:
		w.clock.add(time.Duration(1+w.pick("minutes", 90)) * time.Minute)
	case 2:
		w.clock.add(time.Duration(1+w.pick("hours", 30)) * time.Hour)
	case 3:
		back := []time.Duration{time.Second, time.Minute, time.Hour, 20 * time.Hour, 26 * time.Hour, 400 * 24 * time.Hour}
		w.clock.add(-back[w.pick("back", len(back))])
		w.starts = nil
	case 4:
		if err := w.guard.Close(); err != nil {
			return err
		}
		return w.open()
	case 5: // a crash, perhaps with an acquisition in progress
		w.old = append(w.old, w.guard)
		if w.pick("while it asks", 2) == 1 {
			if err := w.acquire(true); err != nil {
				return err
			}
		}
		return w.open()
	default:
		return w.acquire(false)
	}
	return nil
}

// acquire compares what the guard does with what the model says. hang leaves the acquisition unfinished.
func (w *modelWorld) acquire(hang bool) error {
	scope := modelScopes[w.pick("scope", len(modelScopes))]
	now := w.clock.Now()
	w.log.pull(now) // whoever looks pulls
	ex, err := w.guard.Explain(context.Background(), Request{Scope: scope})
	if err == nil {
		err = w.guard.save(context.Background()) // Acquire does it, too, but at most once a second
	}
	if err != nil {
		return err
	}
	if ex.Verdict.Answer == AnswerWait { // for one that crashed
		w.clock.add(w.guard.opt.lease())
		return nil
	}
	var limiter Verdict
	for _, v := range ex.Steps {
		if v.Step == StepLimiter {
			limiter = v
		}
	}
	want := w.log.opens(scope, now)
	switch open := !want.After(now); {
	case open != (limiter.Answer == AnswerPass):
		return fmt.Errorf("at %v the model opens at %v, the limiter says %+v", now, want, limiter)
	case !open && !limiter.Until.Equal(want):
		return fmt.Errorf("at %v the model opens at %v, the limiter at %v (%s)", now, want, limiter.Until, limiter.Reason)
	}

	// What will be answered, should the upstream be asked.
	asked := w.asked
	took := []time.Duration{0, time.Millisecond, 3 * time.Second, 29 * time.Second}[w.pick("took", 4)]
	class := []Class{ClassNone, ClassNone, ClassTransient, ClassRateLimited, ClassUnknown, ClassQuotaExhausted, ClassForbidden, ClassClientError, ClassAuthInvalid}[w.pick("class", 9)]
	retry := []time.Duration{0, 0, time.Minute, 3 * time.Hour, 30 * time.Hour}[w.pick("retry", 5)]
	begun := make(chan struct{})
	w.answer = func(context.Context) (Token, error) {
		w.asked++
		if hang {
			close(begun)
			<-w.hung
			return Token{}, errors.New("too late")
		}
		w.clock.add(took)
		w.tokens++
		if class == ClassNone {
			return NewTokenIn("secret "+strconv.Itoa(w.tokens), time.Nanosecond), nil
		}
		f := Failure{StatusCode: 500, Message: string(class)}
		if retry > 0 {
			f.Header = http.Header{"Retry-After": {strconv.Itoa(int(retry / time.Second))}}
		}
		return Token{}, Failed(f)
	}
	if hang && ex.Verdict.Answer == AnswerStart {
		guard := w.guard
		w.calls.Go(func() { _, _ = guard.Acquire(context.Background(), Request{Scope: scope}) })
		<-begun
	} else if _, err = w.guard.Acquire(context.Background(), Request{Scope: scope}); err != nil && !errors.Is(err, ErrRefused) && w.asked == asked {
		return err
	}
	if (w.asked > asked) != !want.After(now) {
		return fmt.Errorf("at %v the model opens at %v, but the upstream was asked %d times: %v", now, want, w.asked-asked, err)
	}
	if w.asked == asked {
		return nil
	}
	if err := w.started(now); err != nil {
		return err
	}
	w.log.started[scope] = now
	w.log.forget(now)
	w.ended(scope, now, hang, class, retry)
	w.log.forget(w.clock.Now())
	return nil
}

// started is I1, straight from its words.
func (w *modelWorld) started(now time.Time) error {
	inHour, inDay := 1, 1
	for _, s := range w.starts {
		if now.Sub(s) < w.log.limits.MinInterval {
			return fmt.Errorf("starts at %v and %v", s, now)
		}
		if now.Sub(s) < hour {
			inHour++
		}
		if now.Sub(s) < day {
			inDay++
		}
	}
	if inHour > w.log.limits.MaxRequestsPerHour || inDay > w.log.limits.MaxRequestsPerDay {
		return fmt.Errorf("%d starts in an hour, %d in a day, with %+v", inHour, inDay, w.log.limits)
	}
	w.starts = append(w.starts, now)
	return nil
}

func (w *modelWorld) ended(scope string, start time.Time, hung bool, class Class, retry time.Duration) {
	if hung {
		w.log.ends = append(w.log.ends, start.Add(w.guard.opt.lease()))
		return
	}
	end := w.clock.Now()
	w.log.ends = append(w.log.ends, end)
	if class == ClassNone {
		w.log.failed, w.log.refusals[scope] = 0, 0
		delete(w.log.closed, scope)
		return
	}
	if retry = min(retry, day); end.Add(retry).After(w.log.pause.until) && retry > 0 {
		w.log.pause = modelPause{end.Add(retry), retry}
	}
	switch class {
	case ClassForbidden, ClassClientError, ClassAuthInvalid:
		w.log.refusals[scope]++
		length := modelBackoff(time.Hour, w.log.refusals[scope], day)
		w.log.closed[scope] = modelPause{end.Add(length), length}
	default:
		w.log.failed++
		w.log.failedAt = end
	}
}

func (w *modelWorld) run(steps int) error {
	for range steps {
		if err := w.step(); err != nil {
			return errors.Join(err, w.close())
		}
	}
	return w.close()
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
var wrongRules = map[string]func(o RateLimits) func(*document, instant){
	"refund on failure": func(RateLimits) func(*document, instant) {
		return func(d *document, _ instant) { d.dropAttempts(func(a attempt) bool { return a.Failed }) }
	},
	"count from the start": func(RateLimits) func(*document, instant) {
		return func(d *document, _ instant) {
			for i := range d.Attempts {
				d.Attempts[i].End = d.Attempts[i].Start
			}
		}
	},
	"prune by count": func(o RateLimits) func(*document, instant) {
		return func(d *document, _ instant) {
			d.Attempts = d.Attempts[max(0, len(d.Attempts)-max(1, o.MaxRequestsPerHour-1)):]
		}
	},
	"ignore what is unfinished": func(RateLimits) func(*document, instant) {
		return func(d *document, now instant) { d.dropAttempts(func(a attempt) bool { return a.inProgress(now) }) }
	},
	"token bucket": func(o RateLimits) func(*document, instant) {
		return func(d *document, now instant) {
			refill := hour / time.Duration(o.MaxRequestsPerHour)
			level, last := time.Duration(o.MaxRequestsPerHour)*refill, instant(0)
			for _, a := range d.Attempts {
				level = min(level+a.End.sub(max(last, a.End-instant(hour))), hour) - refill
				last = a.End
			}
			level = min(level+now.sub(max(last, now-instant(hour))), hour)
			spent := int((hour - level + refill - 1) / refill)
			d.Attempts = d.Attempts[max(0, len(d.Attempts)-max(spent, 1)):]
		}
	},
	"forget the backoff over a restart": func(RateLimits) func(*document, instant) {
		return func(d *document, _ instant) { d.Failures = failures{} }
	},
}

func (d *document) dropAttempts(del func(attempt) bool) {
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
