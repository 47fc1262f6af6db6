package oauth2guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/oauth2"

	"github.com/tokenguard/tokenguard"
)

// Renewal returns the function for tokenguard.WithRenewal that presents the refresh token at the token endpoint of conf
// (RFC 6749, section 6), for accounts that your RequestFunc signs up and returns WithRefreshToken. A *http.Client comes
// from the context, as for all of x/oauth2 (oauth2.HTTPClient).
//
// It asks the endpoint once. So where conf leaves the Endpoint's AuthStyle to be found out by trying both, which would
// present a refresh token twice, a client with a secret states it in the header, and one without names itself in the
// form, as RFC 6749 has it (2.3.1, 3.2.1). Set AuthStyle for an endpoint that wants it otherwise.
//
// A refusal keeps its status, headers and body, so that the guard tells invalid_grant (the account has ended) from a
// limit or an outage. The lifetime is the expires_in of the answer; that of the refresh token is refresh_token_expires_in
// or refresh_expires_in, where one is stated. Both count from when the answer was asked for. Renewal of nil is nil.
func Renewal(conf *oauth2.Config) tokenguard.RenewalFunc {
	if conf == nil {
		return nil
	}
	once := &oauth2.Config{ClientID: conf.ClientID, ClientSecret: conf.ClientSecret, Endpoint: conf.Endpoint, Scopes: conf.Scopes}
	if once.Endpoint.AuthStyle == oauth2.AuthStyleAutoDetect {
		once.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
		if conf.ClientSecret == "" {
			once.Endpoint.AuthStyle = oauth2.AuthStyleInParams
		}
	}
	return func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
		began := time.Now()
		t, err := once.TokenSource(ctx, &oauth2.Token{RefreshToken: old.RefreshToken()}).Token()
		if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
			return tokenguard.Token{}, tokenguard.Failed(tokenguard.Failure{
				StatusCode: answer.Response.StatusCode, Header: answer.Response.Header, Message: string(answer.Body), Err: err,
			})
		}
		if err != nil {
			return tokenguard.Token{}, fmt.Errorf("oauth2guard: renewal: %w", err)
		}
		renewed := Token(t)
		if t.RefreshToken == "" {
			return renewed, nil
		}
		var expiry time.Time
		for _, field := range [...]string{"refresh_token_expires_in", "refresh_expires_in"} {
			if in := lifetime(t, field); in != 0 && expiry.IsZero() {
				expiry = time.Now().Add(in - time.Since(began))
			}
		}
		return renewed.WithRefreshToken(t.RefreshToken, expiry), nil
	}
}
