package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

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
	mutate func(d *ledger.Document, now timeline.Instant)
	now    func() time.Time
	tidy   func(now time.Time) // with each commit
}

func (s *mutantStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	return s.Store.Update(ctx, name, func(snap Snapshot) ([]byte, error) {
		data, err := fn(snap)
		if err != nil || data == nil {
			return data, err
		}
		s.tidy(s.now())
		if s.mutate == nil {
			return data, nil
		}
		d, err := ledger.Decode(data)
		if err != nil {
			return nil, err
		}
		s.mutate(d, timeline.UnixNano(s.now()))
		return d.Encode()
	})
}

var modelScopes = []string{"", "a", "b"}

func newModelWorld(pick func(string, int) int, mutate func(*ledger.Document, timeline.Instant)) (*modelWorld, error) {
	w := &modelWorld{pick: pick, clock: &modelClock{now: time.Unix(1.8e9, 0)}, hung: make(chan struct{})}
	durations := func(label string, ds ...time.Duration) time.Duration { return ds[pick(label, len(ds))] }
	base := durations("base", time.Second, time.Minute, 10*time.Minute)
	w.log = modelLog{closed: map[string]modelPause{}, refusals: map[string]int{}, started: map[string]time.Time{}, limits: RateLimits{
		MaxRequestsPerHour: 1 + pick("per hour", 5), MaxRequestsPerDay: 1 + pick("per day", 12),
		MinInterval:        durations("interval", time.Second, time.Minute, 5*time.Minute, time.Hour),
		FailureBackoffBase: base, MaxBackoff: base * time.Duration(1+pick("backoffs", 20)),
	}}
	w.store = &mutantStore{Store: NewMemoryStore(), mutate: mutate, now: w.clock.Now, tidy: w.log.tidy}
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
	w.log.pull(now) // a look pulls
	ex, err := w.guard.Explain(context.Background(), Request{Scope: scope})
	if err == nil {
		err = w.guard.replica.Save(context.Background()) // Acquire does it, too, but at most once a second
	}
	if err != nil {
		return err
	}
	if ex.Verdict.Answer == AnswerWait { // for one that crashed
		w.clock.add(w.guard.opt.policy.Lease())
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
			return NewToken("secret "+strconv.Itoa(w.tokens), w.clock.Now().Add(time.Nanosecond)), nil
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
	// The model is of the limits. That a scope which never worked leaves what is spare to the others is another rule.
	if refused, ok := errors.AsType[*RefusedError](err); ok && w.asked == asked && refused.Verdict.Reason == ReasonKeptBack {
		return nil
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
		if now.Sub(s) < ledger.Hour {
			inHour++
		}
		if now.Sub(s) < ledger.Day {
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
		w.log.ends = append(w.log.ends, start.Add(w.guard.opt.policy.Lease()))
		w.log.kills(start.Add(w.guard.opt.policy.Lease()), w.guard.opt.policy.Lease())
		return
	}
	end := w.clock.Now()
	w.log.ends = append(w.log.ends, end)
	if class == ClassNone {
		w.log.failed, w.log.refusals[scope] = 0, 0
		delete(w.log.closed, scope)
		return
	}
	if end.Add(retry).After(w.log.pause.until) && retry > 0 {
		w.log.pause = modelPause{end.Add(retry), retry}
	}
	switch class {
	case ClassForbidden, ClassClientError, ClassAuthInvalid:
		w.log.refusals[scope]++
		length := modelBackoff(time.Hour, w.log.refusals[scope], ledger.Day)
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
