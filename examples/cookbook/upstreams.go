// Package cookbook holds the code of docs/cookbook, so that it is compiled and tested.
package cookbook

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
)

// post sends a JSON body and decodes a JSON answer; any other answer becomes an error that carries its status, headers
// and body, so that the guard can tell a limit from an outage.
func post(ctx context.Context, client *http.Client, url string, header http.Header, body, answer any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header = header.Clone()
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return tokenguard.Failed(guardhttp.FailureFromError(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return tokenguard.Failed(guardhttp.FailureFromResponse(resp))
	}
	return json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(answer)
}

// Firebase signs in anonymously: 100 new accounts an hour and address.
func Firebase(client *http.Client, endpoint, apiKey string) tokenguard.RequestFunc {
	return func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
		var answer struct {
			IDToken      string               `json:"idToken"`
			ExpiresIn    tokenguard.ExpiresIn `json:"expiresIn"`
			RefreshToken string               `json:"refreshToken"`
			UserID       string               `json:"localId"`
		}
		at := endpoint + "/v1/accounts:signUp?key=" + url.QueryEscape(apiKey)
		if err := post(ctx, client, at, http.Header{}, map[string]bool{"returnSecureToken": true}, &answer); err != nil {
			return tokenguard.Token{}, err
		}
		return tokenguard.NewTokenIn(answer.IDToken, time.Duration(answer.ExpiresIn)).
			WithRefreshToken(answer.RefreshToken, time.Time{}).WithAccount(answer.UserID), nil
	}
}

// Supabase signs in anonymously: 30 an hour and address.
func Supabase(client *http.Client, project, apiKey string) tokenguard.RequestFunc {
	return func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
		var answer supabaseSession
		header := http.Header{"Apikey": {apiKey}}
		if err := post(ctx, client, project+"/auth/v1/signup", header, struct{}{}, &answer); err != nil {
			return tokenguard.Token{}, err
		}
		return answer.token(), nil
	}
}

// supabaseSession is what a sign-up and a renewal are answered with.
type supabaseSession struct {
	AccessToken  string               `json:"access_token"`
	ExpiresIn    tokenguard.ExpiresIn `json:"expires_in"`
	RefreshToken string               `json:"refresh_token"`
	User         struct{ ID string }  `json:"user"`
}

func (s *supabaseSession) token() tokenguard.Token {
	return tokenguard.NewTokenIn(s.AccessToken, time.Duration(s.ExpiresIn)).
		WithRefreshToken(s.RefreshToken, time.Time{}).WithAccount(s.User.ID)
}

// Several upstreams have a guard each, with a name each: limits, failures and tokens are per name.
func Several(client *http.Client, firebase, supabase, key string) (a, b *tokenguard.Guard, err error) {
	a, err = tokenguard.New(Firebase(client, firebase, key),
		tokenguard.WithStateFile(""), tokenguard.WithName("firebase-myproject"))
	if err != nil {
		return nil, nil, err
	}
	b, err = tokenguard.New(Supabase(client, supabase, key),
		tokenguard.WithStateFile(""), tokenguard.WithName("supabase-myproject"),
		tokenguard.WithRateLimits(tokenguard.RateLimits{MaxRequestsPerHour: 10, MaxRequestsPerDay: 30}))
	return a, b, err
}

// ShortLived are limits for tokens of five minutes, as registries give them: the defaults would serve 7 % of a day.
func ShortLived(fetch tokenguard.RequestFunc) (*tokenguard.Guard, error) {
	return tokenguard.New(fetch,
		tokenguard.WithStateFile(""), tokenguard.WithName("registry"),
		tokenguard.WithRateLimits(tokenguard.RateLimits{
			MaxRequestsPerHour: 15, MaxRequestsPerDay: 300, MinInterval: 10 * time.Second,
		}))
}

// Client is an http.Client whose requests to the host carry a token.
func Client(guard *tokenguard.Guard, host string) (*http.Client, error) {
	transport, err := guardhttp.NewTransport(guard, []string{host})
	return &http.Client{Transport: transport}, err
}
