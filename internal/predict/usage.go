package predict

import (
	"slices"
	"time"
)

// Window is how far back the level rules look.
const Window = 5 * time.Minute

const (
	cellMillis   = int64(10 * time.Second / time.Millisecond)
	windowMillis = int64(Window / time.Millisecond)

	// MaxCells bounds Usage.Cells: a window touches at most 31 spans of 10 s,
	// and each has at most two cells.
	MaxCells = 2 * 31

	maxLatency     = time.Hour
	maxCellLatency = 100_000_000 * time.Second // no sum over cells overflows
	maxHintAge     = 24 * time.Hour
	// A reset further away than this is a misread number, not a promise.
	maxReset = 400 * 24 * time.Hour
)

// Outcome is how one call made with a token ended.
type Outcome struct {
	At      int64         // when it ended
	Latency time.Duration // 0: not stated
	Quota   bool          // refused for quota; counts as Failed, too
	Failed  bool          // failed in any way

	// What the upstream said. Whatever contradicts itself is ignored.
	Remaining, Limit int64 // Remaining counts only if Limit > 0
	ResetAt          int64 // when Remaining is Limit again; 0: not stated
	RetryAt          int64 // Retry-After of a quota refusal; wins over the others; 0: not stated
}

// Usage is what is known of one token's calls. The zero value knows nothing,
// which is how a new token starts. As JSON it is below 5 KB, an idle one below
// 500 bytes.
type Usage struct {
	Cells cellList `json:"c,omitempty"` // oldest first, at most MaxCells, of the last Window
	Calls int64    `json:"n,omitempty"` // totals since the token was new
	Quota int64    `json:"q,omitempty"`
	Fails int64    `json:"f,omitempty"`
	Good  int64    `json:"g,omitempty"` // instant of the newest success
	Hint  Hint     `json:"h,omitzero"`
	Cost  Cost     `json:"k,omitzero"`
	Pause Pause    `json:"p,omitzero"`
	Track track    `json:"t,omitzero"` // written by History.Learn only
}

// Cell counts the outcomes of at most 10 s. The first refusal for quota in a
// span closes its first cell, so that what came after a suspicion can be told
// from what came before. As JSON it is an array in the order of the fields.
type Cell struct {
	First, Last int64         // instants of the first and last outcome, in Unix milliseconds
	Calls       int64         // all outcomes
	Quota       int64         // refused for quota
	Fails       int64         // failed in any way, Quota included
	Timed       int64         // outcomes that stated a latency
	Latency     time.Duration // sum over Timed, to the microsecond
}

// Hint is the upstream's own word on what is left.
type Hint struct {
	At        int64 `json:"a,omitempty"` // when it was said
	Remaining int64 `json:"r,omitempty"`
	Limit     int64 `json:"l,omitempty"` // 0: nothing was said of Remaining
	Uses      int64 `json:"u,omitempty"` // Usage.Uses at that instant
	Reset     int64 `json:"s,omitempty"` // when Remaining is Limit again; 0: not stated
}

// Pause is a refusal for quota that stated its own end. It holds until then, or
// until a call succeeds.
type Pause struct {
	At    int64 `json:"a,omitempty"`
	Until int64 `json:"u,omitempty"`
}

// Uses is the number of calls that succeeded since the token was new.
func (u *Usage) Uses() int64 { return u.Calls - u.Fails }

// Add counts one outcome. An outcome more than Window older than the newest
// changes only the totals.
func (u *Usage) Add(o Outcome) {
	o.At = clamp(o.At, 0, maxInstant)
	o.Failed = o.Failed || o.Quota
	at := millis(o.At)
	c := Cell{First: at, Last: at, Calls: 1, Quota: one(o.Quota), Fails: one(o.Failed)}
	if o.Latency > 0 {
		c.Timed, c.Latency = 1, min(o.Latency, maxLatency).Truncate(time.Microsecond)
	}
	u.Calls += c.Calls
	u.Quota += c.Quota
	u.Fails += c.Fails
	u.insert(c)
	u.hear(o)
}

// Merge counts a batch that was collected in another place: the same as adding
// its outcomes one by one, if they are in order of time.
func (u *Usage) Merge(batch Usage) {
	for _, c := range batch.Cells {
		u.insert(c)
	}
	u.absorb(batch)
}

// absorb takes over all of a batch but its cells.
func (u *Usage) absorb(batch Usage) {
	if v := batch.Hint; v.Limit > 0 && v.At >= u.Hint.At {
		u.Cost.absorb(u.Hint, batch.Cost, u.Uses())
		v.Uses += u.Uses()
		u.Hint = v
	}
	if batch.Pause.At > u.Pause.At {
		u.Pause = batch.Pause
	}
	u.Good = max(u.Good, batch.Good)
	u.Calls += batch.Calls
	u.Quota += batch.Quota
	u.Fails += batch.Fails
}

// insert puts a cell where its span belongs and drops what left the window.
func (u *Usage) insert(c Cell) {
	span := spanOf(c)
	i := len(u.Cells)
	for i > 0 && spanOf(u.Cells[i-1]) >= span {
		i--
	}
	here := u.Cells[i:]
	inSpan := func(j int) bool { return j < len(here) && spanOf(here[j]) == span }
	switch {
	case !inSpan(0):
		u.Cells = slices.Insert(u.Cells, i, c)
	case c.Last <= here[0].Last || here[0].Quota == 0 && !inSpan(1):
		here[0].join(c)
	case inSpan(1):
		here[1].join(c)
	default:
		u.Cells = slices.Insert(u.Cells, i+1, c)
	}
	u.trim(u.Cells[len(u.Cells)-1].Last)
}

func spanOf(c Cell) int64 { return floorDiv(c.First, cellMillis) }

func (c *Cell) join(d Cell) {
	if c.Calls == 0 {
		*c = d
		return
	}
	c.First, c.Last = min(c.First, d.First), max(c.Last, d.Last)
	c.Calls += d.Calls
	c.Quota += d.Quota
	c.Fails += d.Fails
	c.Timed += d.Timed
	c.Latency = min(c.Latency+d.Latency, maxCellLatency)
}

// Trim drops the cells that have left the window, so that an idle token takes
// little room in the document.
func (u *Usage) Trim(now int64) { u.trim(millis(now)) }

func (u *Usage) trim(now int64) {
	gone := 0
	for gone < len(u.Cells) && spanOf(u.Cells[gone]) < floorDiv(now-windowMillis, cellMillis) {
		gone++
	}
	if gone == len(u.Cells) {
		u.Cells = nil
		return
	}
	u.Cells = slices.Delete(u.Cells, 0, gone)
}

// hear keeps what the upstream stated. Of a refusal, Retry-After wins over the
// reset.
func (u *Usage) hear(o Outcome) {
	stated := func(t int64) bool { return t > o.At && t-o.At < int64(maxReset) }
	if o.Limit > 0 && o.Remaining >= 0 && o.Remaining <= o.Limit && o.At >= u.Hint.At {
		v := Hint{At: o.At, Remaining: o.Remaining, Limit: o.Limit, Uses: u.Uses()}
		u.Cost.hear(u.Hint, v)
		u.Hint = v
		if stated(o.ResetAt) {
			u.Hint.Reset = o.ResetAt
		}
	}
	switch {
	case !o.Failed:
		u.Good = max(u.Good, o.At)
	case o.Quota && o.At > u.Pause.At && stated(o.RetryAt):
		u.Pause = Pause{o.At, o.RetryAt}
	case o.Quota && o.At > u.Pause.At && stated(o.ResetAt):
		u.Pause = Pause{o.At, o.ResetAt}
	}
}

// Clone copies u so that nothing is shared.
func (u Usage) Clone() Usage {
	u.Cells = slices.Clone(u.Cells)
	return u
}

func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
