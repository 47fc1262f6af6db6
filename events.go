package tokenguard

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/tokenguard/tokenguard/internal/journal"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/meter"
)

// EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	EventServed   EventKind = "served"   // a call was answered with a token
	EventRefused  EventKind = "refused"  // a call was answered without one
	EventStarted  EventKind = "started"  // an acquisition was charged and began
	EventAcquired EventKind = "acquired" // it succeeded
	EventFailed   EventKind = "failed"   // it did not
	EventReported EventKind = "reported" // the outcome of a call changed what is known of a token
	EventAdopted  EventKind = "adopted"  // a token fetched elsewhere was stored
	EventCleared  EventKind = "cleared"  // an operator lifted a refusal
	EventWarning  EventKind = "warning"  // exhaustion of a token or of a budget is forecast
	// EventCandidate: WithCandidate's settings would have answered otherwise, with the Verdict of the event.
	EventCandidate     EventKind = "candidate"
	EventRenewed       EventKind = "renewed"        // a known account's token was renewed
	EventRenewalFailed EventKind = "renewal_failed" // it was not
	EventIdentityEnded EventKind = "identity_ended" // the upstream does not know an account any more
	// EventIdentityDropped: there was no room in the state for an account that could be renewed; its key will acquire anew.
	EventIdentityDropped EventKind = "identity_dropped"
	EventState           EventKind = "state" // the state was lost, set aside, clamped, or is back
)

// Event is one thing that happened in a guard. It holds no secret.
type Event struct {
	At      time.Time `json:"at"`
	Kind    EventKind `json:"kind"`
	Guard   string    `json:"guard"`
	Scope   string    `json:"scope,omitempty"`
	Caller  string    `json:"caller,omitempty"`
	TokenID string    `json:"token_id,omitempty"`
	// Identity is the account that was renewed, ended or dropped, as Token.Identity names it.
	Identity string  `json:"identity,omitempty"`
	Source   Source  `json:"source,omitempty"`
	Verdict  Verdict `json:"verdict,omitzero"`
	// Shadow: the refusal did not reach the caller (WithShadowModeRefusingNothing).
	Shadow bool `json:"shadow,omitempty"`
	// Failing is the token that the call's own failure named, by its ID.
	Failing string `json:"failing,omitempty"`
	// Text is the masked failure text, or what the event says.
	Text string `json:"text,omitempty"`
	// Took is how long an acquisition ran.
	Took time.Duration `json:"took_ns,omitempty"`
	// Repeats is how many like events were counted, but not sent, since the last one.
	Repeats int `json:"repeats,omitempty"`
}

// eventSort is what makes two events alike for sampling.
type eventSort struct {
	kind   EventKind
	reason Reason
	class  Class
}

func sortOf(e *Event) (eventSort, bool) {
	switch e.Kind {
	case EventRefused, EventServed, EventReported, EventFailed, EventState, EventCandidate, EventRenewalFailed:
		return eventSort{e.Kind, e.Verdict.Reason, e.Verdict.Class}, true
	}
	return eventSort{}, false
}

// emitter sends events to the observers, the log, the subscribers and the history. Repeated events are sampled;
// Event.Repeats counts what was left out. No lock is held while an observer or a logger runs.
type emitter struct {
	name      string
	journal   *journal.Journal[Event, eventSort]
	observers []func(Event)
	logger    *slog.Logger
	masked    func(string) string
	bypasses  func(Reason) bool // shadow mode: a refusal for this reason does not reach the caller
}

func newEmitter(o *options, base time.Time, masked func(string) string, bypasses func(Reason) bool) *emitter {
	return &emitter{name: o.name, journal: journal.New(base, sortOf), observers: o.observers, logger: o.logger, masked: masked, bypasses: bypasses}
}

func (m *emitter) emit(e Event) {
	e.Guard, e.Caller = m.name, m.masked(e.Caller)
	e.Shadow = e.Kind == EventRefused && m.bypasses(e.Verdict.Reason)
	var due bool
	if e.Repeats, due = m.journal.Admit(&e); !due {
		return
	}
	m.journal.Append(e)
	m.tell(&e, m.observers)
}

// tell calls the observers and the logger. One that panics, or ends the goroutine, keeps the event from no other.
func (m *emitter) tell(e *Event, observers []func(Event)) {
	if len(observers) == 0 {
		m.log(e)
		return
	}
	defer m.tell(e, observers[1:])
	observers[0](*e)
}

// notice emits what was found in the state.
func (m *emitter) notice(at time.Time, text string) {
	m.emit(Event{At: at, Kind: EventState, Text: text})
}

// cut emits that an upstream asked for a longer pause than it gets.
func (m *emitter) cut(at time.Time, scope string) {
	m.emit(Event{At: at, Kind: EventState, Scope: scope, Text: fmt.Sprintf("the upstream's Retry-After of more than %v was cut to it", ledger.MaxRetryAfter)})
}

// late emits that an answer is honoured which came after what was given up: its failure was an event then.
func (m *emitter) late(at time.Time, scope, what string, failed *ledger.Streak) {
	m.emit(Event{At: at, Kind: EventState, Scope: scope, Text: fmt.Sprintf("an answer that came after its %s was given up is honoured (%s): %s", what, failed.Class, failed.Summary())})
}

// dropped emits that there was no room for an account.
func (m *emitter) dropped(meter *meter.Meter) func(ledger.Dropped) {
	return func(d ledger.Dropped) {
		m.emit(Event{At: meter.Read().Wall, Kind: EventIdentityDropped, Scope: d.Scope, TokenID: d.TokenID, Identity: d.Identity,
			Text: "there is no room for all accounts that can be renewed: this one was used least recently, and its key will acquire anew"})
	}
}

// components are the names under which operators know the steps.
var components = map[Step]string{
	StepDedup: "TokenRequestDeduplicator", StepCache: "TokenCache", StepGate: "TokenRequestDeduplicator",
	StepManager: "SmartTokenManager", StepLimiter: "TokenRateLimit", StepPredictor: "QuotaPredictor",
}

func (m *emitter) log(e *Event) {
	level := slog.LevelInfo
	switch e.Kind {
	case EventFailed, EventWarning, EventState, EventRenewalFailed, EventIdentityEnded, EventIdentityDropped:
		level = slog.LevelWarn
	case EventServed, EventCandidate:
		level = slog.LevelDebug
	}
	ctx := context.Background()
	if !m.logger.Enabled(ctx, level) {
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
	add("scope", m.masked(e.Scope))
	add("caller", e.Caller)
	add("token", e.TokenID)
	add("identity", e.Identity)
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
	m.logger.LogAttrs(ctx, level, messages[e.Kind], attrs...)
}

// messages are the log's words for events.
var messages = map[EventKind]string{
	EventServed: "token served", EventRefused: "call refused", EventStarted: "acquisition started",
	EventAcquired: "token acquired", EventFailed: "acquisition failed", EventReported: "outcome reported",
	EventAdopted: "token adopted", EventCleared: "refusals cleared", EventWarning: "limit about to be reached",
	EventRenewed: "token renewed", EventRenewalFailed: "renewal failed", EventIdentityEnded: "identity ended",
	EventIdentityDropped: "identity dropped",
	EventCandidate:       "candidate disagrees", EventState: "state changed",
}

// History returns the last events, oldest first: at most 512.
func (g *Guard) History() iter.Seq[Event] {
	events := g.events.journal.History()
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
	return g.events.journal.Subscribe(ctx, g.ended)
}
