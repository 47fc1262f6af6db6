package tokenguard

import (
	"context"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// What happened, for the observer, the log and the history. Storms are sampled and counted, never dropped silently.

const (
	historySize = 512         // events kept
	sampleEvery = time.Second // of like refusals, one each
	sampleBurst = 100         // after a burst
	sampleKinds = 256         // sorts of events that are sampled apart
)

type diary struct {
	opt   *options
	base  time.Time     // of the monotonic readings
	retry *rate.Limiter // paces attempts to store what waits

	mu      sync.Mutex // guards what follows
	ring    []Event    // the last historySize, from next on
	next    int
	samples map[sampleKey]*sample
	readers map[chan Event]struct{}
}

// sampleKey are events of one sort.
type sampleKey struct {
	kind   EventKind
	reason Reason
	class  Class
}

type sample struct {
	limiter *rate.Limiter
	skipped atomic.Int64
	closed  atomic.Int64 // monotonic nanoseconds before which limiter has nothing to give
}

func (d *diary) init(o *options, base time.Time) {
	d.opt, d.base = o, base
	d.retry = rate.NewLimiter(rate.Every(time.Second), 1)
	d.samples = map[sampleKey]*sample{}
	d.readers = map[chan Event]struct{}{}
}

// mayRetry paces what is tried again while the store does not take it.
func (d *diary) mayRetry() bool { return d.retry.AllowN(time.Now(), 1) }

// admit counts an event in or, in a storm of its sort, only counts it.
func (d *diary) admit(e *Event) bool {
	switch e.Kind {
	case EventRefused, EventServed, EventReported, EventFailed, EventState, EventCandidate:
	default:
		return true
	}
	s := d.sampleLocked(e)
	if s == nil {
		return false
	}
	if now := time.Now(); !s.limiter.AllowN(now, 1) {
		s.close(d.base, now)
		s.skipped.Add(1)
		return false
	}
	e.Repeats = int(s.skipped.Swap(0))
	return true
}

// sample returns the sample of the event's sort; nil: there are too many sorts.
func (d *diary) sample(e *Event) *sample {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sampleLocked(e)
}

func (d *diary) sampleLocked(e *Event) *sample {
	key := sampleKey{e.Kind, e.Verdict.Reason, e.Verdict.Class}
	s := d.samples[key]
	if s == nil && len(d.samples) < sampleKinds {
		s = &sample{limiter: rate.NewLimiter(rate.Every(sampleEvery), sampleBurst)}
		d.samples[key] = s
	}
	return s
}

// note keeps an event and returns who wants it; nil: it is only counted.
func (d *diary) note(e *Event) (readers []chan Event, admitted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.admit(e) {
		return nil, false
	}
	if len(d.ring) < historySize {
		d.ring = append(d.ring, *e)
	} else {
		d.ring[d.next] = *e
	}
	d.next = (d.next + 1) % historySize
	for ch := range d.readers {
		readers = append(readers, ch)
	}
	return readers, true
}

// tell sends an event to everybody. No lock is held while foreign code runs.
func (g *Guard) tell(e Event) {
	e.Guard, e.Caller = g.opt.name, g.masked(e.Caller)
	e.Shadow = e.Kind == EventRefused && g.shadow.takes(e.Verdict.Reason)
	readers, admitted := g.diary.note(&e)
	if !admitted {
		return
	}
	for _, ch := range readers {
		select {
		case ch <- e:
		default: // a reader that does not keep up misses events
		}
	}
	if g.opt.observer != nil {
		g.opt.observer(e)
	}
	g.log(e)
}

// components are the names under which operators know the steps.
var components = map[Step]string{
	StepDedup: "TokenRequestDeduplicator", StepCache: "TokenCache", StepGate: "TokenRequestDeduplicator",
	StepManager: "SmartTokenManager", StepLimiter: "TokenRateLimit", StepPredictor: "QuotaPredictor",
}

func (g *Guard) log(e Event) {
	level := slog.LevelInfo
	switch e.Kind {
	case EventFailed, EventWarning, EventState:
		level = slog.LevelWarn
	case EventServed, EventCandidate:
		level = slog.LevelDebug
	}
	ctx := context.Background()
	if !g.opt.logger.Enabled(ctx, level) {
		return
	}
	component := components[e.Verdict.Step]
	if component == "" {
		component = "OptimizedTokenManager"
	}
	attrs := []slog.Attr{slog.String("component", component), slog.String("guard", e.Guard)}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add("scope", mask(e.Scope))
	add("caller", e.Caller)
	add("token", e.TokenID)
	add("source", string(e.Source))
	add("step", string(e.Verdict.Step))
	add("reason", string(e.Verdict.Reason))
	add("class", string(e.Verdict.Class))
	add("failing", e.Failing)
	add("detail", e.Verdict.Detail)
	add("text", e.Text)
	if !e.Verdict.RetryAt.IsZero() {
		attrs = append(attrs, slog.Time("retry_at", e.Verdict.RetryAt))
	}
	if e.Took > 0 {
		attrs = append(attrs, slog.Duration("took", e.Took))
	}
	if e.Shadow {
		attrs = append(attrs, slog.Bool("shadow", true))
	}
	if e.Repeats > 0 {
		attrs = append(attrs, slog.Int("repeats", e.Repeats))
	}
	g.opt.logger.LogAttrs(ctx, level, "token "+string(e.Kind), attrs...)
}

// History returns the last events, oldest first: at most 512.
func (g *Guard) History() iter.Seq[Event] {
	d := &g.diary
	d.mu.Lock()
	events := make([]Event, 0, len(d.ring))
	if len(d.ring) == historySize {
		events = append(events, d.ring[d.next:]...)
		events = append(events, d.ring[:d.next]...)
	} else {
		events = append(events, d.ring...)
	}
	d.mu.Unlock()
	return func(yield func(Event) bool) {
		for _, e := range events {
			if !yield(e) {
				return
			}
		}
	}
}

// Subscribe returns the events from now on. A reader that does not keep up misses some: the channel holds 64. It is
// closed when ctx ends or the guard closes.
func (g *Guard) Subscribe(ctx context.Context) <-chan Event {
	d := &g.diary
	ch := make(chan Event, 64)
	d.mu.Lock()
	d.readers[ch] = struct{}{}
	d.mu.Unlock()
	out := make(chan Event)
	go func() {
		defer close(out)
		defer func() {
			d.mu.Lock()
			delete(d.readers, ch)
			d.mu.Unlock()
		}()
		for {
			select {
			case e := <-ch:
				select {
				case out <- e:
				case <-ctx.Done():
					return
				case <-g.ended:
					return
				}
			case <-ctx.Done():
				return
			case <-g.ended:
				return
			}
		}
	}()
	return out
}
