package tokenguard

import "time"

// EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	EventServed   EventKind = "served"   // a call was answered with a token
	EventRefused  EventKind = "refused"  // a call was answered without one
	EventStarted  EventKind = "started"  // an acquisition was charged and began
	EventAcquired EventKind = "acquired" // it brought a token
	EventFailed   EventKind = "failed"   // it did not
	EventReported EventKind = "reported" // the outcome of a call changed what is known of a token
	EventAdopted  EventKind = "adopted"  // a token fetched elsewhere was taken in
	EventCleared  EventKind = "cleared"  // an operator lifted a refusal
	EventWarning  EventKind = "warning"  // exhaustion of a token or of a budget is forecast
	// EventCandidate: WithCandidate's settings would have answered otherwise, with the Verdict of the event.
	EventCandidate EventKind = "candidate"
	EventState     EventKind = "state" // the state was lost, set aside, clamped, or is back
)

// Event is one thing that happened in a guard. It holds no secret.
type Event struct {
	At      time.Time `json:"at"`
	Kind    EventKind `json:"kind"`
	Guard   string    `json:"guard"`
	Scope   string    `json:"scope,omitempty"`
	Caller  string    `json:"caller,omitempty"`
	TokenID string    `json:"token_id,omitempty"`
	Source  Source    `json:"source,omitempty"`
	Verdict Verdict   `json:"verdict,omitzero"`
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
