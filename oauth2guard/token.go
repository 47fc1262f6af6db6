package oauth2guard

import (
	"encoding/json"
	"time"

	"golang.org/x/oauth2"

	"github.com/tokenguard/tokenguard"
)

// Token makes the token of a RequestFunc from one of x/oauth2. Where that has just come, the guard counts its expires_in
// from when the fetch began; x/oauth2's Expiry, which counts from the end of the fetch, is that of a token that a source
// kept, in memory or on a disk. One that was kept where the clock is known to have been set back since, so that it seems to
// have been issued more than a minute from now, has expired: how old it is, nobody knows. It is empty for nil. A refresh token
// is not taken over: see tokenguard.Token.WithRefreshToken.
func Token(t *oauth2.Token) tokenguard.Token {
	if t == nil {
		return tokenguard.Token{}
	}
	in := lifetime(t, "expires_in")
	if in == 0 {
		in = time.Duration(t.ExpiresIn) * time.Second
	}
	if in == 0 || t.Expiry.IsZero() {
		if in != 0 {
			return tokenguard.NewTokenIn(t.AccessToken, in)
		}
		return tokenguard.NewToken(t.AccessToken, t.Expiry)
	}
	wall := t.Expiry.Round(0) // without the monotonic reading that x/oauth2 took: that stands still in a suspend, this one is set
	age := in - time.Until(wall)
	if t.Expiry != wall {
		age = max(age, in-time.Until(t.Expiry))
	}
	switch {
	case age <= -maxSkew, age > in-time.Second:
		return tokenguard.NewTokenIn(t.AccessToken, -1)
	case age < time.Second:
		return tokenguard.NewTokenIn(t.AccessToken, in)
	case t.Expiry != wall:
		return tokenguard.NewTokenIn(t.AccessToken, in-age)
	}
	return tokenguard.NewToken(t.AccessToken, t.Expiry)
}

// maxSkew is how far another machine's clock may be ahead that says when a token ends.
const maxSkew = time.Minute

// lifetime is a field of the answer in seconds; 0: it is not there, or none.
func lifetime(t *oauth2.Token, field string) time.Duration {
	var in tokenguard.ExpiresIn
	if stated, err := json.Marshal(t.Extra(field)); err == nil {
		_ = json.Unmarshal(stated, &in)
	}
	return time.Duration(in)
}
