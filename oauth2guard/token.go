package oauth2guard

import (
	"encoding/json"
	"time"

	"golang.org/x/oauth2"

	"github.com/tokenguard/tokenguard"
)

// Token makes the token of a RequestFunc from one of x/oauth2. Where that has just come, the guard counts its expires_in
// from when the fetch began; x/oauth2's Expiry, which counts from the end of the fetch, is that of a token that a source
// kept. It is empty for nil. A refresh token is not taken over: see tokenguard.Token.WithRefreshToken.
func Token(t *oauth2.Token) tokenguard.Token {
	if t == nil {
		return tokenguard.Token{}
	}
	in := lifetime(t, "expires_in")
	if in == 0 {
		in = time.Duration(t.ExpiresIn) * time.Second
	}
	if in != 0 && (t.Expiry.IsZero() || in-time.Until(t.Expiry) < time.Second) {
		return tokenguard.NewTokenIn(t.AccessToken, in)
	}
	return tokenguard.NewToken(t.AccessToken, t.Expiry)
}

// lifetime is a field of the answer in seconds; 0: it is not there, or none.
func lifetime(t *oauth2.Token, field string) time.Duration {
	var in tokenguard.ExpiresIn
	if stated, err := json.Marshal(t.Extra(field)); err == nil {
		_ = json.Unmarshal(stated, &in)
	}
	return time.Duration(in)
}
