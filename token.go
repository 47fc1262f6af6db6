package tokenguard

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
	"unsafe"

	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/secrets"
)

// Kind says whose token it is.
type Kind string

const (
	// Anonymous tokens come from RequestFunc and are metered. The zero Request means this kind.
	Anonymous Kind = "anonymous"
	// Personal tokens are the account's own, from WithPersonalToken. They are never acquired by RequestFunc.
	Personal Kind = "personal"
)

// plain reports whether a request of this kind means an anonymous token.
func (k Kind) plain() bool { return k == "" || k == Anonymous }

// Token is a credential together with what is known of it. The secret is reachable through Value alone: a Token
// prints, logs and encodes without it, also as an unexported field of another struct.
//
// The zero Token is empty. Tokens are values; copying one is cheap and safe for concurrent use.
type Token struct {
	Kind  Kind
	Scope string
	// AcquiredAt is when the guard took the token in.
	AcquiredAt time.Time
	// Expiry is the instant the upstream stated; zero: not stated, and the cache TTL decides.
	Expiry time.Time

	// The secret hides behind an unsafe.Pointer, because diff printers (testify's among them) follow every typed
	// pointer, also the unexported ones. It is written once, by newToken.
	secret   unsafe.Pointer // *secrets.Secret
	lifetime time.Duration  // from NewTokenIn: turned into Expiry on receipt
	lasts    bool           // lifetime was stated
}

// NewToken makes a Token from a secret and the instant at which the upstream says it expires.
// A zero expiry means that none was stated. One beyond the year 2262, the end of 64 bits of nanoseconds, comes back as
// that end.
func NewToken(value string, expiry time.Time) Token {
	return Token{Expiry: expiry, secret: unsafe.Pointer(secrets.New(value))}
}

// NewTokenIn makes a Token from a secret and its lifetime, for upstreams that send expires_in. The guard turns the
// lifetime into an Expiry when it takes the token in. A lifetime of zero or less is a token that has expired already, and
// so a failed acquisition: where the upstream may leave expires_in out, use NewToken with a zero expiry then.
func NewTokenIn(value string, lifetime time.Duration) Token {
	t := NewToken(value, time.Time{})
	t.lifetime, t.lasts = lifetime, true
	return t
}

// noSecret is that of the zero Token.
var noSecret secrets.Secret

func (t Token) hidden() *secrets.Secret {
	if t.secret == nil {
		return &noSecret
	}
	return (*secrets.Secret)(t.secret)
}

// Value returns the secret. It is the only way to it.
func (t Token) Value() string { return t.hidden().Value }

// ID returns a name for the token that is safe to log and to store: "tk_" and 16 hex digits of a SHA-256 of the
// value. It is empty for the zero Token.
func (t Token) ID() string { return t.hidden().ID }

// TokenID returns the ID of the token with this value, for callers that hold only the value.
// The ID of an empty value is empty.
func TokenID(value string) string { return secrets.ID(value) }

// normalID takes an ID as it is and hashes anything else, so that a secret handed in by mistake goes no further.
func normalID(s string) string {
	if secrets.IsID(s) {
		return s
	}
	return secrets.ID(s)
}

// String describes the token without its secret.
func (t Token) String() string {
	if t.secret == nil {
		return "token(none)"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "token(%s %s", t.ID(), t.Kind)
	if t.Scope != "" {
		fmt.Fprintf(&b, " scope=%q", t.Scope)
	}
	if !t.Expiry.IsZero() {
		fmt.Fprintf(&b, " expiry=%s", t.Expiry.Format(time.RFC3339))
	}
	b.WriteByte(')')
	return b.String()
}

// GoString is String: %#v shows no secret either.
func (t Token) GoString() string { return t.String() }

// Format writes String for every verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue logs the token without its secret.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalJSON encodes what String shows. A Token cannot be decoded again.
func (t Token) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		ID         string     `json:"id,omitempty"`
		Kind       Kind       `json:"kind,omitempty"`
		Scope      string     `json:"scope,omitempty"`
		AcquiredAt *time.Time `json:"acquired_at,omitempty"`
		Expiry     *time.Time `json:"expiry,omitempty"`
	}{t.ID(), t.Kind, t.Scope, stated(t.AcquiredAt), stated(t.Expiry)})
}

// stated makes a zero instant disappear from JSON.
func stated(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// tokenIn is a token of a revision that this process can read, for one of its scopes.
func tokenIn(rev *replica.Revision, id, scope string) (Token, bool) {
	s, rec := rev.Secrets[id], rev.Doc.Tokens[id]
	if s == nil || rec == nil {
		return Token{}, false
	}
	return Token{Kind: Kind(rec.Kind), Scope: scope, AcquiredAt: rev.At.Time(rec.Acquired), Expiry: rev.At.Time(rec.Expiry), secret: unsafe.Pointer(s)}, true
}
