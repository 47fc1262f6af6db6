package tokenguardtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tokenguard/tokenguard"
)

// Upstream is a metered service for tests and examples, served by httptest or any http.Server:
//
//	POST /token   issues an anonymous token: 200 {"access_token", "token_type", "expires_in"}, or, over its limit on
//	              issuing, 429 with an HTML page and Retry-After. With Rotation set it signs up an account, and the
//	              answer has "refresh_token" and "user_id", too; "grant_type=refresh_token" renews (RFC 6749, section 6)
//	any  /api     one metered call with "Authorization: Bearer ...": 200 JSON, with the X-RateLimit fields where a
//	              quota is set; 429 JSON "No remaining quota: No AI requests remaining" for a spent token; 401 for
//	              a token that is unknown, revoked or expired
//	any  /stream  one metered call answered as server-sent events, each flushed: ?events=N (3), ?pause=D between
//	              them on Clock (0)
//
// The fields are its policy; set them before the first request. The zero Upstream issues tokens of an hour without any
// limit. It is safe for concurrent use.
type Upstream struct {
	// Clock is the upstream's own; nil: real time. Latency and pauses sleep on it if it can.
	Clock tokenguard.Clock
	// Lifetime of the tokens; 0: an hour, less than 0: none is stated and they last.
	Lifetime time.Duration
	// Rotation of refresh tokens; empty: tokens belong to no account, and cannot be renewed.
	Rotation Rotation
	// Leeway of RotateLeeway, after a refresh token was replaced.
	Leeway time.Duration
	// RefreshLifetime of a refresh token from its issue; 0: without end.
	RefreshLifetime time.Duration
	// Quota is the number of calls that one token, or one account, is good for; 0: without end.
	Quota int
	// QuotaReset is how long after its first use a token's quota is full again; 0: never. It is stated to clients.
	QuotaReset time.Duration
	// IssueLimit is the most tokens issued, or accounts signed up, to one address in any IssueWindow (an hour if 0);
	// 0: without end. A client's address is the first in X-Forwarded-For, else that of its connection.
	IssueLimit  int
	IssueWindow time.Duration
	// RetryAfterDate states Retry-After as a date instead of seconds.
	RetryAfterDate bool

	mu     sync.Mutex // guards everything below
	tokens map[string]*metered
	issued map[string][]time.Time // within IssueWindow, by address
	delay  time.Duration
	outage bool
	counts UpstreamCounts

	accounts      []*account
	presented     []Presentation
	renewalOutage bool
	cuts          int // answers that are still to be lost
	values        int // access tokens that were made
}

// metered is one token that the upstream knows.
type metered struct {
	expiry  time.Time // zero: never
	spent   allowance
	revoked bool
	account *account // nil: none
}

// allowance is what was used of a quota.
type allowance struct {
	used int
	full time.Time // when the quota is full again; zero: not used, or never
}

// allowance is that of the token's account, if it has one.
func (m *metered) allowance() *allowance {
	if m.account != nil {
		return &m.account.spent
	}
	return &m.spent
}

// UpstreamCounts are what an Upstream has answered.
type UpstreamCounts struct {
	Issued  int // tokens, or accounts that were signed up; not those that were renewed
	Renewed int // refresh tokens that were answered with an access token, also where the answer was lost
	OK      int // metered calls that were answered
	// RefusedIssues counts the token requests that failed, and FailedCalls the metered calls that did, by status.
	RefusedIssues map[int]int
	FailedCalls   map[int]int
}

// Counts returns what was answered so far.
func (u *Upstream) Counts() UpstreamCounts {
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.counts
	c.RefusedIssues, c.FailedCalls = maps.Clone(c.RefusedIssues), maps.Clone(c.FailedCalls)
	return c
}

// SetLatency makes each answer take d.
func (u *Upstream) SetLatency(d time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.delay = d
}

// SetOutage makes each answer a 503 until it is switched off again.
func (u *Upstream) SetOutage(on bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.outage = on
}

// Revoke makes these tokens worthless; without any, all that were issued so far.
func (u *Upstream) Revoke(values ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(values) == 0 {
		for _, m := range u.tokens {
			m.revoked = true
		}
	}
	for _, v := range values {
		if m := u.tokens[v]; m != nil {
			m.revoked = true
		}
	}
}

// ResetQuota fills the quota of every token.
func (u *Upstream) ResetQuota() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, m := range u.tokens {
		*m.allowance() = allowance{}
	}
}

// Grant makes the upstream accept a token that it did not issue: an account's own.
func (u *Upstream) Grant(value string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.addLocked(value, time.Time{})
}

func (u *Upstream) addLocked(value string, expiry time.Time) *metered {
	if u.tokens == nil {
		u.tokens = map[string]*metered{}
	}
	m := &metered{expiry: expiry}
	u.tokens[value] = m
	return m
}

// ServeHTTP answers one request.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := now(u.Clock)
	u.mu.Lock()
	delay := u.delay
	u.mu.Unlock()
	if delay > 0 && sleep(r.Context(), u.Clock, delay) != nil {
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Date", now(u.Clock).UTC().Format(http.TimeFormat))
	switch r.URL.Path {
	case "/token":
		u.serveToken(w, r, began)
	case "/api":
		if u.charge(w, r) {
			answer(w, http.StatusOK, map[string]any{"result": "ok"})
		}
	case "/stream":
		if u.charge(w, r) {
			u.stream(w, r)
		}
	default:
		http.NotFound(w, r)
	}
}

func (u *Upstream) serveToken(w http.ResponseWriter, r *http.Request, began time.Time) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if u.Rotation != "" && r.PostFormValue("grant_type") == "refresh_token" {
		u.serveRefresh(w, r, began)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.outage {
		count(&u.counts.RefusedIssues, http.StatusServiceUnavailable)
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	at := now(u.Clock)
	window := u.IssueWindow
	if window == 0 {
		window = time.Hour
	}
	from := address(r)
	issued := u.issued[from]
	for len(issued) > 0 && !issued[0].Add(window).After(at) {
		issued = issued[1:]
	}
	if u.IssueLimit > 0 && len(issued) >= u.IssueLimit {
		count(&u.counts.RefusedIssues, http.StatusTooManyRequests)
		u.stateRetryAfter(w, at, issued[0].Add(window))
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, "<!doctype html><html><head><title>429</title></head><body><h1>Too Many Requests</h1></body></html>")
		return
	}
	if u.issued == nil {
		u.issued = map[string][]time.Time{}
	}
	u.issued[from] = append(issued, at)
	u.counts.Issued++
	body := map[string]any{}
	m := u.accessLocked(at, body)
	if u.Rotation != "" {
		u.signUpLocked(at, m, body)
	}
	answer(w, http.StatusOK, body)
}

// accessLocked makes an access token and states it.
func (u *Upstream) accessLocked(at time.Time, body map[string]any) *metered {
	u.values++
	value := fmt.Sprintf("anonymous-%d", u.values)
	body["access_token"], body["token_type"] = value, "Bearer"
	var expiry time.Time
	if lifetime := u.lifetime(); lifetime > 0 {
		expiry = at.Add(lifetime)
		body["expires_in"] = lifetime.Seconds()
	}
	return u.addLocked(value, expiry)
}

func (u *Upstream) lifetime() time.Duration {
	if u.Lifetime == 0 {
		return time.Hour
	}
	return u.Lifetime
}

// charge takes one call from the quota of the request's token, or answers why it cannot.
func (u *Upstream) charge(w http.ResponseWriter, r *http.Request) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	refuse := func(status int, message string) bool {
		count(&u.counts.FailedCalls, status)
		answer(w, status, map[string]any{"error": message})
		return false
	}
	if u.outage {
		return refuse(http.StatusServiceUnavailable, "service unavailable")
	}
	at := now(u.Clock)
	value, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	m := u.tokens[value]
	if m != nil && m.account != nil && m.account.banned {
		return refuse(http.StatusForbidden, "the account is disabled")
	}
	if !bearer || m == nil || m.revoked || m.account != nil && m.account.deleted || !m.expiry.IsZero() && !at.Before(m.expiry) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		return refuse(http.StatusUnauthorized, "invalid token")
	}
	if u.Quota > 0 {
		a := m.allowance()
		if !a.full.IsZero() && !at.Before(a.full) {
			a.used, a.full = 0, time.Time{}
		}
		if a.used == 0 && u.QuotaReset > 0 {
			a.full = at.Add(u.QuotaReset)
		}
		spent := a.used >= u.Quota
		if !spent {
			a.used++
		}
		w.Header().Set("X-RateLimit-Limit", strconv.Itoa(u.Quota))
		w.Header().Set("X-RateLimit-Remaining", strconv.Itoa(u.Quota-a.used))
		if !a.full.IsZero() {
			w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(a.full.Unix(), 10))
		}
		if spent {
			return refuse(http.StatusTooManyRequests, "No remaining quota: No AI requests remaining")
		}
	}
	u.counts.OK++
	return true
}

func (u *Upstream) stream(w http.ResponseWriter, r *http.Request) {
	events, err := strconv.Atoi(r.FormValue("events"))
	if err != nil {
		events = 3
	}
	pause, _ := time.ParseDuration(r.FormValue("pause"))
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range events {
		if i > 0 && pause > 0 && sleep(r.Context(), u.Clock, pause) != nil {
			return
		}
		fmt.Fprintf(w, "data: %d\n\n", i+1)
		if http.NewResponseController(w).Flush() != nil {
			return
		}
	}
}

func (u *Upstream) stateRetryAfter(w http.ResponseWriter, at, open time.Time) {
	if u.RetryAfterDate {
		// A date has whole seconds: round up, or a client would come early.
		w.Header().Set("Retry-After", open.Add(time.Second-1).UTC().Truncate(time.Second).Format(http.TimeFormat))
		return
	}
	w.Header().Set("Retry-After", strconv.FormatInt(int64((open.Sub(at)+time.Second-1)/time.Second), 10))
}

func count(m *map[int]int, status int) {
	if *m == nil {
		*m = map[int]int{}
	}
	(*m)[status]++
}

func answer(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
