package tokenguardtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
)

// scenario is one file: what is given, how the upstream answers, the steps. testdata/scenarios/README.md is its
// documentation.
type scenario struct {
	Name     string            `json:"name"`
	Doc      string            `json:"doc"`
	Given    given             `json:"given"`
	Upstream []reply           `json:"upstream"`
	Renewals *[]reply          `json:"renewals"` // nil: no process can renew
	Steps    []json.RawMessage `json:"steps"`

	steps []step
}

type given struct {
	Config                  json.RawMessage `json:"config"`
	Store                   string          `json:"store"` // memory, file; empty: the scenario runs on each
	Start                   time.Time       `json:"start"`
	Name                    string          `json:"name"`
	RequestTimeout          span            `json:"request_timeout"`
	RefreshAhead            span            `json:"refresh_ahead"`
	WithoutTokenPersistence bool            `json:"without_token_persistence"`
	Personal                []reply         `json:"personal"` // the last one repeats
	RenewalLimits           renewalLimits   `json:"renewal_limits"`
	WithoutRenewal          []string        `json:"without_renewal"` // names of processes
}

// renewalLimits are tokenguard.RenewalLimits in JSON.
type renewalLimits struct {
	MinInterval  span `json:"min_interval"`
	MaxPerHour   int  `json:"max_per_hour"`
	BackoffBase  span `json:"backoff_base"`
	MaxBackoff   span `json:"max_backoff"`
	Timeout      span `json:"timeout"`
	ReplaceAfter span `json:"replace_after"`
}

func (l renewalLimits) limits() tokenguard.RenewalLimits {
	return tokenguard.RenewalLimits{MinInterval: time.Duration(l.MinInterval), MaxPerHour: l.MaxPerHour, BackoffBase: time.Duration(l.BackoffBase),
		MaxBackoff: time.Duration(l.MaxBackoff), Timeout: time.Duration(l.Timeout), ReplaceAfter: time.Duration(l.ReplaceAfter)}
}

// reply is Reply in JSON.
type reply struct {
	Token    string            `json:"token"`
	Lifetime span              `json:"lifetime"`
	Expiry   when              `json:"expiry"`
	Empty    bool              `json:"empty"`
	Status   int               `json:"status"`
	Header   map[string]string `json:"header"`
	Message  string            `json:"message"`
	Panic    string            `json:"panic"`
	Goexit   bool              `json:"goexit"`
	Hang     bool              `json:"hang"`
	Took     span              `json:"took"`
	Deaf     bool              `json:"deaf"`

	Refresh       string `json:"refresh"`
	RefreshExpiry when   `json:"refresh_expiry"`
	Account       string `json:"account"`
}

func (r reply) reply(start time.Time) Reply {
	out := Reply{
		Hang: r.Hang, Goexit: r.Goexit, Empty: r.Empty, Value: r.Token, Lifetime: time.Duration(r.Lifetime),
		Expiry: r.Expiry.time(start), Took: time.Duration(r.Took), Deaf: r.Deaf,
		Refresh: r.Refresh, RefreshExpiry: r.RefreshExpiry.time(start), Account: r.Account,
		Failure: failure{Status: r.Status, Header: r.Header, Message: r.Message}.failure(start),
	}
	if r.Panic != "" {
		out.Panic = r.Panic
	}
	return out
}

type failure struct {
	Status  int               `json:"status"`
	Header  map[string]string `json:"header"`
	Message string            `json:"message"`
	At      when              `json:"at"`
}

func (f failure) failure(start time.Time) tokenguard.Failure {
	out := tokenguard.Failure{StatusCode: f.Status, Message: f.Message, At: f.At.time(start)}
	for k, v := range f.Header {
		if out.Header == nil {
			out.Header = map[string][]string{}
		}
		out.Header[k] = []string{v}
	}
	return out
}

type step struct {
	Do      string    `json:"do"`
	Why     string    `json:"why"`
	Process string    `json:"process"` // empty: main
	With    arguments `json:"with"`
	Calls   int       `json:"calls"` // at once; 0: one
	Times   int       `json:"times"` // in a row, for a step alone; 0: once
	Every   span      `json:"every"` // from one of the times to the next
	As      string    `json:"as"`    // run beside the next steps, until join
	Want    *want     `json:"want"`

	raw json.RawMessage
}

// arguments of all sorts of steps; accepts says which belong to which.
type arguments struct {
	Kind    tokenguard.Kind `json:"kind"`
	Scope   string          `json:"scope"`
	Caller  string          `json:"caller"`
	Failure failure         `json:"failure"`
	Failing string          `json:"failing"` // a token's value
	Timeout span            `json:"timeout"` // of the caller's context

	Token     string `json:"token"`
	Latency   span   `json:"latency"`
	Remaining int64  `json:"remaining"`
	Limit     int64  `json:"limit"`
	ResetAt   when   `json:"reset_at"`
	Lifetime  span   `json:"lifetime"`
	Expiry    when   `json:"expiry"`

	Predecessor string `json:"predecessor"` // a token's value
	Account     string `json:"account"`
	Refresh     string `json:"refresh"`

	Identity   string `json:"identity"`  // the refresh token that came with the account
	Suspicion  string `json:"suspicion"` // a token's value, or *
	Backoff    bool   `json:"backoff"`
	RetryAfter bool   `json:"retry_after"`

	By  span   `json:"by"`
	To  when   `json:"to"`
	Job string `json:"job"`
}

var request = []string{"kind", "scope", "caller", "failure", "failing", "timeout"}

// accepts lists what a step can do and the arguments of each.
var accepts = map[string][]string{
	"acquire": request, "wait": request, "explain": request, "token": {"timeout"},
	"report": {"token", "caller", "latency", "failure", "remaining", "limit", "reset_at"},
	"adopt":  {"token", "scope", "kind", "lifetime", "expiry", "predecessor", "account", "refresh"},
	"clear":  {"suspicion", "backoff", "retry_after", "identity"},
	"join":   {"job"}, "advance": {"by"}, "set_clock": {"to"},
	"open": {}, "close": {}, "restart": {}, "crash": {}, "store_fails": {}, "store_works": {},
}

// want is what a step must lead to. A field that is left out is not looked at.
type want struct {
	Source  tokenguard.Source                     `json:"source"`
	Token   *string                               `json:"token"`
	Step    tokenguard.Step                       `json:"step"`
	Reason  tokenguard.Reason                     `json:"reason"`
	Answer  tokenguard.Answer                     `json:"answer"`
	Class   *tokenguard.Class                     `json:"class"`
	Until   when                                  `json:"until"`
	RetryAt when                                  `json:"retry_at"`
	Is      []string                              `json:"is"`
	Cause   string                                `json:"cause"`
	Detail  string                                `json:"detail"`
	Steps   map[tokenguard.Step]tokenguard.Reason `json:"steps"`

	Sources map[tokenguard.Source]int `json:"sources"`
	Reasons map[tokenguard.Reason]int `json:"reasons"`

	Now       when    `json:"now"`
	Upstream  *int    `json:"upstream"`
	Renewals  *int    `json:"renewals"`
	Presented *string `json:"presented"` // the refresh token of the last renewal
	Personal  *int    `json:"personal"`
}

// errNames are what "is" may name.
var errNames = map[string]error{
	"ErrRefused": tokenguard.ErrRefused, "ErrDuplicate": tokenguard.ErrDuplicate, "ErrNotNeeded": tokenguard.ErrNotNeeded,
	"ErrInProgress": tokenguard.ErrInProgress, "ErrUpstreamLimited": tokenguard.ErrUpstreamLimited,
	"ErrForbidden": tokenguard.ErrForbidden, "ErrRateLimited": tokenguard.ErrRateLimited,
	"ErrBackoff": tokenguard.ErrBackoff, "ErrStore": tokenguard.ErrStore, "ErrClosed": tokenguard.ErrClosed,
}

// span is a Go duration string.
type span time.Duration

func (s *span) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("a duration is a string such as \"5m\", not %s", data)
	}
	d, err := time.ParseDuration(text)
	*s = span(d)
	return err
}

// when is an instant: RFC 3339, or "+5m" after the scenario's start, or "none" for the zero time.
type when string

func (w *when) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("an instant is a string such as \"+5m\" or RFC 3339, not %s", data)
	}
	*w = when(text)
	if text == "none" {
		return nil
	}
	if _, err := time.ParseDuration(text); err == nil && (text[0] == '+' || text[0] == '-') {
		return nil
	}
	if _, err := time.Parse(time.RFC3339Nano, text); err != nil {
		return fmt.Errorf("%q is neither \"none\" nor relative (\"+5m\") nor RFC 3339", text)
	}
	return nil
}

func (w when) time(start time.Time) time.Time {
	if w == "" || w == "none" {
		return time.Time{}
	}
	if d, err := time.ParseDuration(string(w)); err == nil {
		return start.Add(d)
	}
	t, _ := time.Parse(time.RFC3339Nano, string(w)) // checked when it was decoded
	return t
}

func parseStep(data []byte, s *step) error {
	if err := strict(data, s); err != nil {
		return err
	}
	s.raw = data
	allowed, known := accepts[s.Do]
	if !known {
		return fmt.Errorf("do: %q is none of %s", s.Do, strings.Join(slices.Sorted(maps.Keys(accepts)), ", "))
	}
	var fields struct {
		With map[string]json.RawMessage `json:"with"`
	}
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	for name := range fields.With {
		if !slices.Contains(allowed, name) {
			return fmt.Errorf("with: %q is no argument of %s", name, s.Do)
		}
	}
	if s.Want != nil {
		for _, name := range s.Want.Is {
			if errNames[name] == nil && name != "RequestError" && name != "context.Canceled" && name != "context.DeadlineExceeded" {
				return fmt.Errorf("want.is: no error is named %q", name)
			}
		}
	}
	return nil
}

func strict(data []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(to); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("more than one JSON value")
	}
	return nil
}

// parseScenario decodes and checks one file.
func parseScenario(data []byte) (*scenario, error) {
	var s scenario
	if err := strict(data, &s); err != nil {
		return nil, err
	}
	switch {
	case s.Name == "":
		return nil, errors.New("name is missing")
	case len(s.Steps) == 0:
		return nil, errors.New("steps are missing")
	case s.Given.Store != "" && s.Given.Store != "memory" && s.Given.Store != "file":
		return nil, fmt.Errorf("given.store: %q is neither memory nor file", s.Given.Store)
	}
	if s.Given.Start.IsZero() {
		s.Given.Start = NewClock(time.Time{}).Now()
	}
	if s.Given.Name == "" {
		s.Given.Name = "scenario"
	}
	if s.Given.Config != nil {
		if err := json.Unmarshal(s.Given.Config, new(tokenguard.Config)); err != nil {
			return nil, fmt.Errorf("given.config: %w", err)
		}
	}
	s.steps = make([]step, len(s.Steps))
	for i, raw := range s.Steps {
		if err := parseStep(raw, &s.steps[i]); err != nil {
			return nil, fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return &s, nil
}

// renewals is how many there are replies for.
func (s *scenario) renewals() int {
	if s.Renewals == nil {
		return 0
	}
	return len(*s.Renewals)
}
