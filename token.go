package tokenguard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"time"
	"unsafe"

	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/timeline"
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

// Token is a credential together with what is known of it. The secrets are reachable through Value, Secret and
// RefreshToken alone: a Token prints, logs and encodes without them, also as an unexported field of another struct.
//
// The zero Token is empty. A Token is one word and never changes: copying it is cheap, and it is safe for concurrent use.
// Two tokens cannot be compared with ==, which would compare where they are kept: use Equal.
type Token struct {
	_ [0]func() // not comparable

	// The body hides behind an unsafe.Pointer, because diff printers (testify's among them) follow every typed pointer,
	// also the unexported ones.
	body unsafe.Pointer // *tokenBody
}

// tokenBody is what a Token stands for. It never changes once a Token points to it.
type tokenBody struct {
	value            string // of the secret, at hand
	secret           *secrets.Secret
	kind             Kind
	scope            string
	acquired, expiry time.Time
	lifetime         time.Duration // from NewTokenIn, unless zero: turned into expiry on receipt
	made             moment        // when NewTokenIn was called
	answered         answered      // from WithDate

	refresh       string // as RefreshToken shows it
	refreshExpiry time.Time
	account       string // hash
	identity      string // as the document knows it
	predecessor   string
}

// noToken is the body of the zero Token.
var noToken = tokenBody{secret: new(secrets.Secret)}

func (t Token) read() *tokenBody {
	if t.body == nil {
		return &noToken
	}
	return (*tokenBody)(t.body)
}

func (b tokenBody) token() Token {
	b.value = b.secret.Value
	return Token{body: unsafe.Pointer(&b)}
}

// isZero reports whether nothing is known of the token, not even a value.
func (t Token) isZero() bool { return t.body == nil }

// NewToken makes a Token from a secret and the instant at which the upstream says it expires. One line end after the
// value is dropped; any other control character in it, or more than 64 KiB with all further secrets, makes a failed
// acquisition. A zero expiry means that none was stated. One beyond the year 2262, the end of 64 bits of nanoseconds,
// comes back as that end. It is read by this machine's clock; see WithDate for an upstream whose clock may be another.
func NewToken(value string, expiry time.Time) Token {
	return tokenBody{secret: secrets.New(withoutLineEnd(value)), expiry: expiry}.token()
}

// NewTokenIn makes a Token from a secret and its lifetime, for upstreams that send expires_in, which ExpiresIn decodes.
// The guard turns the lifetime into an Expiry when it accepts the token, and counts it from when the fetch began or
// from this call, whichever was first: on its way a token grows older, on Linux in a suspend, too. Zero: not stated, as in NewToken. A negative
// lifetime is a token that has expired already, and one below a second a mistake in the unit: both make a failed
// acquisition.
func NewTokenIn(value string, lifetime time.Duration) Token {
	return tokenBody{secret: secrets.New(withoutLineEnd(value)), lifetime: lifetime, made: thisMoment()}.token()
}

// Value returns the secret that calls are made with.
func (t Token) Value() string { return t.read().value }

// ID returns a name for the token that is safe to log and to store: "tk_" and 16 hex digits of a SHA-256 of the
// value. It is empty for the zero Token.
func (t Token) ID() string { return t.read().secret.ID }

// Kind says whose token it is. The guard sets it.
func (t Token) Kind() Kind { return t.read().kind }

// Scope is what the token is good for. The guard sets that of an anonymous token; a personal one is good for any scope
// unless its own is set by WithScope.
func (t Token) Scope() string { return t.read().scope }

// AcquiredAt is when the guard received the token.
func (t Token) AcquiredAt() time.Time { return t.read().acquired }

// Expiry is the instant that the upstream stated; zero: not stated, and the cache TTL decides.
func (t Token) Expiry() time.Time { return t.read().expiry }

// Equal reports whether both tokens have the same value.
func (t Token) Equal(u Token) bool { return t.Value() == u.Value() }

// received is the token as the guard hands it out.
func (t Token) received(kind Kind, scope string, acquired, expiry time.Time) Token {
	b := *t.read()
	b.kind, b.scope, b.acquired, b.expiry, b.lifetime, b.made, b.answered = kind, scope, acquired, expiry, 0, moment{}, answered{}
	b.refresh, b.identity, b.predecessor = "", t.Identity(), ""
	return b.token()
}

var errEmptyToken = errors.New("tokenguard: the token is empty")

// fault says what is wrong with a token that was just received, whatever else is known; nil: nothing.
func (t Token) fault(ends ending, r timeline.Reading) error {
	b := t.read()
	switch {
	case b.secret.Value == "":
		return errEmptyToken
	case b.secret.Size() > maxTokenSize:
		return fmt.Errorf("tokenguard: the token has %d bytes, its further secrets included; at most %d are taken", b.secret.Size(), maxTokenSize)
	case strings.IndexFunc(b.secret.Value, isControl) >= 0:
		i := strings.IndexFunc(b.secret.Value, isControl)
		return fmt.Errorf("tokenguard: the token %s holds the control byte 0x%02X at byte %d of %d: no header takes it", b.secret.ID, b.secret.Value[i], i+1, len(b.secret.Value))
	case 0 < b.lifetime && b.lifetime < time.Second:
		return fmt.Errorf("tokenguard: the token %s states a lifetime of %v: NewTokenIn takes a time.Duration, such as 3600*time.Second", b.secret.ID, b.lifetime)
	case ends.over(timeline.Reading{Now: r.Least(), Wall: r.Wall}):
		return fmt.Errorf("tokenguard: the token %s has expired already (where the upstream states no expiry, use a zero one)", b.secret.ID)
	}
	return nil
}

// WithRefreshToken returns the token with the secret that renews it and its expiry; zero: not stated. See WithRenewal.
func (t Token) WithRefreshToken(value string, expiry time.Time) Token {
	b := *t.read()
	s := *b.secret
	s.Refresh = withoutLineEnd(value)
	b.secret, b.refresh, b.refreshExpiry = &s, s.Refresh, expiry
	return b.token()
}

// RefreshToken returns the secret that renews the token: in the Token that a RenewalFunc gets, and in one that
// WithRefreshToken returned. It is empty in those that a Guard hands out.
func (t Token) RefreshToken() string { return t.read().refresh }

// WithSecret returns the token with a further secret that calls need, under a name. All secrets of a token have at most
// 64 KiB together.
func (t Token) WithSecret(name, value string) Token {
	b := *t.read()
	s := *b.secret
	s.Further = maps.Clone(s.Further)
	if s.Further == nil {
		s.Further = map[string]string{}
	}
	s.Further[name] = value
	b.secret = &s
	return b.token()
}

// Secret returns the further secret of this name; "": there is none.
func (t Token) Secret(name string) string { return t.read().secret.Further[name] }

// WithAccount returns the token with the upstream's name for the account behind it. It is kept as a hash, and
// distinguishes a renewal that returned another account from one that did not.
func (t Token) WithAccount(id string) Token {
	b := *t.read()
	b.account = secrets.Hash("account", id)
	return b.token()
}

// WithPredecessor returns the token as the successor of the one with this ID, which its caller renewed elsewhere: Adopt
// then charges no start.
func (t Token) WithPredecessor(tokenID string) Token {
	b := *t.read()
	b.predecessor = normalID(tokenID)
	return b.token()
}

// Identity returns a name for the account behind the token that is safe to log and to store and that its renewals keep:
// "id_" and 16 hex digits. It is empty for a token that cannot be renewed and names no account.
func (t Token) Identity() string {
	b := t.read()
	switch {
	case b.identity != "":
		return b.identity
	case b.account != "":
		return "id_" + b.account
	case b.secret.Refresh != "":
		return "id_" + secrets.Hash("identity", b.secret.Refresh)
	}
	return ""
}

// isIdentityID reports whether s looks like what Identity returns.
func isIdentityID(s string) bool {
	rest, ok := strings.CutPrefix(s, "id_")
	return ok && secrets.IsID("tk_"+rest)
}

// withoutLineEnd drops the one line end that commands and files put after a value.
func withoutLineEnd(value string) string {
	if rest, ok := strings.CutSuffix(value, "\n"); ok {
		return strings.TrimSuffix(rest, "\r")
	}
	return value
}

func isControl(r rune) bool { return r < ' ' || r == 0x7F }

// WithScope returns the token for a scope: for personal tokens that are good for one scope alone.
func (t Token) WithScope(scope string) Token {
	b := *t.read()
	b.scope = scope
	return b.token()
}

// TokenID returns the ID of the token with this value, for callers that hold only the value.
// The ID of an empty value is empty.
func TokenID(value string) string { return secrets.ID(withoutLineEnd(value)) }

// normalID takes an ID as it is and hashes anything else, so that a secret handed in by mistake goes no further.
func normalID(s string) string {
	if secrets.IsID(s) {
		return s
	}
	return TokenID(s)
}

// String describes the token without its secret.
func (t Token) String() string {
	if t.isZero() {
		return "token(none)"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "token(%s %s", t.ID(), t.Kind())
	if t.Scope() != "" {
		fmt.Fprintf(&b, " scope=%q", t.Scope())
	}
	if !t.Expiry().IsZero() {
		fmt.Fprintf(&b, " expiry=%s", t.Expiry().Format(time.RFC3339))
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
	}{t.ID(), t.Kind(), t.Scope(), stated(t.AcquiredAt()), stated(t.Expiry())})
}

// MarshalText writes String, for encoders of other formats (XML, YAML).
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// GobEncode fails: a Token without its secret would be of no use at the other end.
func (t Token) GobEncode() ([]byte, error) { return nil, errGob }

var errGob = errors.New("tokenguard: a Token is not encoded by gob: its secret must not leave the process; encode Value yourself if it has to")

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
	if s == nil || rec == nil || s.Value == "" {
		return Token{}, false
	}
	b := tokenBody{secret: s, kind: Kind(rec.Kind), scope: scope, acquired: rev.At.Time(rec.Acquired), expiry: rev.At.Time(rec.Expiry)}
	if rec.Identity != nil {
		b.identity = rec.Identity.ID
	}
	return b.token(), true
}
