// Package secrets keeps token values apart from the document that speaks of them: it seals what is written, opens what
// is read, keeps what must never be written, and takes values out of texts.
package secrets

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"iter"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/tokenguard/tokenguard/internal/ledger"
)

// Secret is a token's value with the ID that stands for it wherever people look, and what else calls or a renewal need.
// It never changes.
type Secret struct {
	Value, ID string
	Refresh   string            // refresh token
	Further   map[string]string // by name
}

// New makes the Secret of a value.
func New(value string) *Secret { return &Secret{Value: value, ID: ID(value)} }

// parts are the secrets beside the value, as they are stored.
type parts struct {
	Refresh string            `json:"refresh,omitempty"`
	Further map[string]string `json:"further,omitempty"`

	// The same where a string of JSON cannot hold one of them.
	RefreshBytes []byte            `json:"refresh_bytes,omitempty"`
	FurtherBytes map[string][]byte `json:"further_bytes,omitempty"`
}

// partsText is what is stored of the further secrets of s.
func partsText(s *Secret) []byte {
	p := parts{Refresh: s.Refresh, Further: s.Further}
	text := utf8.ValidString(s.Refresh)
	for _, value := range s.Further {
		text = text && utf8.ValidString(value)
	}
	if !text {
		p = parts{RefreshBytes: []byte(s.Refresh), FurtherBytes: map[string][]byte{}}
		for name, value := range s.Further {
			p.FurtherBytes[name] = []byte(value)
		}
	}
	out, _ := json.Marshal(p) // strings and bytes alone
	return out
}

// read gives the secrets to s.
func (p *parts) read(s *Secret) {
	s.Refresh, s.Further = p.Refresh, p.Further
	if p.RefreshBytes != nil {
		s.Refresh = string(p.RefreshBytes)
	}
	for name, value := range p.FurtherBytes {
		if s.Further == nil {
			s.Further = map[string]string{}
		}
		s.Further[name] = string(value)
	}
}

// Key names the record of the secret: the ID of its value, or, where it has none yet, of its refresh token.
func (s *Secret) Key() string {
	if s.Value == "" {
		return ID(s.Refresh)
	}
	return s.ID
}

// Size is the bytes of all parts.
func (s *Secret) Size() int {
	n := len(s.Value) + len(s.Refresh)
	for name, value := range s.Further {
		n += len(name) + len(value)
	}
	return n
}

// Hash stands for a refresh token or an account where it must not be read: 16 hex digits of a SHA-256.
func Hash(kind, value string) string {
	if value == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("tokenguard " + kind + ":" + value))
	return hex.EncodeToString(sum[:8])
}

// ID is "tk_" and the first 16 hex digits of the SHA-256 of "tokenguard:" and the value; "" for an empty one.
func ID(value string) string {
	if value == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("tokenguard:" + value))
	return "tk_" + hex.EncodeToString(sum[:8])
}

// IsID reports whether s looks like an ID.
func IsID(s string) bool {
	if len(s) != 19 || s[:3] != "tk_" {
		return false
	}
	for _, c := range []byte(s[3:]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Keeper seals and opens the values of one guard's tokens.
type Keeper struct {
	name    string
	seals   []cipher.AEAD               // the first seals, all open
	local   *lru.Cache[string, *Secret] // by ID: values that stay in this process; nil: none do
	fresh   *lru.Cache[string, sealed]  // by ID: values that were sealed a moment ago, so that Open need not decrypt them
	seen    *lru.Cache[string, *Secret] // by ID: values that Hide takes out of texts, beside those of the sources
	windows *windows                    // of the secrets that it has met
	sources []iter.Seq[*Secret]

	registering sync.Mutex // held while a secret becomes known to seen, windows and generation
	generation  atomic.Uint64
	listed      atomic.Pointer[registered]
	warned      sync.Once
	alarm       func(text string)
}

// freshKept bounds the values that Open knows without decrypting.
const freshKept = 16

// NewKeeper makes the Keeper of a guard's name. Keys are 32 bytes each; the first encrypts, all decrypt; none: values
// are stored as they are. With inProcess > 0 values are never stored, and so many stay in this process. alarm is told
// once if a stored value cannot be opened.
func NewKeeper(name string, keys [][]byte, inProcess int, alarm func(string)) (*Keeper, error) {
	k := &Keeper{name: name, alarm: alarm, windows: newWindows()}
	k.fresh, _ = lru.New[string, sealed](freshKept)
	k.seen, _ = lru.New[string, *Secret](seenKept)
	for _, key := range keys {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		seal, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		k.seals = append(k.seals, seal)
	}
	if inProcess > 0 {
		local, err := lru.New[string, *Secret](inProcess)
		if err != nil {
			return nil, err
		}
		k.local = local
	}
	return k, nil
}

// Seal puts a value where it belongs: sealed or plain into the record, or into this process alone.
func (k *Keeper) Seal(r *ledger.Token, s *Secret) {
	k.Register(s)
	r.Dropped = s.Value == ""
	switch {
	case k.local != nil:
		k.local.Add(r.ID, s)
		r.Private = true
		return
	case s.Value == "":
	case len(k.seals) > 0:
		r.Sealed = k.seal([]byte(s.Value), r.ID)
	default:
		r.SetValue(s.Value)
	}
	if s.Refresh != "" || len(s.Further) > 0 {
		text := partsText(s)
		if len(k.seals) > 0 {
			r.Parts = ledger.Parts{Sealed: k.seal(text, partsOf(r))}
		} else {
			r.Parts = ledger.Parts{Plain: text}
		}
	}
	k.fresh.Add(r.ID, sealed{s, r.Parts})
}

// partsOf binds sealed parts to their refresh token: they move from one value's record to the next.
func partsOf(r *ledger.Token) string {
	if r.Identity != nil {
		return "parts of " + r.Identity.Hash
	}
	return "parts of " + r.ID
}

func (k *Keeper) seal(text []byte, id string) []byte {
	nonce := make([]byte, k.seals[0].NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return k.seals[0].Seal(nonce, nonce, text, k.place(id))
}

// place binds a sealed value to its name and ID, so that it opens nowhere else.
func (k *Keeper) place(id string) []byte { return []byte("tokenguard\x00" + k.name + "\x00" + id) }

// Open returns the value of a record, if this process can read it.
func (k *Keeper) Open(r *ledger.Token) (*Secret, bool) {
	s, ok := k.open(r)
	if ok {
		k.Register(s)
	}
	return s, ok
}

func (k *Keeper) open(r *ledger.Token) (*Secret, bool) {
	if !r.HasSecret() {
		return nil, false
	}
	if s, ok := k.fresh.Get(r.ID); ok && !r.Private && Fits(r, s.Secret) && s.parts.Same(&r.Parts) {
		return s.Secret, true
	}
	if r.Private {
		if k.local == nil {
			return nil, false
		}
		s, ok := k.local.Peek(r.ID)
		return s, ok && Fits(r, s)
	}
	s := &Secret{Value: r.Plain()}
	if r.HasValue() {
		if r.Sealed != nil {
			value, ok := k.unseal(r.Sealed, r.ID)
			if !ok {
				return nil, false
			}
			s.Value = string(value)
		}
		if s.ID = ID(s.Value); s.ID != r.ID { // not the one that its ID names
			return nil, false
		}
	}
	if text := r.Parts.Plain; text != nil || r.Parts.Sealed != nil {
		ok := true
		if text == nil {
			text, ok = k.unseal(r.Parts.Sealed, partsOf(r))
		}
		var p parts
		if !ok || json.Unmarshal(text, &p) != nil {
			return nil, false
		}
		p.read(s)
	}
	return s, Fits(r, s)
}

// sealed is a secret, and what it was sealed as beside its value.
type sealed struct {
	*Secret
	parts ledger.Parts
}

// Holds reports whether a secret is the newest of its record, as far as the store does not say that.
func (k *Keeper) Holds(r *ledger.Token, s *Secret) bool {
	if !r.Private || k.local == nil {
		return true
	}
	newest, ok := k.local.Peek(r.ID)
	return !ok || newest == s || !Fits(r, newest)
}

// Fits reports whether a secret is the one that the record speaks of: its refresh token may have been replaced.
func Fits(r *ledger.Token, s *Secret) bool {
	return r.Identity == nil || r.Identity.Ended != 0 || r.Identity.Hash == Hash("refresh", s.Refresh)
}

func (k *Keeper) unseal(sealed []byte, id string) ([]byte, bool) {
	for _, seal := range k.seals {
		if n := seal.NonceSize(); len(sealed) > n {
			if text, err := seal.Open(nil, sealed[:n], sealed[n:], k.place(id)); err == nil {
				return text, true
			}
		}
	}
	k.warned.Do(func() {
		k.alarm("a token in the state cannot be read with the keys of WithEncryption: give the key it was sealed with as a further key, or let the token expire; limits and backoff hold")
	})
	return nil, false
}
