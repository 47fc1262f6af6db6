package guardui

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tokenguard/tokenguard"
)

// view is what the templates show: the guard at one instant.
type view struct {
	tokenguard.Stats
	Scope     string
	Verdict   tokenguard.Verdict // for a caller of Scope
	Headlines []headline
	Elsewhere []elsewhere // what callers of other scopes are told
	Budgets   []budget
	Refusals  string // of the scope, where they close it and nothing else
	Unread    bool   // the state cannot be read now: what is of it is as of the last look
	Starts    bool   // acquisitions may start all the same
	Windows   []plot // none if so
	Minutes   *plot
	Lifetimes *lifetimes
	Timelines []timeline
	Funnel    []slice
	LastFail  *tokenguard.Event
	Failures  []count
	Groups    []group
	Accounts  []account
	Evidence  []word
	Pauses    []tokenguard.OperationPause
	Untold    bool      // nothing could be explained
	Unshown   int       // of the evidence
	Log       []entry   // newest first
	Seen      time.Time // the oldest event that this process still has; zero: it has none
	Settings  []setting
	Beside    *beside // a candidate; nil: there is none
	Explained explained

	history []tokenguard.Event
}

const logLength = 60 // events in the decision log

func (h *handler) look(r *http.Request) *view {
	v := &view{Stats: h.guard.Stats(), Scope: r.FormValue("scope")}
	e, err := h.guard.Explain(r.Context(), tokenguard.Request{Scope: v.Scope})
	if err != nil {
		e.Verdict = verdictOf(err)
		e.Opening = e.Verdict
	}
	v.Accounts = accounts(v.Renewals)
	v.Verdict, v.Headlines = e.Verdict, headlines(e, v)
	if e.Opening.Reason == tokenguard.ReasonBackoff && v.Limiter.ConsecutiveFailures == 0 {
		v.Refusals = e.Opening.Detail
	}
	v.Starts = e.Opening.Reason != tokenguard.ReasonStoreUnavailable
	v.Elsewhere = h.elsewhere(r.Context(), v)
	v.Evidence = evidenceWords(e.Evidence, v.Cache.Tokens, v.Scope)
	v.Pauses = e.Pauses
	v.Untold = err != nil
	v.Unshown = len(e.Evidence) - len(v.Evidence)
	history := slices.Collect(h.guard.History())
	attempts, unread := h.guard.Attempts(r.Context())
	config := h.guard.Config()
	v.Budgets = []budget{
		newBudget("hour", v.Acquisitions.Hour, time.Hour),
		newBudget("day", v.Acquisitions.Day, 24*time.Hour),
	}
	v.Unread = unread != nil || v.Store.Error != ""
	if !v.Unread {
		v.Windows = []plot{
			newWindow(v.Budgets[0], v.At, 3*time.Hour, time.Hour, attempts),
			newWindow(v.Budgets[1], v.At, 24*time.Hour, 24*time.Hour, attempts),
		}
	}
	v.Minutes = newMinutes(v.At, v.Calls.Minutes)
	v.Lifetimes = newLifetimes(v)
	v.Timelines = []timeline{
		newTimeline("Last 24 hours", 24*time.Hour, v.At, attempts, history, v.Limiter),
		newTimeline("Last 2 hours", 2*time.Hour, v.At, attempts, history, v.Limiter),
	}
	v.Funnel = funnel(v.Calls, v.Renewals != nil)
	v.Groups = groups(history, config.Dedup.Similarity)
	v.history = history
	if len(history) > 0 {
		v.Seen = history[0].At
	}
	v.Settings = settings(config)
	v.Beside = compare(v.Stats, config)
	for class, n := range v.Acquisitions.Failures {
		if n > 0 {
			v.Failures = append(v.Failures, count{string(class), int64(n)})
		}
	}
	slices.SortFunc(v.Failures, byCount)
	for _, e := range slices.Backward(history) {
		if len(v.Log) < logLength {
			v.Log = append(v.Log, entry{e})
		}
		if e.Kind == tokenguard.EventFailed && v.LastFail == nil {
			v.LastFail = &e
		}
	}
	return v
}

// verdictOf is what an error says about a call that was not decided.
func verdictOf(err error) tokenguard.Verdict {
	if refused, ok := errors.AsType[*tokenguard.RefusedError](err); ok {
		return refused.Verdict
	}
	return tokenguard.Verdict{Step: tokenguard.StepStore, Answer: tokenguard.AnswerRefuse, Detail: err.Error()}
}

// Closed reports whether the guard is.
func (v *view) Closed() bool { return v.Verdict.Reason == tokenguard.ReasonClosed }

// Until is the time that is left.
func (v *view) Until(t time.Time) string { return span(t.Sub(v.At)) }

// Ago is the time that has passed.
func (v *view) Ago(t time.Time) string { return span(v.At.Sub(t)) }

// Query is what keeps the page's scope in a relative link.
func (v *view) Query() string { return query(v.Scope) }

func query(scope string) string {
	if scope == "" {
		return ""
	}
	return "?" + url.Values{"scope": {scope}}.Encode()
}

// budget is a window and the pace at which it is used.
type budget struct {
	tokenguard.WindowStats
	Name   string
	Length time.Duration
}

func newBudget(name string, w tokenguard.WindowStats, length time.Duration) budget {
	return budget{WindowStats: w, Name: name, Length: length}
}

// Even is the time from start to start at which the budget would last.
func (b budget) Even() string { return span(b.Length / time.Duration(max(b.Limit, 1))) }

// Pace is the mean time from start to start in the window.
func (b budget) Pace() string {
	if b.Used == 0 {
		return "nothing started"
	}
	return "one in " + span(b.Length/time.Duration(b.Used))
}

// Fill is the used part in thousandths.
func (b budget) Fill() int { return min(1000*b.Used/max(b.Limit, 1), 1000) }

// Level is a word for the picture's colour.
func (b budget) Level() string {
	switch {
	case b.Remaining == 0:
		return "bad"
	case b.Fill() >= 750:
		return "warn"
	}
	return "good"
}

// slice is a part of all calls.
type slice struct {
	Name, Class, Why string
	Count            int64
	Share            float64
}

// Width is the share in thousandths, visible if there is anything.
func (s slice) Width() int {
	if s.Count == 0 {
		return 0
	}
	return max(int(1000*s.Share), 3)
}

func funnel(c tokenguard.CallStats, renews bool) []slice {
	get := func(step tokenguard.Step, reasons ...tokenguard.Reason) (n int64) {
		for _, reason := range reasons {
			n += c.Answers[step][reason]
		}
		return n
	}
	duplicates := get(tokenguard.StepDedup, tokenguard.ReasonDuplicate)
	out := []slice{
		{Name: "duplicate", Class: "warn", Why: "the same failure was answered by an acquisition just before", Count: duplicates},
		{Name: "cache", Class: "good", Why: "a usable token was there", Count: get(tokenguard.StepCache, tokenguard.ReasonCached, tokenguard.ReasonPersonal)},
		{Name: "shared", Class: "good", Why: "another call fetched the token meanwhile", Count: get(tokenguard.StepGate, tokenguard.ReasonJoined)},
		{Name: "refused", Class: "bad", Why: "by the other rules", Count: c.Refused - duplicates},
		{Name: "fetched", Class: "start", Why: "an acquisition got a new token", Count: get(tokenguard.StepRequest, tokenguard.ReasonAcquired)},
		{Name: "failed", Class: "bad", Why: "the acquisition failed", Count: c.Failed},
		{Name: "left", Class: "dim", Why: "the caller's context ended first", Count: c.Left},
	}
	if n := get(tokenguard.StepRenewal, tokenguard.ReasonRenewed); renews || n > 0 {
		out = slices.Insert(out, 5, slice{Name: "renewed", Class: "start", Why: "the account's token was renewed", Count: n})
	}
	for i := range out {
		out[i].Share = float64(out[i].Count) / float64(max(c.Total, 1))
	}
	return out
}

type count struct {
	Name string
	N    int64
}

func byCount(a, b count) int { return cmp.Or(cmp.Compare(b.N, a.N), strings.Compare(a.Name, b.Name)) }

type setting struct {
	Section, Name, Value string
	Changed              bool
}

// settingNames are the names of a Config's fields in JSON, under which operators know them, by section and field.
var settingNames = sync.OnceValue(func() (names [][][2]string) {
	var none tokenguard.Config
	sections := reflect.ValueOf(none).NumField()
	for i := range sections {
		names = append(names, nil)
		for j := range reflect.ValueOf(none).Field(i).NumField() {
			var one tokenguard.Config // encodes its only field
			switch field := reflect.ValueOf(&one).Elem().Field(i).Field(j); field.Kind() {
			case reflect.Bool:
				field.SetBool(true)
			case reflect.Float64:
				field.SetFloat(1)
			case reflect.Struct:
				field.Set(reflect.ValueOf(tokenguard.Rolling(time.Hour)))
			default:
				field.SetInt(1)
			}
			var doc map[string]map[string]any
			encoded, err := json.Marshal(one)
			if err == nil {
				err = json.Unmarshal(encoded, &doc)
			}
			if err != nil {
				panic(err)
			}
			for section, fields := range doc {
				for name := range fields {
					names[i] = append(names[i], [2]string{section, name})
				}
			}
		}
	}
	return names
})

// settings lists the fields of a Config beside the defaults.
func settings(config tokenguard.Config) (out []setting) {
	own, usual := reflect.ValueOf(config), reflect.ValueOf(tokenguard.Conservative())
	for i := range own.NumField() {
		for j := range own.Field(i).NumField() {
			value, standard := own.Field(i).Field(j).Interface(), usual.Field(i).Field(j).Interface()
			if d, ok := value.(time.Duration); ok {
				value = span(d)
				if d%time.Second != 0 {
					value = d.String()
				}
				standard = span(standard.(time.Duration))
			}
			names := settingNames()[i][j]
			out = append(out, setting{names[0], names[1], cmp.Or(fmt.Sprint(value), "none"), value != standard})
		}
	}
	return out
}
