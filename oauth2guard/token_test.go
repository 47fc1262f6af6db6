package oauth2guard_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/oauth2guard"
)

// slowly answers each request after 25 s.
func slowly(ctx context.Context, kind, body string) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		time.Sleep(25 * time.Second)
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body))}, nil
	})})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A lifetime counts from when the fetch began, in whichever form x/oauth2 passes it on.
func TestTokenCountsFromTheFetch(t *testing.T) {
	for name, c := range map[string]struct{ kind, body string }{
		"JSON":           {"application/json", `{"access_token": "made up", "expires_in": 60}`},
		"a text in JSON": {"application/json", `{"access_token": "made up", "expires_in": "60"}`},
		"a form":         {"application/x-www-form-urlencoded", "access_token=made+up&expires_in=60"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conf := &clientcredentials.Config{ClientID: "guest", TokenURL: "https://upstream.test/token", AuthStyle: oauth2.AuthStyleInParams}
				guard, err := tokenguard.New(func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
					answer, err := conf.Token(slowly(ctx, c.kind, c.body))
					return oauth2guard.Token(answer), err
				})
				require.NoError(t, err)
				defer guard.Close()
				token, err := guard.Token(t.Context())
				require.NoError(t, err)
				assert.Equal(t, 35*time.Second, time.Until(token.Expiry()))
			})
		})
	}
}

// A token that a source kept has what is left of its lifetime, and no more.
func TestTokenThatWasKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := &clientcredentials.Config{ClientID: "guest", TokenURL: "https://upstream.test/token", AuthStyle: oauth2.AuthStyleInParams}
		source := conf.TokenSource(slowly(t.Context(), "application/json", `{"access_token": "made up", "expires_in": 3600}`))
		_, err := source.Token()
		require.NoError(t, err)
		time.Sleep(40 * time.Minute)
		guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			kept, err := source.Token()
			return oauth2guard.Token(kept), err
		})
		require.NoError(t, err)
		defer guard.Close()
		token, err := guard.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 20*time.Minute, time.Until(token.Expiry()))
	})
}

// A token from a disk that seems to have been issued in the future has no lifetime anew: the clock was set back by more than
// its age. A clock that is a little ahead elsewhere does no harm, nor one that was set back while the token was on its way.
func TestTokenFromADisk(t *testing.T) {
	for back, want := range map[time.Duration]time.Duration{
		-40 * time.Minute: 20 * time.Minute, // it is 40 minutes old
		0:                 time.Hour,
		30 * time.Second:  time.Hour,
		2 * time.Minute:   0,
		2 * time.Hour:     0,
	} {
		synctest.Test(t, func(t *testing.T) {
			var kept oauth2.Token
			text, err := json.Marshal(&oauth2.Token{AccessToken: "made up", ExpiresIn: 3600, Expiry: time.Now().Add(time.Hour + back)})
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(text, &kept))
			guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
				return oauth2guard.Token(&kept), nil
			})
			require.NoError(t, err)
			defer guard.Close()
			token, err := guard.Token(t.Context())
			if want == 0 {
				require.ErrorContains(t, err, "expired already", "%v", back)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, want, time.Until(token.Expiry()), "%v", back)
		})
	}
}

func TestTokenForms(t *testing.T) {
	expiry := time.Now().Add(time.Hour)
	guard := func(answer *oauth2.Token) (tokenguard.Token, error) {
		g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			return oauth2guard.Token(answer), nil
		})
		require.NoError(t, err)
		defer g.Close()
		return g.Token(t.Context())
	}
	for name, c := range map[string]struct {
		from *oauth2.Token
		ends time.Time
	}{
		"an expiry alone":      {&oauth2.Token{AccessToken: "v", Expiry: expiry}, expiry},
		"a lifetime alone":     {&oauth2.Token{AccessToken: "v", ExpiresIn: 3600}, expiry},
		"nothing stated":       {&oauth2.Token{AccessToken: "v"}, time.Time{}},
		"kept in memory":       {&oauth2.Token{AccessToken: "v", Expiry: expiry, ExpiresIn: 7200}, expiry},
		"both, as it has come": {&oauth2.Token{AccessToken: "v", Expiry: expiry, ExpiresIn: 3600}, expiry},
	} {
		token, err := guard(c.from)
		require.NoError(t, err, name)
		assert.WithinDuration(t, c.ends, token.Expiry(), 10*time.Second, name)
		assert.Equal(t, "v", token.Value())
	}
	for _, from := range []*oauth2.Token{
		nil, {}, {AccessToken: "v", Expiry: time.Now().Add(-time.Second)}, {AccessToken: "v", ExpiresIn: -5},
	} {
		_, err := guard(from)
		assert.True(t, errors.As(err, new(*tokenguard.RequestError)), "%+v", from)
	}
}

// What the answer states of the refresh token counts from when it was asked for.
func TestRenewalCountsFromTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := &oauth2.Config{ClientID: "guest", Endpoint: oauth2.Endpoint{TokenURL: "https://upstream.test/token"}}
		renew, asked := oauth2guard.Renewal(conf), 0
		guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			asked++
			return of("refresh"), nil
		}, tokenguard.WithRenewal(func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
			return renew(slowly(ctx, "application/json", `{"access_token": "made up", "expires_in": 60, "refresh_token": "next", "refresh_expires_in": 100}`), old)
		}), tokenguard.WithRenewalLimits(tokenguard.RenewalLimits{Timeout: time.Minute}))
		require.NoError(t, err)
		defer guard.Close()
		began := time.Now()
		token, err := guard.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, began.Add(time.Minute), token.Expiry())
		time.Sleep(76 * time.Second) // the refresh token has ended a second ago, and would have had 24 s more
		_, _ = guard.Token(t.Context())
		e, err := guard.Explain(t.Context(), tokenguard.Request{})
		require.NoError(t, err)
		assert.NotEqual(t, tokenguard.ReasonCached, e.Verdict.Reason, "%+v", e.Verdict)
		assert.Equal(t, 1, asked)
	})
}
