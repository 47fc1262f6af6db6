package replay

import (
	"time"

	"github.com/tokenguard/tokenguard"
)

// Result is what a replay counted. It encodes to JSON.
type Result struct {
	Name   string                `json:"name"`
	Limits tokenguard.RateLimits `json:"-"`
	From   time.Time             `json:"from"`
	To     time.Time             `json:"to"`
	Calls  int                   `json:"calls"`
	// Cached and Fetched calls had a working token, from the cache or from an acquisition of their own.
	Cached  int `json:"cached"`
	Fetched int `json:"fetched"`
	// Refused calls had none, by step and reason.
	Refused  int                           `json:"refused"`
	Refusals map[tokenguard.Step]reasonMap `json:"refusals"`
	// Failed calls started an acquisition that failed; UsedUp ones got tokens without a use left, twice.
	Failed int `json:"failed"`
	UsedUp int `json:"used_up"`

	Starts      []Start      `json:"acquisitions"`
	BusiestHour Hour         `json:"busiest_hour"`
	First       *Refusal     `json:"first_refusal,omitempty"`
	Explained   []Refusal    `json:"explained,omitempty"`
	Causes      []*Histogram `json:"-"` // of calls, in the order in which they appeared
	Without     Histogram    `json:"-"` // of calls that ended without a working token

	minutes []minute // of the last hour
	hour    int      // calls in minutes
}

// Start is one acquisition.
type Start struct {
	At time.Time `json:"at"`
	OK bool      `json:"ok"`
}

// Hour is a stretch of 60 minutes.
type Hour struct {
	From  time.Time `json:"from"`
	Calls int       `json:"calls"`
}

// Refusal is a call without a token.
type Refusal struct {
	File    string               `json:"file,omitempty"` // if there are several
	Line    int                  `json:"line"`
	At      time.Time            `json:"at"`
	Caller  string               `json:"caller,omitempty"`
	Verdict tokenguard.Verdict   `json:"verdict"`
	Steps   []tokenguard.Verdict `json:"steps,omitempty"`
}

// Place is where the call stands in the log.
func (r *Refusal) Place() string { return (&Call{File: r.File, Line: r.Line}).Place() }

// Served is the share of the calls that had a working token, in [0,1].
func (r *Result) Served() float64 { return r.share(r.HadToken()) }

// HadToken is how many calls had a working token.
func (r *Result) HadToken() int { return r.Cached + r.Fetched }

func (r *Result) share(n int) float64 {
	if r.Calls == 0 {
		return 0
	}
	return float64(n) / float64(r.Calls)
}

// Acquisitions is how many were started.
func (r *Result) Acquisitions() int { return len(r.Starts) }

func (r *Result) acquired(at time.Time, ok bool) { r.Starts = append(r.Starts, Start{at, ok}) }

func (r *Result) served(fetched bool) {
	if fetched {
		r.Fetched++
	} else {
		r.Cached++
	}
}

func (r *Result) failed(c *Call) {
	r.Failed++
	r.Without.Add(c.At)
}

func (r *Result) usedUp(c *Call) {
	r.UsedUp++
	r.Without.Add(c.At)
}

func (r *Result) refused(c *Call, v tokenguard.Verdict) {
	r.Refused++
	r.Without.Add(c.At)
	if r.Refusals[v.Step] == nil {
		r.Refusals[v.Step] = reasonMap{}
	}
	r.Refusals[v.Step][v.Reason]++
	if r.First == nil {
		r.First = &Refusal{File: c.File, Line: c.Line, At: c.At, Caller: c.Caller, Verdict: v}
	}
}

// maxCauses bounds the rows of the picture; further causes share the last one.
const maxCauses = 8

// called counts a call in.
func (r *Result) called(c *Call) {
	if r.Calls == 0 {
		r.From = c.At
		r.Without = Histogram{Name: "without a token", From: c.At, Width: time.Second}
	}
	r.Calls++
	r.To = c.At
	r.busy(c.At)
	name := c.Cause
	if name == "" {
		name = "call"
	}
	for _, h := range r.Causes {
		if h.Name == name {
			h.Add(c.At)
			return
		}
	}
	if len(r.Causes) == maxCauses-1 {
		name = "other"
	}
	if len(r.Causes) == maxCauses {
		r.Causes[maxCauses-1].Add(c.At)
		return
	}
	h := &Histogram{Name: name, From: r.From, Width: time.Second}
	h.Add(c.At)
	r.Causes = append(r.Causes, h)
}

type minute struct {
	at    int64 // minutes since 1970
	calls int
}

// busy keeps the calls of the last 60 minutes, minute by minute.
func (r *Result) busy(at time.Time) {
	m := at.Unix() / 60
	if n := len(r.minutes); n > 0 && r.minutes[n-1].at == m {
		r.minutes[n-1].calls++
	} else {
		r.minutes = append(r.minutes, minute{m, 1})
		for r.minutes[0].at <= m-60 {
			r.hour -= r.minutes[0].calls
			r.minutes = r.minutes[1:]
		}
	}
	if r.hour++; r.hour > r.BusiestHour.Calls {
		r.BusiestHour = Hour{From: time.Unix(r.minutes[0].at*60, 0).In(at.Location()), Calls: r.hour}
	}
}

// maxBins bounds a histogram; it is finer than the picture is wide.
const maxBins = 2048

// Histogram counts calls in bins of equal width from From on; the bins double when the log outgrows them.
type Histogram struct {
	Name  string
	From  time.Time
	Width time.Duration
	Bins  []int
	Calls int
}

// Add counts a call in.
func (h *Histogram) Add(at time.Time) {
	h.Calls++
	i := int(at.Sub(h.From) / h.Width)
	for ; i >= maxBins; i /= 2 {
		half := make([]int, (len(h.Bins)+1)/2)
		for j, n := range h.Bins {
			half[j/2] += n
		}
		h.Bins, h.Width = half, 2*h.Width
	}
	for len(h.Bins) <= i {
		h.Bins = append(h.Bins, 0)
	}
	h.Bins[i]++
}
