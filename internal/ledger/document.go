package ledger

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Versions of the layout. A document of a newer one than these is left alone. One that holds identities, or counts
// of attempts in place of attempts, is of the second, because a guard that drops them would acquire where it must not.
const (
	firstVersion    = 1
	secondVersion   = 2
	documentVersion = secondVersion
)

// Bounds of what the document keeps beside the attempts of a day and the cached tokens.
const (
	MaxScopes     = 1024               // scopes with a pause, a closing or a recent start
	maxTombstones = 512                // tokens known without their value
	maxTriggers   = 256                // dedup records
	maxNamed      = 256                // attempts that are known by scope and operation, beside those that rules ask for
	tombstoneLife = 7 * 24 * time.Hour // how long a rejection outlives its token
	Hour          = time.Hour
	Day           = 24 * time.Hour
)

// Whose token it is.
const (
	Anonymous = "anonymous" // metered, acquired from the upstream
	Personal  = "personal"  // the account's own
)

// Document is all that outlives a process. Values are immutable once published: changes go to a clone, and there to
// records that Edit returned.
type Document struct {
	Version int              `json:"version"`
	Epoch   string           `json:"epoch,omitempty"`
	Settled bool             `json:"settled,omitempty"` // Epoch was seen on a document that existed
	Lost    timeline.Instant `json:"lost,omitempty"`    // when commits may have been lost: the limits are treated as used up
	Clock   Clock            `json:"clock"`
	Swept   timeline.Instant `json:"swept,omitempty"`

	Seq      uint64            `json:"seq,omitempty"` // numbers the attempts, for order and fencing
	Attempts []Attempt         `json:"attempts,omitempty"`
	Folded   []Fold            `json:"folded,omitempty"` // adopted attempts that are counted only, oldest first
	Failures Streak            `json:"failures,omitzero"`
	Pause    Pause             `json:"pause,omitzero"` // Retry-After of the whole guard
	Scopes   map[string]*Scope `json:"keys,omitempty"` // by scope, anonymous
	Tokens   map[string]*Token `json:"tokens,omitempty"`
	Triggers []Trigger         `json:"records,omitempty"`
	History  predict.History   `json:"history,omitzero"`
	Counts   Totals            `json:"counts,omitzero"`
	Limits   []PeerLimits      `json:"limits,omitempty"` // of the guards that share it, to show a mismatch
	Renewals Renewals          `json:"renewals,omitzero"`

	ByScope ScopeIndex `json:"-"` // derived

	dropped []Dropped // identities for which there was no room since the document that was last stored

	frozen bool      // it is published, and its records are
	from   *Document // the published one that it is a clone of, until it is published itself
	ids    []string  // of the tokens, sorted, as of the published document that it comes from; nil: from none
	scopes []string  // their names likewise
	size   int       // of that one, encoded
	text   *tokensText
	moved  bool // since that was made tokens may have come or gone

	edited  []*Token // by Edit since it was cloned from a published document
	indexed bool     // since then tokens may have come or gone
}

// Streak are the consecutive failed acquisitions and the last of them.
type Streak struct {
	Count  int              `json:"count,omitempty"`
	At     timeline.Instant `json:"at,omitempty"` // end of the last one
	ID     string           `json:"id,omitempty"` // its attempt
	Class  string           `json:"class,omitempty"`
	Status int              `json:"status,omitempty"`
	Text   string           `json:"text,omitempty"`   // masked
	Banned int              `json:"banned,omitempty"` // of Count, those that refused who asks, whatever the scope
}

// Token is what is known of one token. It outlives the value.
type Token struct {
	ID            string           `json:"-"`
	Kind          string           `json:"kind"`
	Scope         string           `json:"scope,omitempty"`
	Acquired      timeline.Instant `json:"acquired"`
	Doubt         time.Duration    `json:"doubt,omitempty"`       // Acquired may be so much too late, never too early; a guard that drops it ends the TTL as much later
	Expiry        timeline.Instant `json:"expiry,omitempty"`      // 0: not stated
	WallExpiry    timeline.Instant `json:"wall_expiry,omitempty"` // Expiry, by the wall clock of the machine that received it
	Seq           uint64           `json:"seq,omitempty"`
	Value         string           `json:"value,omitempty"`
	Bytes         []byte           `json:"bytes,omitempty"` // the value, where JSON strings cannot hold it or hold it badly
	Sealed        []byte           `json:"sealed,omitempty"`
	Private       bool             `json:"private,omitempty"` // the value is in the memory of the process that acquired it
	Used          timeline.Instant `json:"used,omitempty"`
	First         timeline.Instant `json:"first,omitempty"` // first success of the rolling quota period
	Succeeded     bool             `json:"succeeded,omitempty"`
	Suspect       timeline.Instant `json:"suspect,omitempty"`
	Heard         timeline.Instant `json:"heard,omitempty"` // newest refusal for quota that was taken in
	Spent         timeline.Instant `json:"spent,omitempty"`
	Reset         timeline.Instant `json:"reset,omitempty"`   // when the upstream says that the quota is full again
	Assumed       bool             `json:"assumed,omitempty"` // Reset is that of the quota period; this and the next two as in Evidence, of the personal token
	Trying        timeline.Instant `json:"trying,omitempty"`
	Missed        int              `json:"missed,omitempty"`
	Rejected      timeline.Instant `json:"rejected,omitempty"`
	Usage         predict.Usage    `json:"usage,omitzero"`
	Evidence      []Evidence       `json:"evidence,omitempty"`       // by operation; of anonymous tokens
	Uses          int              `json:"uses,omitempty"`           // successes, of all operations
	FreshRefusals int              `json:"fresh_refusals,omitempty"` // operations that refused it while it was fresh, at most 2
	FreshRefused  timeline.Instant `json:"fresh_refused,omitempty"`  // the last of them
	FreshBy       []string         `json:"fresh_by,omitempty"`       // which; not in Evidence, whose entries give way to others
	Also          []string         `json:"also,omitempty"`           // further scopes for which the upstream gave the same value
	Ended         bool             `json:"ended,omitempty"`          // its usage went into the history
	Parts         Parts            `json:"parts,omitzero"`           // its further secrets, the refresh token among them
	Dropped       bool             `json:"dropped,omitempty"`        // the value is gone, or was never there; the parts remain
	Identity      *Identity        `json:"identity,omitempty"`
	Successor     string           `json:"successor,omitempty"` // ID of the newest value of the same identity

	form *form // it is frozen: documents share it
}

// HasValue reports whether the value is kept.
func (r *Token) HasValue() bool {
	return !r.Dropped && (r.Value != "" || r.Bytes != nil || r.Sealed != nil || r.Private)
}

// HasSecret reports whether the value or a part is kept.
func (r *Token) HasSecret() bool { return r.HasValue() || r.Private || !r.Parts.isZero() }

// LastFailure is the newest of all, also of those that closed their key alone.
func (d *Document) LastFailure() *Streak {
	last := &d.Failures
	for _, k := range d.Scopes {
		if k.Last.At > last.At {
			last = &k.Last
		}
	}
	return last
}

// Totals are totals since the document was made.
type Totals struct {
	Starts    uint64            `json:"starts,omitempty"`
	Successes uint64            `json:"successes,omitempty"`
	Failures  map[string]uint64 `json:"failures,omitempty"`
}

func (c *Totals) failed(class string) {
	if c.Failures == nil {
		c.Failures = map[string]uint64{}
	}
	c.Failures[class]++
}

func New() *Document {
	return &Document{Version: firstVersion, Scopes: map[string]*Scope{}, Tokens: map[string]*Token{}}
}

// Newest is the key's newest known anonymous token, or nil.
func (d *Document) Newest(scope string) *Token {
	if rs := d.ByScope.Of(scope); len(rs) > 0 {
		return rs[0]
	}
	return nil
}

// Prune drops what no rule looks at any more. It is part of every commit that changes something.
func (d *Document) Prune(policy *Policy, now timeline.Instant) {
	// The last ones stay whatever the clock says: one that jumps ahead and back again frees nothing.
	for len(d.Attempts) > policy.RateLimit.MaxRequestsPerDay && d.Attempts[0].End <= now-timeline.Instant(Day) {
		d.Attempts = slices.Delete(d.Attempts, 0, 1)
	}
	for i := range d.Attempts {
		a := &d.Attempts[i]
		if a.Running && !a.InProgress(now) {
			a.Running = false // killed: charged to its lease's end, but no failure
		}
		if !a.Running && !a.Solo && i < len(d.Attempts)-maxNamed {
			a.Scope, a.Operation, a.Named = "", "", false
		}
	}
	d.foldAdopted(policy, now)
	d.pruneRenewals(policy, now)
	d.Triggers = slices.DeleteFunc(d.Triggers, func(r Trigger) bool { return now >= r.Start.Plus(max(policy.Dedup.Window, Hour)) })
	if extra := len(d.Triggers) - maxTriggers; extra > 0 {
		d.Triggers = slices.Delete(d.Triggers, 0, extra)
	}
	maps.DeleteFunc(d.Scopes, func(scope string, k *Scope) bool { return d.isStale(scope, k, now) })
	d.evictScopes(now)
	if now < d.Swept.Plus(policy.Cache.CleanupInterval) && len(d.Tokens) <= policy.Cache.MaxTokens+maxTombstones {
		return
	}
	d.trimEvidence()
	d.Swept = now
	d.sweepTokens(policy, now)
}

// PeerLimits are the limits of a guard that committed lately.
type PeerLimits struct {
	PerHour  int              `json:"hour"`
	PerDay   int              `json:"day"`
	Interval time.Duration    `json:"interval"`
	At       timeline.Instant `json:"at"`
}

// NotePeer notes the limits that this guard keeps, at most four different ones.
func (d *Document) NotePeer(l LimitPolicy, now timeline.Instant) {
	mine := PeerLimits{l.MaxRequestsPerHour, l.MaxRequestsPerDay, l.MinInterval, now}
	d.Limits = slices.DeleteFunc(d.Limits, func(s PeerLimits) bool {
		return s.At <= now-timeline.Instant(Day) || s.PerHour == mine.PerHour && s.PerDay == mine.PerDay && s.Interval == mine.Interval
	})
	d.Limits = append(d.Limits, mine)
	d.Limits = d.Limits[max(0, len(d.Limits)-4):]
}

// Clock is what the document keeps of the meter.
type Clock struct {
	Last  timeline.Instant `json:"last"`
	Boots map[string]int64 `json:"boots,omitempty"` // boot id: offset of its boot clock
	Kind  ClockKind        `json:"kind,omitempty"`  // empty: of a version that did not tell, or a store's own clock
}

// ClockKind is which clock moves a document's time.
type ClockKind string

// A guard that counted on from the other kind would keep its limits by a time that nobody lives in: an instant of a test in
// the year 2050 would then be the last that real processes know.
const (
	MachineClock   ClockKind = "machine"
	SimulatedClock ClockKind = "simulated" // of the user, or of a testing/synctest bubble
)

// MaxBoots bounds the boots, and so the machines, that a document remembers.
const MaxBoots = 8

// Latest is the newest anonymous token of all keys; nil: none is known.
func (d *Document) Latest() (newest *Token) {
	for _, rec := range d.Tokens {
		if rec.Kind == Anonymous && (newest == nil || rec.Seq > newest.Seq) {
			newest = rec
		}
	}
	return newest
}

// Summary is the failure's status and text.
func (f *Streak) Summary() string {
	switch {
	case f.Status == 0:
		return f.Message()
	case f.Text == "":
		return fmt.Sprintf("HTTP status %d", f.Status)
	}
	return fmt.Sprintf("%d: %s", f.Status, f.Text)
}

// Message is the failure's text; one without text still has its class.
func (f *Streak) Message() string {
	if f.Text == "" && f.Status == 0 {
		return string(f.Class)
	}
	return f.Text
}
