package replay

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tokenguard/tokenguard"
)

// Report is what a replay command shows: the first result is the configuration asked about, the others are variants.
type Report struct {
	Log     string `json:"log"`
	Lines   int    `json:"lines"`
	Skipped int    `json:"skipped"` // lines that are no calls
	Wrong   int    `json:"wrong"`   // lines that cannot be read, and are left out
	// Failures of the calls, by class. Unnamed ones are of a class that says something of a token, and name none.
	Failures map[tokenguard.Class]int `json:"failures,omitempty"`
	Unnamed  int                      `json:"unnamed_failures"`
	Reading  string                   `json:"unnamed_failures_are,omitempty"` // what they are taken to be
	Results  []*Result                `json:"results"`

	Upstream Upstream `json:"-"` // that was assumed
}

// MarshalJSON adds the shares and counts that a reader would compute.
func (r *Result) MarshalJSON() ([]byte, error) {
	type plain Result
	return json.Marshal(struct {
		*plain
		Served float64 `json:"served"`
		Count  int     `json:"acquisition_count"`
	}{(*plain)(r), r.Served(), r.Acquisitions()})
}

// JSON writes the report as one object.
func (r *Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// CSV writes a line for each result.
func (r *Report) CSV(w io.Writer) error {
	out := csv.NewWriter(w)
	_ = out.Write([]string{"name", "calls", "served", "cached", "fetched", "refused", "failed", "used_up", "acquisitions", "most_in_60min", "first_refusal_at", "first_refusal_reason"})
	for _, s := range r.Results {
		at, reason := "", ""
		if s.First != nil {
			at, reason = s.First.At.Format(time.RFC3339Nano), string(s.First.Verdict.Reason)
		}
		row := []string{s.Name, "", strconv.FormatFloat(s.Served(), 'f', 6, 64)}
		for _, n := range []int{s.Cached, s.Fetched, s.Refused, s.Failed, s.UsedUp, s.Acquisitions(), s.MostStarts(time.Hour)} {
			row = append(row, strconv.Itoa(n))
		}
		row[1] = strconv.Itoa(s.Calls)
		_ = out.Write(append(row, at, reason))
	}
	out.Flush()
	return out.Error()
}

// MostStarts is the largest number of acquisitions that were started within the window.
func (r *Result) MostStarts(window time.Duration) (most int) {
	first := 0
	for i, s := range r.Starts {
		for !r.Starts[first].At.After(s.At.Add(-window)) {
			first++
		}
		most = max(most, i+1-first)
	}
	return most
}

const shownStarts = 24 // acquisitions that the text lists

// Text writes the report for a terminal.
func (r *Report) Text(w io.Writer) error {
	s := r.Results[0]
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	p("%s: %s from %s to %s", r.Log, count(s.Calls, "call"), stamp(s.From), stamp(s.To))
	if r.Skipped > 0 {
		p(", %s skipped", count(r.Skipped, "other line"))
	}
	if r.Wrong > 0 {
		p(", %s left out", count(r.Wrong, "wrong line"))
	}
	p("\n%s served with %s\n\n", percent(s.Served()), count(s.Acquisitions(), "acquisition"))
	r.funnel(&b, s)
	p("\nbusiest hour    %s in the 60 minutes from %s\n", count(s.BusiestHour.Calls, "call"), stamp(s.BusiestHour.From))
	p("acquisitions    %d; at most %d in 60 minutes (limit %d), %d in 24 hours (limit %d)\n", s.Acquisitions(),
		s.MostStarts(time.Hour), s.Limits.MaxRequestsPerHour, s.MostStarts(24*time.Hour), s.Limits.MaxRequestsPerDay)
	for i, a := range s.Starts {
		if i == shownStarts {
			p("                and %d more\n", len(s.Starts)-i)
			break
		}
		p("                %s%s\n", stamp(a.At), map[bool]string{false: "  failed"}[a.OK])
	}
	if len(r.Failures) > 0 {
		p("failures        %s\n", r.failures())
	}
	if r.Unnamed > 0 {
		p("                %s\n", r.unnamed())
	}
	if s.First == nil {
		p("first refusal   none\n")
	} else {
		p("first refusal   %s, %s%s\n", s.First.Place(), stamp(s.First.At), by(s.First.Caller))
		p("                %s\n", verdict(s.First.Verdict))
	}
	for _, e := range s.Explained {
		p("\nWhy %s: %s, %s%s\n", e.Verdict.Reason, e.Place(), stamp(e.At), by(e.Caller))
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, v := range e.Steps {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", v.Step, v.Answer, v.Reason, oneLine(v.Detail))
		}
		_ = t.Flush()
	}
	if len(r.Results) > 1 {
		p("\nWhat if:\n")
		t := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
		fmt.Fprintln(t, strings.Join(whatIfHeading, "\t"))
		for _, v := range r.Results {
			fmt.Fprintln(t, strings.Join(v.whatIf(), "\t"))
		}
		_ = t.Flush()
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// failures lists how many calls failed before, by class.
func (r *Report) failures() string {
	var parts []string
	n := 0
	for _, c := range classes {
		if r.Failures[c] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", c, r.Failures[c]))
			n += r.Failures[c]
		}
	}
	return fmt.Sprintf("%d: %s", n, strings.Join(parts, ", "))
}

// unnamed says how many failures name no token, and what becomes of them.
func (r *Report) unnamed() string {
	return fmt.Sprintf("without the token's name, of a quota or a credential: %d, %s", r.Unnamed, r.Reading)
}

// funnel prints how the calls ended.
func (r *Report) funnel(b *strings.Builder, s *Result) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range s.Funnel() {
		fmt.Fprintf(t, "%s\t%s\t  %s\n", strconv.Itoa(row.Calls), percent(s.share(row.Calls)), row.Name)
	}
	_ = t.Flush()
}

// Row is one line of the funnel.
type Row struct {
	Name  string
	Calls int
	Class string // ok with a working token, bad without
}

// Funnel lists how the calls ended: served by source, refused by step and reason, failed.
func (r *Result) Funnel() []Row {
	rows := []Row{{"calls", r.Calls, ""}, {"served from the cache", r.Cached, "ok"}, {"served by an acquisition of their own", r.Fetched, "ok"}}
	for _, step := range []tokenguard.Step{tokenguard.StepDedup, tokenguard.StepCache, tokenguard.StepGate, tokenguard.StepManager,
		tokenguard.StepLimiter, tokenguard.StepPredictor, tokenguard.StepRequest, tokenguard.StepStore} {
		for _, reason := range slices.Sorted(maps.Keys(r.Refusals[step])) {
			rows = append(rows, Row{fmt.Sprintf("refused: %s (%s)", reason, step), r.Refusals[step][reason], "bad"})
		}
	}
	if r.Failed > 0 {
		rows = append(rows, Row{"failed: their acquisition failed", r.Failed, "bad"})
	}
	if r.UsedUp > 0 {
		rows = append(rows, Row{"given tokens without a use left, twice", r.UsedUp, "bad"})
	}
	return rows
}

var whatIfHeading = []string{"setting", "served", "refused", "failed", "used up", "acquisitions", "most in 60 min", "first refusal"}

func (r *Result) whatIf() []string {
	first := "none"
	if r.First != nil {
		first = fmt.Sprintf("%s %s", stamp(r.First.At), r.First.Verdict.Reason)
	}
	return []string{r.Name, percent(r.Served()), strconv.Itoa(r.Refused), strconv.Itoa(r.Failed), strconv.Itoa(r.UsedUp),
		strconv.Itoa(r.Acquisitions()), strconv.Itoa(r.MostStarts(time.Hour)), first}
}

func verdict(v tokenguard.Verdict) string {
	s := fmt.Sprintf("%s (%s): %s", v.Reason, v.Step, oneLine(v.Detail))
	if !v.RetryAt.IsZero() {
		s += "; retry at " + stamp(v.RetryAt)
	}
	return s
}

func by(caller string) string {
	if caller == "" {
		return ""
	}
	return ", " + oneLine(caller)
}

// oneLine keeps foreign text from moving the cursor.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

func stamp(t time.Time) string { return t.Format("2006-01-02 15:04:05 -07:00") }

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
