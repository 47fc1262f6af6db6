package tokenguard

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// RequestFunc fetches a new anonymous token from the upstream: the function that a caller already has. The guard
// calls it at most as often as its limits allow, from a goroutine of its own, with the values but not the
// cancellation of the context of the call that started it, and with the request timeout as deadline. It should
// return when its context ends: the limits hold either way, but only then as the upstream sees them too.
//
// req is the one of the call that started it: its Scope says what the token must be good for.
//
// The returned Token needs a value; Kind and Scope are set by the guard. An error is classified by its text, or by
// the Failure it carries (see Failed). A panic or runtime.Goexit is a failed attempt.
type RequestFunc func(ctx context.Context, req Request) (Token, error)

// Request is what a caller needs a token for.
type Request struct {
	// Kind is Anonymous unless stated. Personal never starts an acquisition.
	Kind Kind
	// Scope says what the token must be good for: an OCI repository, a region, a model. Tokens are never shared
	// across scopes. At most 512 bytes.
	Scope string
	// Caller names the operation that needs the token, for the dedup filter, logs and events, and because what one
	// operation reports of a token takes it from no other. Numbers and ids in it are ignored (attempt_1 and attempt_2 are
	// one operation); callers without a name are one. At most its first 256 bytes are kept.
	Caller string
	// Failure is why the caller asks, if a call made with a token failed.
	Failure Failure
	// Failing is the ID of the token with which it failed. Anything else is hashed on entry.
	Failing string
}

// bare reports whether nothing is stated but for whom the token is to be.
func (r *Request) bare() bool {
	return r.Failure.StatusCode|len(r.Failure.Message)|len(r.Kind) == 0 && r.Failure.Header == nil && r.Failure.Err == nil
}

// Outcome is how a call made with a token ended.
type Outcome struct {
	// TokenID names the token; anything but an ID is hashed on entry. A token that the guard never served is ignored.
	TokenID string
	// Caller names the operation that made the call, as Request.Caller does: what one operation sees of a token takes it
	// from no other. Callers without a name are one operation. At most its first 256 bytes are kept.
	Caller string
	// Latency is how long the call took; zero: not measured.
	Latency time.Duration
	// Failure is zero for a success.
	Failure Failure
	// Remaining of Limit calls are left by the upstream's account. Remaining counts only if Limit > 0.
	Remaining, Limit int64
	// ResetAt is when the upstream says that the quota is full again; zero: not stated.
	ResetAt time.Time
}

// Source says where a granted token came from.
type Source string

const (
	// SourcePersonal is the account's own token.
	SourcePersonal Source = "personal"
	// SourceCache is a token that this guard knew already.
	SourceCache Source = "cache"
	// SourceRequest is a token that this call acquired.
	SourceRequest Source = "request"
	// SourceShared is a token that another call or process acquired and that this guard learns of on this call.
	SourceShared Source = "shared"
	// SourceRenewal is a new value of a known account, which this call renewed.
	SourceRenewal Source = "renewal"
	// SourceShadow is a token that shadow mode fetched for this call alone, in place of a refusal.
	SourceShadow Source = "shadow"
)

// Grant is a usable token and why this caller has it. It is four words, so that a call that finds a token copies no more.
type Grant struct {
	Token   Token
	Source  Source
	verdict *Verdict // never changes
}

func granted(t Token, s Source, v Verdict) Grant { return Grant{Token: t, Source: s, verdict: &v} }

// Verdict says which step served this caller, and on what evidence. That of the zero Grant is zero.
func (g Grant) Verdict() Verdict {
	if g.verdict == nil {
		return Verdict{}
	}
	return *g.verdict
}

// String describes the grant without the token's secret.
func (g Grant) String() string {
	v := g.Verdict()
	return fmt.Sprintf("%v from %s: %s (%s): %s", g.Token, g.Source, v.Reason, v.Step, v.Detail)
}

// MarshalJSON encodes the token without its secret, the source and the verdict. A Grant cannot be decoded again.
func (g Grant) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Token   Token   `json:"token"`
		Source  Source  `json:"source"`
		Verdict Verdict `json:"verdict"`
	}{g.Token, g.Source, g.Verdict()})
}

// Clear says which standing refusals an operator lifts. Charged attempts are never dropped.
type Clear struct {
	// Suspicion clears what was reported about this token's quota (its ID, or "*" for all tokens). Rejections stay.
	Suspicion string
	// Backoff forgets the consecutive failures, and the closed keys of refused scopes.
	Backoff bool
	// RetryAfter opens what an upstream's Retry-After closed, the guard and the paused keys.
	RetryAfter bool
	// Identity forgets the account of this ID, or the one behind the token of this ID, with its value: it is gone, and its
	// key may start an acquisition, within the limits.
	Identity string
}
