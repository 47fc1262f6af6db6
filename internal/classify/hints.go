package classify

import (
	"strings"
	"time"
)

// Hints are what an answer says in numbers about time and about what is left.
type Hints struct {
	// RetryAfter is the wait that the answer states, in [0, 10 years], counted
	// from when it came. HasRetryAfter tells a wait of 0 from none.
	RetryAfter    time.Duration
	HasRetryAfter bool
	// Zoneless: RetryAfter comes from a date without a zone, and is the longest
	// that it can mean.
	Zoneless bool
	// Default is the wait to assume where the answer only hints at one ("in a few
	// minutes", "later", the length of a window), and 0 if it does not, or states one.
	Default time.Duration
	// Source says where RetryAfter, or else Default, comes from.
	Source Source
	// ResetAt is when the window that counts starts anew, on the clock of now, zero
	// if not stated.
	ResetAt time.Time
	// Remaining and Limit are those of that window; Remaining counts only if
	// Limit > 0.
	Remaining, Limit int64
	// UsedUp: nothing remains in that window, whether or not its limit is stated.
	UsedUp bool
}

// SourceKind says which part of an answer a wait comes from.
type SourceKind uint8

const (
	SourceNone   SourceKind = iota
	SourceHeader            // a header that asks for a wait
	SourceField             // a field of the body
	SourceText              // its sentences
	SourceWindow            // a header that says when a window ends
)

// Source is where a wait comes from: the name of the header or field, or the
// words of the text, of which no more than the wait itself is kept.
type Source struct {
	Kind SourceKind
	Name string
}

// maxQuote bounds the words of a text that a Source keeps.
const maxQuote = 64

func (s Source) String() string {
	switch s.Kind {
	case SourceHeader, SourceWindow:
		return "header " + s.Name
	case SourceField:
		return "field " + s.Name
	case SourceText:
		return `text "` + s.Name + `"`
	}
	return ""
}

// defaultWait is what "later" stands for.
const defaultWait = time.Minute

// Bound is the longest wait that an answer of this class can mean by a date
// without a zone.
func Bound(class string) time.Duration {
	if class == QuotaExhausted || class == Forbidden {
		return LongestWait
	}
	return 24 * time.Hour
}

// For returns h as it reads once the class of the answer is known: a date
// without a zone that is further away than this class waits is none.
func (h Hints) For(class string) Hints {
	if h.Zoneless && h.RetryAfter > Bound(class) {
		h.RetryAfter, h.HasRetryAfter, h.Zoneless, h.Source = 0, false, false, Source{}
	}
	return h
}

// ReadHints reads the hints of in; what is malformed is ignored. A wait is
// taken from the headers that ask for one, else from a field of the body, else
// from its sentences, else from the window that is exceeded. Instants are read
// by the answer's own clock ([AnswerTime]); now is when it came. A wait that
// can be read in two ways is not read.
func ReadHints(in Input, now time.Time) Hints {
	var h Hints
	c := clockOf(in.Header, now)
	if d, name, ok := headerWait(in.Header, c); ok {
		h.state(d, Source{SourceHeader, name}, false)
	}
	speaks := in.StatusCode < 400 || statusOfLimits(in.StatusCode)
	if in.Text != "" {
		h.readText(Decode(in.Text, in.Header), c, speaks)
	}
	h.readWindows(in, c, speaks)
	h.Source.Name = strings.Clone(truncate(h.Source.Name, maxQuote)) // not the whole text with it
	return h
}

// statusOfLimits reports a status under which the end of a window is what the
// caller has to wait for.
func statusOfLimits(status int) bool {
	switch status {
	case 402, 403, 406, 420, 429, 503:
		return true
	}
	return false
}

// state notes a stated wait unless a better source has stated one. A wait of
// nothing does not stand against another.
func (h *Hints) state(d time.Duration, source Source, zoneless bool) {
	if h.HasRetryAfter && h.RetryAfter > 0 {
		return
	}
	if h.HasRetryAfter && d == 0 {
		return
	}
	h.RetryAfter, h.HasRetryAfter, h.Source, h.Zoneless, h.Default = d, true, source, zoneless, 0
}

func (h *Hints) hint(d time.Duration, source Source) {
	if !h.HasRetryAfter && h.Default == 0 {
		h.Default, h.Source = d, source
	}
}

// readText reads the fields of a body, then its sentences.
func (h *Hints) readText(text string, c clock, speaks bool) {
	var fields, prose choice
	fields.clock, prose.clock = c, c
	readFields(text, c.base, fields.add)
	fields.note(h, speaks)
	if h.HasRetryAfter && h.RetryAfter > 0 {
		return
	}
	readProse(text, c, prose.add)
	prose.note(h, true)
	if prose.vague.source.Kind != SourceNone {
		h.hint(prose.vague.wait, prose.vague.source)
	}
	if h.HasRetryAfter || h.Default != 0 {
		return
	}
	for _, word := range later {
		if i := strings.Index(text, word); i >= 0 {
			h.hint(defaultWait, Source{SourceText, text[i : i+len(word)]})
			return
		}
	}
}

// later are the words that hint at a wait without any count.
var later = []string{"later", "a moment", "shortly", "a while", "später", "plus tard", "más tarde", "mais tarde", "più tardi", "позже", "daha sonra", "później", "nanti", "稍后", "稍後", "后再试", "しばらく", "後で", "나중에", "잠시"}
