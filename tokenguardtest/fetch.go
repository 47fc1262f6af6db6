package tokenguardtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
)

// RequestFunc returns a RequestFunc that asks the Upstream served at baseURL for a token, or for an account where it has
// Rotation set. It is also a model of what a RequestFunc should do: pass the context on, state the lifetime, and return
// status, headers and text of a refusal. A nil client means http.DefaultClient; Upstream.Client needs no network.
func RequestFunc(client *http.Client, baseURL string) tokenguard.RequestFunc {
	return func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
		return fetch(ctx, client, baseURL, url.Values{})
	}
}

// RenewalFunc returns a RenewalFunc that presents the refresh token to the Upstream served at baseURL, once. A nil client
// stands for http.DefaultClient.
func RenewalFunc(client *http.Client, baseURL string) tokenguard.RenewalFunc {
	return func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
		return fetch(ctx, client, baseURL, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.RefreshToken()}})
	}
}

// fetch posts to the token endpoint.
func fetch(ctx context.Context, client *http.Client, baseURL string, form url.Values) (tokenguard.Token, error) {
	if client == nil {
		client = http.DefaultClient
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, baseURL+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return tokenguard.Token{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(r)
	if err != nil {
		return tokenguard.Token{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return tokenguard.Token{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return tokenguard.Token{}, tokenguard.Failed(tokenguard.Failure{
			StatusCode: resp.StatusCode, Header: resp.Header, Message: string(body),
		})
	}
	var issued struct {
		AccessToken    string               `json:"access_token"`
		ExpiresIn      tokenguard.ExpiresIn `json:"expires_in"`
		RefreshToken   string               `json:"refresh_token"`
		RefreshExpires tokenguard.ExpiresIn `json:"refresh_token_expires_in"`
		UserID         string               `json:"user_id"`
	}
	if err := json.Unmarshal(body, &issued); err != nil {
		return tokenguard.Token{}, fmt.Errorf("tokenguardtest: decode the issued token: %w", err)
	}
	token := tokenguard.NewTokenIn(issued.AccessToken, time.Duration(issued.ExpiresIn))
	if issued.RefreshToken != "" {
		var expiry time.Time
		if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil && issued.RefreshExpires != 0 {
			expiry = date.Add(time.Duration(issued.RefreshExpires))
		}
		token = token.WithRefreshToken(issued.RefreshToken, expiry)
	}
	if issued.UserID != "" {
		token = token.WithAccount(issued.UserID)
	}
	return token, nil
}

// Client returns a client whose requests the Upstream answers without a network, to whatever host: for a fake clock and
// testing/synctest. Each answer comes whole, once it is made.
func (u *Upstream) Client() *http.Client { return &http.Client{Transport: direct{u}} }

type direct struct{ upstream *Upstream }

func (d direct) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if p := recover(); p == http.ErrAbortHandler {
			resp, err = nil, io.ErrUnexpectedEOF
		} else if p != nil {
			panic(p)
		}
	}()
	if r.Body != nil {
		defer r.Body.Close()
	}
	served := r.Clone(r.Context())
	if served.Body == nil {
		served.Body = http.NoBody
	}
	served.RemoteAddr = "192.0.2.1:1234"
	recorder := httptest.NewRecorder()
	d.upstream.ServeHTTP(recorder, served)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	resp = recorder.Result()
	resp.Request = r
	return resp, nil
}
