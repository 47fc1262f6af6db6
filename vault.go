package tokenguard

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"sync"
	"unsafe"

	"github.com/tokenguard/tokenguard/internal/ledger"

	lru "github.com/hashicorp/golang-lru/v2"
)

// vault holds the secrets apart from the document: it seals what is written, opens what is read, and keeps what must
// never be written.
type vault struct {
	seals []cipher.AEAD                   // the first seals, all open
	local *lru.Cache[string, *credential] // by token ID: the tokens of WithoutTokenPersistence
	once  sync.Once                       // reports unreadable tokens once
	alarm func(text string)
}

func newVault(o *options, alarm func(string)) (*vault, error) {
	v := &vault{alarm: alarm}
	for _, key := range o.keys {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		seal, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		v.seals = append(v.seals, seal)
	}
	if o.noTokens {
		local, err := lru.New[string, *credential](o.Cache.MaxTokens)
		if err != nil {
			return nil, err
		}
		v.local = local
	}
	return v, nil
}

// store puts a token's value where it belongs: sealed or plain into the record, or into this process alone.
func (v *vault) store(name string, r *ledger.Token, t Token) {
	switch c := t.credential(); {
	case v.local != nil:
		v.local.Add(r.ID, &c)
		r.Private = true
	case len(v.seals) > 0:
		nonce := make([]byte, v.seals[0].NonceSize())
		_, _ = rand.Read(nonce) // never fails
		r.Sealed = v.seals[0].Seal(nonce, nonce, []byte(c.value), sealed(name, r.ID))
	default:
		r.Value = c.value
	}
}

// sealed binds a sealed value to its place, so that it opens nowhere else.
func sealed(name, id string) []byte { return []byte("tokenguard\x00" + name + "\x00" + id) }

// open returns the token of a record, if this process can read it. known is the one it made of it before.
func (v *vault) open(name string, r *ledger.Token, known Token) (Token, bool) {
	if !r.HasValue() {
		return Token{}, false
	}
	if known.secret != nil {
		return known, true
	}
	switch {
	case r.Private:
		if v.local != nil {
			if c, ok := v.local.Peek(r.ID); ok {
				return Token{secret: unsafe.Pointer(c)}, true
			}
		}
		return Token{}, false
	case r.Sealed != nil:
		for _, seal := range v.seals {
			if n := seal.NonceSize(); len(r.Sealed) > n {
				if value, err := seal.Open(nil, r.Sealed[:n], r.Sealed[n:], sealed(name, r.ID)); err == nil {
					return v.checked(r, string(value))
				}
			}
		}
		v.once.Do(func() {
			v.alarm("a token in the state cannot be read with the keys of WithEncryption: give the key it was sealed with as a further key, or let the token expire; limits and backoff hold")
		})
		return Token{}, false
	}
	return v.checked(r, r.Value)
}

// checked refuses a value that is not the one its ID names.
func (v *vault) checked(r *ledger.Token, value string) (Token, bool) {
	if TokenID(value) != r.ID {
		return Token{}, false
	}
	return Token{secret: unsafe.Pointer(&credential{value, r.ID})}, true
}
