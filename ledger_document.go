package tokenguard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/predict"
)

// documentVersion is the newest layout that this code writes. A document of a newer one is left alone.
const documentVersion = 1

// Bounds of what the document keeps beside the attempts of a day and the cached tokens.
const (
	maxKeys       = 1024               // scopes with a pause, a closing or a recent start
	maxTombstones = 512                // tokens known without their value
	maxRecords    = 256                // dedup records
	tombstoneLife = 7 * 24 * time.Hour // how long a rejection outlives its token
	hour          = time.Hour
	day           = 24 * time.Hour
)

// Whose token it is.
const (
	anonymousKind = "anonymous" // metered, acquired from the upstream
	personalKind  = "personal"  // the account's own
)

// errNewer is a document written by a later version.
var errNewer = errors.New("the state was written by a newer version of tokenguard: update this program; the state was left as it is")

// document is all that outlives a process. Values are immutable once published: changes go to a clone.
type document struct {
	Version int        `json:"version"`
	Epoch   string     `json:"epoch,omitempty"`
	Settled bool       `json:"settled,omitempty"` // Epoch was seen on a document that existed
	Lost    instant    `json:"lost,omitempty"`    // when commits may have been lost: the windows count as full
	Clock   clockState `json:"clock"`
	Swept   instant    `json:"swept,omitempty"`

	Seq      uint64               `json:"seq,omitempty"` // numbers the attempts, for order and fencing
	Attempts []attempt            `json:"attempts,omitempty"`
	Failures failures             `json:"failures,omitzero"`
	Pause    pause                `json:"pause,omitzero"` // Retry-After of the whole guard
	Keys     map[string]*keyState `json:"keys,omitempty"` // by scope, anonymous
	Tokens   map[string]*record   `json:"tokens,omitempty"`
	Records  []dedupRecord        `json:"records,omitempty"`
	History  predict.History      `json:"history,omitzero"`
	Counts   counts               `json:"counts,omitzero"`
	Limits   []seenLimits         `json:"limits,omitempty"` // of the guards that share it, to show a mismatch

	byScope map[string][]*record // anonymous records, newest first; derived
}

// attempt is one started acquisition. While it runs, End is its lease's deadline.
type attempt struct {
	ID      string  `json:"id"`
	Seq     uint64  `json:"seq"`
	Scope   string  `json:"scope,omitempty"` // while it runs
	Owner   string  `json:"owner,omitempty"`
	Start   instant `json:"start"`
	End     instant `json:"end"`
	Running bool    `json:"running,omitempty"`
	Adopted bool    `json:"adopted,omitempty"`
	Landed  bool    `json:"landed,omitempty"` // its end is known, not only its lease
	Failed  bool    `json:"failed,omitempty"`
}

// inProgress reports whether somebody may still be asking the upstream.
func (a *attempt) inProgress(now instant) bool { return a.Running && now < a.End }

// failures are the consecutive failed acquisitions and the last of them.
type failures struct {
	Count  int     `json:"count,omitempty"`
	At     instant `json:"at,omitempty"` // end of the last one
	ID     string  `json:"id,omitempty"` // its attempt
	Class  string  `json:"class,omitempty"`
	Status int     `json:"status,omitempty"`
	Text   string  `json:"text,omitempty"` // masked
}

// pause is a stretch in which the upstream wants to be left alone.
type pause struct {
	From  instant `json:"from,omitempty"`
	Until instant `json:"until,omitempty"`
}

// cleared reports whether an operator ended the pause after what happened at this instant. Who waits reports the same
// again whenever it asks.
func (p pause) cleared(at, now instant) bool { return p.Until == 0 && at <= p.From && p.From <= now }

// keyState is what is known of one scope beside its tokens.
type keyState struct {
	LastStart instant  `json:"last_start,omitempty"`
	Pause     pause    `json:"pause,omitzero"`     // rate_limited was reported
	Closed    pause    `json:"closed,omitzero"`    // RequestFunc was refused for this key alone
	Refusals  int      `json:"refusals,omitempty"` // in a row
	Last      failures `json:"last,omitzero"`      // the refusal that closed it
}

// record is what is known of one token. It outlives the value.
type record struct {
	ID        string        `json:"-"`
	Kind      string        `json:"kind"`
	Scope     string        `json:"scope,omitempty"`
	Acquired  instant       `json:"acquired"`
	Expiry    instant       `json:"expiry,omitempty"` // 0: not stated
	Seq       uint64        `json:"seq,omitempty"`
	Value     string        `json:"value,omitempty"`
	Sealed    []byte        `json:"sealed,omitempty"`
	Private   bool          `json:"private,omitempty"` // the value is in the memory of the process that acquired it
	Used      instant       `json:"used,omitempty"`
	Succeeded bool          `json:"succeeded,omitempty"`
	Prior     int           `json:"prior,omitempty"` // consecutive failures before it
	Suspect   instant       `json:"suspect,omitempty"`
	Heard     instant       `json:"heard,omitempty"` // newest refusal for quota that was taken in
	Spent     instant       `json:"spent,omitempty"`
	Reset     instant       `json:"reset,omitempty"` // when the upstream says that the quota is full again
	Rejected  instant       `json:"rejected,omitempty"`
	Usage     predict.Usage `json:"usage,omitzero"`
	Ended     bool          `json:"ended,omitempty"` // its usage went into the history
}

func (r *record) held() bool { return r.Value != "" || r.Sealed != nil || r.Private }

// lastFailure is the newest of all, also of those that closed their key alone.
func (d *document) lastFailure() *failures {
	last := &d.Failures
	for _, k := range d.Keys {
		if k.Last.At > last.At {
			last = &k.Last
		}
	}
	return last
}

// counts are totals since the document was made.
type counts struct {
	Starts    uint64            `json:"starts,omitempty"`
	Successes uint64            `json:"successes,omitempty"`
	Failures  map[string]uint64 `json:"failures,omitempty"`
}

func (c *counts) failed(class string) {
	if c.Failures == nil {
		c.Failures = map[string]uint64{}
	}
	c.Failures[class]++
}

func newDocument() *document {
	return &document{Version: documentVersion, Keys: map[string]*keyState{}, Tokens: map[string]*record{}}
}

// decodeDocument reads a document. It never panics, whatever the bytes are.
func decodeDocument(data []byte) (*document, error) {
	d := newDocument()
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(d); err != nil {
		return nil, fmt.Errorf("the state does not decode: %w", err)
	}
	if d.Version > documentVersion {
		return nil, errNewer
	}
	if d.Version < 1 {
		return nil, fmt.Errorf("the state names version %d: not a state of tokenguard", d.Version)
	}
	if d.Keys == nil {
		d.Keys = map[string]*keyState{}
	}
	if d.Tokens == nil {
		d.Tokens = map[string]*record{}
	}
	maps.DeleteFunc(d.Keys, func(_ string, k *keyState) bool { return k == nil })
	maps.DeleteFunc(d.Tokens, func(_ string, r *record) bool { return r == nil })
	for id, r := range d.Tokens {
		r.ID = id
	}
	d.index()
	return d, nil
}

func (d *document) encode() ([]byte, error) { return json.Marshal(d) }

// clone copies everything that a change may touch.
func (d *document) clone() *document {
	c := *d
	c.Clock.Boots = maps.Clone(d.Clock.Boots)
	c.Attempts = slices.Clone(d.Attempts)
	c.Records = slices.Clone(d.Records)
	c.Keys = make(map[string]*keyState, len(d.Keys))
	for scope, k := range d.Keys {
		v := *k
		c.Keys[scope] = &v
	}
	c.Tokens = make(map[string]*record, len(d.Tokens))
	for id, r := range d.Tokens {
		v := *r
		v.Usage = r.Usage.Clone()
		c.Tokens[id] = &v
	}
	c.History = d.History.Clone()
	c.Counts.Failures = maps.Clone(d.Counts.Failures)
	c.Limits = slices.Clone(d.Limits)
	c.index()
	return &c
}

// index derives byScope.
func (d *document) index() {
	d.byScope = make(map[string][]*record, len(d.Tokens))
	for _, r := range d.Tokens {
		if r.Kind == anonymousKind {
			d.byScope[r.Scope] = append(d.byScope[r.Scope], r)
		}
	}
	for _, rs := range d.byScope {
		slices.SortFunc(rs, func(a, b *record) int {
			if a.Seq != b.Seq {
				return cmpDesc(a.Seq, b.Seq)
			}
			if a.Acquired != b.Acquired {
				return cmpDesc(a.Acquired, b.Acquired)
			}
			return cmpDesc(a.ID, b.ID)
		})
	}
}

func cmpDesc[T uint64 | instant | string](a, b T) int {
	if a > b {
		return -1
	}
	if a < b {
		return 1
	}
	return 0
}

// newest is the key's newest known anonymous token, or nil.
func (d *document) newest(scope string) *record {
	if rs := d.byScope[scope]; len(rs) > 0 {
		return rs[0]
	}
	return nil
}

// noKey is what is known of a scope that nothing is known of. It is never written.
var noKey keyState

func (d *document) key(scope string) *keyState {
	if k := d.Keys[scope]; k != nil {
		return k
	}
	return &noKey
}

// keyFor is key for writing.
func (d *document) keyFor(scope string) *keyState {
	k := d.Keys[scope]
	if k == nil {
		k = &keyState{}
		d.Keys[scope] = k
	}
	return k
}

// log enters an attempt.
func (d *document) log(a attempt) {
	d.Attempts = append(d.Attempts, a)
	d.sortAttempts()
}

// sortAttempts keeps the log in the order of ends, which is what the windows count by.
func (d *document) sortAttempts() {
	slices.SortStableFunc(d.Attempts, func(a, b attempt) int { return -cmpDesc(a.End, b.End) })
}

// prune drops what no rule looks at any more. It is part of every commit that changes something.
func (d *document) prune(policy *Policy, now instant) {
	// The last ones stay whatever the clock says: one that jumps ahead and back again frees nothing.
	for len(d.Attempts) > policy.RateLimit.MaxRequestsPerDay && d.Attempts[0].End <= now-instant(day) {
		d.Attempts = slices.Delete(d.Attempts, 0, 1)
	}
	for i := range d.Attempts {
		if a := &d.Attempts[i]; a.Running && now >= a.End {
			a.Running, a.Scope = false, "" // killed: charged to its lease's end, but no failure
		}
	}
	d.Records = slices.DeleteFunc(d.Records, func(r dedupRecord) bool { return now >= r.Start.plus(max(policy.Dedup.Window, hour)) })
	if extra := len(d.Records) - maxRecords; extra > 0 {
		d.Records = slices.Delete(d.Records, 0, extra)
	}
	maps.DeleteFunc(d.Keys, func(_ string, k *keyState) bool {
		return k.Pause.Until <= now && (k.Pause.Until != 0 || k.Pause.From <= now-instant(day)) && k.Closed.Until <= now-instant(day) && k.LastStart <= now-instant(day)
	})
	for len(d.Keys) > maxKeys {
		delete(d.Keys, d.leastKey())
	}
	if now < d.Swept.plus(policy.Cache.CleanupInterval) && len(d.Tokens) <= policy.Cache.MaxTokens+maxTombstones {
		return
	}
	d.Swept = now
	d.sweepTokens(policy, now)
}

// leastKey is the key whose loss opens the least: of those that callers alone made with what they reported, else of
// all, the one whose gates open first.
func (d *document) leastKey() string {
	var least string
	lowest := [2]instant{never, never}
	for scope, k := range d.Keys {
		reported := instant(0)
		if k.LastStart != 0 || k.Closed.Until != 0 || len(d.byScope[scope]) > 0 {
			reported = 1
		}
		rank := [2]instant{reported, max(k.Pause.Until, k.Closed.Until, k.LastStart)}
		if slices.Compare(rank[:], lowest[:]) < 0 {
			least, lowest = scope, rank
		}
	}
	return least
}

// seenLimits are the limits of a guard that committed lately.
type seenLimits struct {
	PerHour  int           `json:"hour"`
	PerDay   int           `json:"day"`
	Interval time.Duration `json:"interval"`
	At       instant       `json:"at"`
}

// seen notes the limits that this guard keeps, at most four different ones.
func (d *document) seen(l LimitPolicy, now instant) {
	mine := seenLimits{l.MaxRequestsPerHour, l.MaxRequestsPerDay, l.MinInterval, now}
	d.Limits = slices.DeleteFunc(d.Limits, func(s seenLimits) bool {
		return s.At <= now-instant(day) || s.PerHour == mine.PerHour && s.PerDay == mine.PerDay && s.Interval == mine.Interval
	})
	d.Limits = append(d.Limits, mine)
	d.Limits = d.Limits[max(0, len(d.Limits)-4):]
}

// clockState is what the document keeps of the meter.
type clockState struct {
	Last  instant          `json:"last"`
	Boots map[string]int64 `json:"boots,omitempty"` // boot id: offset of its boot clock
}

// maxBoots bounds the boots, and so the machines, that a document remembers.
const maxBoots = 8

// latest is the newest anonymous token of all keys; nil: none is known.
func (d *document) latest() (newest *record) {
	for _, rec := range d.Tokens {
		if rec.Kind == anonymousKind && (newest == nil || rec.Seq > newest.Seq) {
			newest = rec
		}
	}
	return newest
}

// shown is the failure's status and text.
func (f *failures) shown() string {
	switch {
	case f.Status == 0:
		return f.said()
	case f.Text == "":
		return fmt.Sprintf("HTTP status %d", f.Status)
	}
	return fmt.Sprintf("%d: %s", f.Status, f.Text)
}

// said is the failure's text; one without text still has its class.
func (f *failures) said() string {
	if f.Text == "" && f.Status == 0 {
		return string(f.Class)
	}
	return f.Text
}
