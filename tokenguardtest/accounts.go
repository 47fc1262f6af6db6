package tokenguardtest

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Rotation says what becomes of a refresh token that is presented. The zero Rotation issues none.
type Rotation string

const (
	// RotateNever keeps the refresh token, and leaves it out of the answer, as Cognito does.
	RotateNever Rotation = "never"
	// RotateParent replaces it. The one before the active one, presented again, is answered with the active one, as
	// Supabase does; an older one revokes them all.
	RotateParent Rotation = "parent"
	// RotateLeeway replaces it, and treats the one before the active one as RotateParent does for the time Leeway alone.
	RotateLeeway Rotation = "leeway"
	// RotateStrict replaces it. One that is presented again revokes them all.
	RotateStrict Rotation = "strict"
)

// Presentation is one presentation of a refresh token, as the upstream saw it.
type Presentation struct {
	// Began and Ended are when the request came and when its answer was made; they differ by the latency.
	Began, Ended time.Time
	// Account is whose refresh token it is; empty for one that is not known.
	Account string
	// RefreshToken is the value that was presented. Generation counts those of the account from 1.
	RefreshToken string
	Generation   int
	// Successor is the value that the answer names, or would name: the same again if it is kept.
	Successor string
	Result    Result
	// Cut: the answer was lost on its way, see CutAnswers.
	Cut bool
	// Address is the client's.
	Address string
}

// Result is how the upstream answered a refresh token.
type Result string

// The results, with the answer of each.
const (
	Renewed    Result = "renewed"     // 200
	Recovered  Result = "recovered"   // 200: a refresh token that was replaced before, see Rotation
	Reused     Result = "reused"      // 400 invalid_grant: it was replaced before, and all are revoked now
	WasRevoked Result = "revoked"     // 400 invalid_grant
	Expired    Result = "expired"     // 400 invalid_grant
	Deleted    Result = "deleted"     // 400 invalid_grant: the account
	Banned     Result = "banned"      // 403 access_denied: the account
	Unknown    Result = "unknown"     // 400 invalid_grant
	Down       Result = "unavailable" // 503, see SetOutage and SetRenewalOutage
)

// account is one that the upstream signed up.
type account struct {
	id              string
	refresh         []refreshToken // by generation; the last is the active one
	revoked         bool           // all refresh tokens
	deleted, banned bool
	spent           allowance // of all its access tokens together
}

type refreshToken struct {
	value    string
	expiry   time.Time // zero: never
	replaced time.Time // zero: it is the active one
}

// Presentations returns the refresh tokens that were presented so far, in the order in which they were answered.
func (u *Upstream) Presentations() []Presentation {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.presented)
}

// Delete deletes accounts, as an upstream does with anonymous ones after a while; without any, all. Their tokens are
// worthless then.
func (u *Upstream) Delete(accounts ...string) {
	u.eachAccount(accounts, func(a *account) { a.deleted = true })
}

// Ban disables accounts; without any, all.
func (u *Upstream) Ban(accounts ...string) {
	u.eachAccount(accounts, func(a *account) { a.banned = true })
}

// RevokeRefresh revokes the refresh tokens of accounts; without any, of all. Access tokens last.
func (u *Upstream) RevokeRefresh(accounts ...string) {
	u.eachAccount(accounts, func(a *account) { a.revoked = true })
}

func (u *Upstream) eachAccount(ids []string, do func(*account)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, a := range u.accounts {
		if len(ids) == 0 || slices.Contains(ids, a.id) {
			do(a)
		}
	}
}

// SetRenewalOutage makes each answer to a refresh token a 503 until it is switched off again. Accounts are signed up, and
// calls answered, as usual.
func (u *Upstream) SetRenewalOutage(on bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.renewalOutage = on
}

// CutAnswers loses the answers to the next n refresh tokens that are renewed: the upstream has done it, and replaced the
// refresh token where it does, but the connection ends before the client hears of it.
func (u *Upstream) CutAnswers(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cuts = n
}

// signUpLocked makes an account and adds to the answer what belongs to it.
func (u *Upstream) signUpLocked(at time.Time, m *metered, body map[string]any) {
	a := &account{id: fmt.Sprintf("account-%d", len(u.accounts)+1)}
	u.accounts = append(u.accounts, a)
	m.account = a
	body["user_id"] = a.id
	u.stateRefresh(body, u.rotateLocked(a, at), at)
}

// rotateLocked gives the account its next refresh token.
func (u *Upstream) rotateLocked(a *account, at time.Time) *refreshToken {
	if n := len(a.refresh); n > 0 {
		a.refresh[n-1].replaced = at
	}
	next := refreshToken{value: fmt.Sprintf("refresh-%s-%d", strings.TrimPrefix(a.id, "account-"), len(a.refresh)+1)}
	if u.RefreshLifetime > 0 {
		next.expiry = at.Add(u.RefreshLifetime)
	}
	a.refresh = append(a.refresh, next)
	return &a.refresh[len(a.refresh)-1]
}

func (u *Upstream) stateRefresh(body map[string]any, r *refreshToken, at time.Time) {
	body["refresh_token"] = r.value
	if !r.expiry.IsZero() {
		body["refresh_token_expires_in"] = r.expiry.Sub(at).Seconds()
	}
}

// serveRefresh answers a refresh token (RFC 6749, section 6).
func (u *Upstream) serveRefresh(w http.ResponseWriter, r *http.Request, began time.Time) {
	u.mu.Lock()
	at := now(u.Clock)
	p := Presentation{Began: began, Ended: at, RefreshToken: r.FormValue("refresh_token"), Address: address(r)}
	body := map[string]any{}
	u.renewLocked(&p, at, body)
	if p.Result == Renewed || p.Result == Recovered {
		u.counts.Renewed++
		if u.cuts > 0 {
			u.cuts--
			p.Cut = true
		}
	}
	u.presented = append(u.presented, p)
	u.mu.Unlock()
	switch status := p.Result.status(); {
	case p.Cut:
		panic(http.ErrAbortHandler)
	case status == http.StatusOK:
		answer(w, status, body)
	case status == http.StatusServiceUnavailable:
		http.Error(w, "service unavailable", status)
	case status == http.StatusForbidden:
		answer(w, status, map[string]any{"error": "access_denied", "error_description": "the account is disabled"})
	default:
		answer(w, status, map[string]any{"error": "invalid_grant", "error_description": "the refresh token is " + string(p.Result)})
	}
}

func (r Result) status() int {
	switch r {
	case Renewed, Recovered:
		return http.StatusOK
	case Down:
		return http.StatusServiceUnavailable
	case Banned:
		return http.StatusForbidden
	}
	return http.StatusBadRequest
}

// renewLocked decides on the refresh token that p names, and fills in what the answer says.
func (u *Upstream) renewLocked(p *Presentation, at time.Time, body map[string]any) {
	a, g := u.refreshLocked(p.RefreshToken)
	if a != nil {
		p.Account, p.Generation = a.id, g+1
	}
	switch {
	case u.outage, u.renewalOutage:
		p.Result = Down
		return
	case a == nil:
		p.Result = Unknown
		return
	case a.deleted:
		p.Result = Deleted
		return
	case a.banned:
		p.Result = Banned
		return
	case a.revoked:
		p.Result = WasRevoked
		return
	case !a.refresh[g].expiry.IsZero() && !at.Before(a.refresh[g].expiry):
		p.Result = Expired
		return
	}
	active := len(a.refresh) - 1
	next := &a.refresh[active]
	p.Result = Renewed
	switch {
	case g == active && u.Rotation == RotateNever:
	case g == active:
		next = u.rotateLocked(a, at)
	case g == active-1 && (u.Rotation == RotateParent || u.Rotation == RotateLeeway && !at.After(a.refresh[g].replaced.Add(u.Leeway))):
		p.Result = Recovered
	default:
		a.revoked = true
		p.Result = Reused
		return
	}
	p.Successor = next.value
	body["user_id"] = a.id
	u.accessLocked(at, body).account = a
	if u.Rotation != RotateNever {
		u.stateRefresh(body, next, at)
	}
}

func (u *Upstream) refreshLocked(value string) (*account, int) {
	for _, a := range u.accounts {
		if g := slices.IndexFunc(a.refresh, func(r refreshToken) bool { return r.value == value }); g >= 0 {
			return a, g
		}
	}
	return nil, 0
}

// address is the client's: the first that a proxy names, else that of the connection.
func address(r *http.Request) string {
	if first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-For"), ","); first != "" {
		return strings.TrimSpace(first)
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
