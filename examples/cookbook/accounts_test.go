package cookbook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// Tests allocate much and keep little: collecting less often saves a third of what they cost.
func init() { debug.SetGCPercent(400) }

// service speaks an API over an upstream's accounts. It is served on loopback.
type service struct {
	*tokenguardtest.Upstream
	fail map[string]int // answers of this path that fail with a 500
}

// ask has the upstream sign up an account, or renew one.
func (s *service) ask(refresh string) (int, map[string]any) {
	form := url.Values{}
	if refresh != "" {
		form = url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}
	}
	r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	s.Upstream.ServeHTTP(w, r)
	answer := map[string]any{}
	_ = json.Unmarshal(w.Body.Bytes(), &answer)
	return w.Code, answer
}

// ServeHTTP answers as the services document it.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body map[string]string
	_ = json.NewDecoder(r.Body).Decode(&body)
	reply := func(status int, answer any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer)
	}
	if s.fail[r.URL.Path] > 0 {
		s.fail[r.URL.Path]--
		reply(http.StatusInternalServerError, "internal error")
		return
	}
	status, answer := 0, map[string]any{}
	switch path := r.URL.Path; {
	case path == "/v1/accounts:signUp":
		status, answer = s.ask("")
		answer = map[string]any{"idToken": answer["access_token"], "expiresIn": fmt.Sprint(answer["expires_in"]), "refreshToken": answer["refresh_token"], "localId": answer["user_id"]}
	case path == "/v1/token":
		refresh := body["refresh_token"]
		status, answer = s.ask(refresh)
		switch status {
		case http.StatusForbidden:
			reply(http.StatusBadRequest, map[string]any{"error": map[string]any{"code": 400, "message": "USER_DISABLED", "status": "INVALID_ARGUMENT"}})
			return
		case http.StatusBadRequest:
			reply(http.StatusBadRequest, map[string]any{"error": map[string]any{"code": 400, "message": "USER_NOT_FOUND", "status": "INVALID_ARGUMENT"}})
			return
		}
		answer = map[string]any{"id_token": answer["access_token"], "expires_in": fmt.Sprint(answer["expires_in"]), "refresh_token": refresh, "user_id": answer["user_id"]}
	case path == "/auth/v1/signup", path == "/auth/v1/token":
		if path == "/auth/v1/token" && r.URL.Query().Get("grant_type") != "refresh_token" {
			reply(http.StatusBadRequest, map[string]any{"code": 400, "error_code": "validation_failed"})
			return
		}
		status, answer = s.ask(body["refresh_token"])
		switch status {
		case http.StatusForbidden:
			reply(http.StatusForbidden, map[string]any{"code": 403, "error_code": "user_banned", "msg": "User is banned"})
			return
		case http.StatusBadRequest:
			reply(http.StatusBadRequest, map[string]any{"code": 400, "error_code": "refresh_token_not_found", "msg": "Invalid Refresh Token: Refresh Token Not Found"})
			return
		}
		answer["user"] = map[string]any{"id": answer["user_id"]}
	case strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetId"):
		status, answer = s.ask("")
		answer = map[string]any{"IdentityId": answer["refresh_token"]}
	case strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetCredentialsForIdentity"):
		status, answer = s.ask(body["IdentityId"])
		switch status {
		case http.StatusForbidden:
			reply(http.StatusBadRequest, map[string]any{"__type": "NotAuthorizedException", "message": "Access to Identity is forbidden."})
			return
		case http.StatusBadRequest:
			reply(http.StatusBadRequest, map[string]any{"__type": "ResourceNotFoundException", "message": "Identity not found."})
			return
		}
		if status == http.StatusOK {
			ends := s.Clock.Now().Add(time.Duration(answer["expires_in"].(float64)) * time.Second)
			answer = map[string]any{"Credentials": map[string]any{"AccessKeyId": "key", "SecretKey": "made up", "SessionToken": answer["access_token"], "Expiration": float64(ends.Unix())}}
		}
	case path == "/devices":
		status, answer = s.ask("")
		answer = map[string]any{"device_secret": answer["refresh_token"]}
	case path == "/challenges":
		status, answer = http.StatusOK, map[string]any{"challenge": "abc"}
	case path == "/sessions":
		if body["solution"] != "cba" {
			status, answer = http.StatusBadRequest, map[string]any{"error": "invalid_request"}
			break
		}
		status, answer = s.ask(body["device_secret"])
		answer["session"] = answer["access_token"]
	default:
		status = http.StatusNotFound
	}
	reply(status, answer)
}

func reversed(text string) string {
	out := []byte(text)
	for i := range out {
		out[i] = text[len(text)-1-i]
	}
	return string(out)
}

// recipes are the pages' functions, each with what the service does with refresh tokens.
var recipes = map[string]struct {
	rotation tokenguardtest.Rotation
	of       func(client *http.Client, base string) (tokenguard.RequestFunc, tokenguard.RenewalFunc)
}{
	"Firebase": {tokenguardtest.RotateNever, func(c *http.Client, base string) (tokenguard.RequestFunc, tokenguard.RenewalFunc) {
		return Firebase(c, base, "key"), FirebaseRenewal(c, base, "key")
	}},
	"Supabase": {tokenguardtest.RotateParent, func(c *http.Client, base string) (tokenguard.RequestFunc, tokenguard.RenewalFunc) {
		return Supabase(c, base, "key"), SupabaseRenewal(c, base, "key")
	}},
	"Cognito": {tokenguardtest.RotateNever, func(c *http.Client, base string) (tokenguard.RequestFunc, tokenguard.RenewalFunc) {
		return CognitoGuest(c, base+"/", "pool"), CognitoCredentials(c, base+"/")
	}},
	"three steps": {tokenguardtest.RotateNever, func(c *http.Client, base string) (tokenguard.RequestFunc, tokenguard.RenewalFunc) {
		return Enroll(c, base), OpenSession(c, base, reversed)
	}},
}

// town is two processes with one state file, on one service.
type town struct {
	t       *testing.T
	clock   *tokenguardtest.Clock
	service *service
	open    func() *tokenguard.Guard
	guards  [2]*tokenguard.Guard
	without int // calls that had no token
}

func newTown(t *testing.T, recipe string) *town {
	t.Helper()
	w := &town{t: t, clock: tokenguardtest.NewClock(time.Time{})}
	w.service = &service{Upstream: &tokenguardtest.Upstream{Rotation: recipes[recipe].rotation, Clock: w.clock}, fail: map[string]int{}}
	server := httptest.NewServer(w.service)
	t.Cleanup(server.Close)
	request, renew := recipes[recipe].of(server.Client(), server.URL)
	file := filepath.Join(t.TempDir(), "state")
	w.open = func() *tokenguard.Guard {
		guard, err := tokenguard.New(request, tokenguard.WithRenewal(renew), tokenguard.WithStateFile(file), tokenguard.WithName("town"), tokenguard.WithClock(w.clock))
		require.NoError(t, err)
		return guard
	}
	w.guards = [2]*tokenguard.Guard{w.open(), w.open()}
	t.Cleanup(func() {
		for _, g := range w.guards {
			_ = g.Close()
		}
	})
	return w
}

// live lets so many hours pass, with a call each five minutes; a process is restarted each half hour, in turn.
func (w *town) live(hours int) {
	w.t.Helper()
	for n := range hours * 12 {
		if n%6 == 5 {
			i := n / 6 % 2
			require.NoError(w.t, w.guards[i].Close())
			w.guards[i] = w.open()
		}
		token, err := w.guards[n%2].Token(w.t.Context())
		if err != nil {
			w.without++
		} else {
			assert.NotEmpty(w.t, token.Value())
			assert.True(w.t, w.clock.Now().Before(token.Expiry()), "what is handed out has not ended")
		}
		w.clock.Advance(5 * time.Minute)
	}
}

func TestAccountsAreKept(t *testing.T) {
	for recipe := range recipes {
		t.Run(recipe, func(t *testing.T) {
			w := newTown(t, recipe)
			hours := 18
			if os.Getenv("TOKENGUARD_LONG") != "" {
				hours = 48
			}
			w.live(hours)
			assert.Equal(t, 1, w.service.Counts().Issued)
			assert.Zero(t, w.without)
			assert.InDelta(t, hours*52/48, w.service.Counts().Renewed, float64(hours)/12, "in values of an hour")
			for i, p := range w.service.Presentations() {
				assert.Equal(t, tokenguardtest.Renewed, p.Result)
				if recipes[recipe].rotation != tokenguardtest.RotateNever {
					assert.Equal(t, i+1, p.Generation, "each refresh token once, in order")
				}
			}
		})
		t.Run(recipe+", an answer is lost", func(t *testing.T) {
			w := newTown(t, recipe)
			w.live(3)
			w.service.CutAnswers(1)
			w.live(6)
			assert.Equal(t, 1, w.service.Counts().Issued)
			assert.Zero(t, w.without)
		})
		t.Run(recipe+", the account is deleted", func(t *testing.T) {
			w := newTown(t, recipe)
			w.live(3)
			w.service.Delete()
			w.live(6)
			assert.Equal(t, 2, w.service.Counts().Issued)
			assert.Zero(t, w.without, "its value serves until it ends")
		})
		t.Run(recipe+", the account is banned", func(t *testing.T) {
			w := newTown(t, recipe)
			w.live(3)
			w.service.Ban()
			w.live(24)
			assert.Equal(t, 1, w.service.Counts().Issued, "no other account answers a ban")
			_, err := w.guards[0].Token(t.Context())
			assert.ErrorIs(t, err, tokenguard.ErrRefused)
		})
	}
}

// A failure of a later step does not lose the account that the first one made.
func TestALaterStepFails(t *testing.T) {
	for path, fails := range map[string]int{"/challenges": 1, "/sessions": 3} {
		w := newTown(t, "three steps")
		w.service.fail[path] = fails
		tries := 0
		for ; tries < 20; tries++ {
			if _, err := w.guards[tries%2].Token(t.Context()); err == nil {
				break
			}
			w.clock.Advance(time.Minute)
		}
		assert.Equal(t, fails, tries, "the backoff of a renewal is below a minute at first")
		assert.Equal(t, 1, w.service.Counts().Issued)
	}
}

func TestCognitoPartsAreKept(t *testing.T) {
	w := newTown(t, "Cognito")
	for range 2 {
		for _, guard := range w.guards {
			token, err := guard.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, []string{"key", "made up", ""}, []string{token.Secret("access_key_id"), token.Secret("secret_key"), token.RefreshToken()})
		}
		w.clock.Advance(2 * time.Hour)
	}
}

func TestKept(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	w := newTown(t, "Supabase")
	w.service.Clock = nil
	server := httptest.NewServer(w.service)
	defer server.Close()
	guard, err := Kept(server.Client(), server.URL, "key")
	require.NoError(t, err)
	defer guard.Close()
	token, err := guard.Token(context.Background())
	require.NoError(t, err)
	assert.NotEmpty(t, token.Identity())
}
