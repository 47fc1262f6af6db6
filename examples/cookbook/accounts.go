package cookbook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
)

// FirebaseRenewal renews what Firebase signed in. It asks another host: securetoken.googleapis.com.
func FirebaseRenewal(client *http.Client, endpoint, apiKey string) tokenguard.RenewalFunc {
	return func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
		var answer struct {
			IDToken      string               `json:"id_token"`
			ExpiresIn    tokenguard.ExpiresIn `json:"expires_in"`
			RefreshToken string               `json:"refresh_token"`
			UserID       string               `json:"user_id"`
		}
		at := endpoint + "/v1/token?key=" + url.QueryEscape(apiKey)
		form := map[string]string{"grant_type": "refresh_token", "refresh_token": old.RefreshToken()}
		if err := post(ctx, client, at, http.Header{}, form, &answer); err != nil {
			return tokenguard.Token{}, err
		}
		return tokenguard.NewTokenIn(answer.IDToken, time.Duration(answer.ExpiresIn)).
			WithRefreshToken(answer.RefreshToken, time.Time{}).WithAccount(answer.UserID), nil
	}
}

// SupabaseRenewal renews what Supabase signed in. Its refresh tokens rotate; the parent of the active one, presented once
// more after a lost answer, returns the active one again.
func SupabaseRenewal(client *http.Client, project, apiKey string) tokenguard.RenewalFunc {
	return func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
		var answer supabaseSession
		header := http.Header{"Apikey": {apiKey}}
		body := map[string]string{"refresh_token": old.RefreshToken()}
		if err := post(ctx, client, project+"/auth/v1/token?grant_type=refresh_token", header, body, &answer); err != nil {
			return tokenguard.Token{}, err
		}
		return answer.token(), nil
	}
}

// CognitoGuest gets a guest identity: its id is all that there is to keep. The credentials come from CognitoCredentials,
// in the same acquisition.
func CognitoGuest(client *http.Client, endpoint, pool string) tokenguard.RequestFunc {
	return func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
		var answer struct{ IdentityId string }
		err := post(ctx, client, endpoint, cognito("GetId"), map[string]string{"IdentityPoolId": pool}, &answer)
		if err != nil {
			return tokenguard.Token{}, err
		}
		return tokenguard.NewToken("", time.Time{}).WithRefreshToken(answer.IdentityId, time.Time{}), nil
	}
}

// CognitoCredentials renews the credentials of a guest identity. Calls are signed with all three parts: the value is the
// session token, and the keys are further secrets.
func CognitoCredentials(client *http.Client, endpoint string) tokenguard.RenewalFunc {
	return func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
		var answer struct {
			Credentials struct {
				AccessKeyId, SecretKey, SessionToken string
				Expiration                           float64 // Unix seconds
			}
		}
		err := post(ctx, client, endpoint, cognito("GetCredentialsForIdentity"), map[string]string{"IdentityId": old.RefreshToken()}, &answer)
		if err != nil && strings.Contains(err.Error(), "ResourceNotFoundException") { // the identity was deleted
			return tokenguard.Token{}, fmt.Errorf("%w: %w", tokenguard.ErrIdentityEnded, err)
		}
		if err != nil {
			return tokenguard.Token{}, err
		}
		c := answer.Credentials
		return tokenguard.NewToken(c.SessionToken, time.Unix(int64(c.Expiration), 0)).
			WithSecret("access_key_id", c.AccessKeyId).WithSecret("secret_key", c.SecretKey), nil
	}
}

func cognito(operation string) http.Header {
	return http.Header{"X-Amz-Target": {"AWSCognitoIdentityService." + operation}}
}

// Enroll is the first of three steps: it makes an account, which is what the service counts. It returns what the account is
// known by, and no value yet, so that a failure of a later step does not lose it: the guard stores the account, and has
// the other steps done by OpenSession in the same acquisition, or later.
func Enroll(client *http.Client, service string) tokenguard.RequestFunc {
	return func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
		var answer struct {
			Device string `json:"device_secret"`
		}
		if err := post(ctx, client, service+"/devices", http.Header{}, struct{}{}, &answer); err != nil {
			return tokenguard.Token{}, err
		}
		return tokenguard.NewToken("", time.Time{}).WithRefreshToken(answer.Device, time.Time{}), nil
	}
}

// OpenSession is the other two: a challenge, and a session for its solution. It renews as it began.
func OpenSession(client *http.Client, service string, solve func(challenge string) string) tokenguard.RenewalFunc {
	return func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
		var challenge struct {
			Text string `json:"challenge"`
		}
		device := map[string]string{"device_secret": old.RefreshToken()}
		if err := post(ctx, client, service+"/challenges", http.Header{}, device, &challenge); err != nil {
			return tokenguard.Token{}, err
		}
		var session struct {
			Token     string               `json:"session"`
			ExpiresIn tokenguard.ExpiresIn `json:"expires_in"`
		}
		device["solution"] = solve(challenge.Text)
		if err := post(ctx, client, service+"/sessions", http.Header{}, device, &session); err != nil {
			return tokenguard.Token{}, err
		}
		if session.Token == "" {
			return tokenguard.Token{}, errors.New("the service opened no session")
		}
		return tokenguard.NewTokenIn(session.Token, time.Duration(session.ExpiresIn)), nil
	}
}

// Kept is a guard that keeps its account: over restarts, and in all processes that have the name.
func Kept(client *http.Client, project, apiKey string) (*tokenguard.Guard, error) {
	return tokenguard.New(Supabase(client, project, apiKey), tokenguard.WithRenewal(SupabaseRenewal(client, project, apiKey)),
		tokenguard.WithStateFile(""), tokenguard.WithName("supabase-myproject"))
}
