// Package registrytest serves one image of an OCI registry that wants bearer tokens, and the tokens. Only tests use it:
// the clients in them are the real ones.
package registrytest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenguard/tokenguard"
)

// Repository is the only one; it has the tag Tag.
const (
	Repository = "team/app"
	Tag        = "v1"
	PullScope  = "repository:" + Repository + ":pull"
)

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// Registry is a registry on loopback.
type Registry struct {
	*httptest.Server
	Host, Image string // 127.0.0.1:port, and with the repository and the tag

	mu       sync.Mutex
	good     map[string]string // value to scope
	scopes   []string          // of the tokens that were asked for
	refused  int               // requests with a token that was not good
	manifest []byte
	blobs    map[string][]byte
}

// New starts a registry that stops with the test.
func New(t testing.TB) *Registry {
	r := &Registry{good: map[string]string{}, blobs: map[string][]byte{}}
	config, layer := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`), []byte("a layer")
	r.manifest, _ = json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": r.add("application/vnd.oci.image.config.v1+json", config),
		"layers": []any{r.add("application/vnd.oci.image.layer.v1.tar", layer)},
	})
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	r.Host = strings.TrimPrefix(r.URL, "http://")
	r.Image = r.Host + "/" + Repository + ":" + Tag
	return r
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

func (r *Registry) add(mediaType string, b []byte) map[string]any {
	r.blobs[digest(b)] = b
	return map[string]any{"mediaType": mediaType, "digest": digest(b), "size": len(b)}
}

// Guard returns a guard that asks this registry for tokens, with limits that are wide open.
func (r *Registry) Guard(t testing.TB, opts ...tokenguard.Option) *tokenguard.Guard {
	t.Helper()
	g, err := tokenguard.New(r.Token, append([]tokenguard.Option{tokenguard.WithConfig(tokenguard.Config{
		RateLimit: tokenguard.RateLimits{MaxRequestsPerHour: 100, MaxRequestsPerDay: 100, MinInterval: time.Nanosecond},
		Manager:   tokenguard.ManagerConfig{MinTokenAge: time.Minute, RecentWindow: time.Nanosecond},
	})}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// Token is a RequestFunc.
func (r *Registry) Token(ctx context.Context, need tokenguard.Request) (tokenguard.Token, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+"/token?scope="+url.QueryEscape(need.Scope), nil)
	if err != nil {
		return tokenguard.Token{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return tokenguard.Token{}, err
	}
	defer resp.Body.Close()
	var answer struct {
		Token     string               `json:"token"`
		ExpiresIn tokenguard.ExpiresIn `json:"expires_in"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&answer); err != nil {
		return tokenguard.Token{}, err
	}
	return tokenguard.NewTokenIn(answer.Token, time.Duration(answer.ExpiresIn)), nil
}

// Asked returns the scopes of the tokens that were asked for.
func (r *Registry) Asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.scopes)
}

// Refused is the number of requests with a token that was not good.
func (r *Registry) Refused() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}

// Revoke makes all tokens worthless.
func (r *Registry) Revoke() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.good)
}

func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.URL.Path == "/token" {
		scope := req.URL.Query().Get("scope")
		r.scopes = append(r.scopes, scope)
		value := fmt.Sprintf("made-up-%d", len(r.scopes))
		r.good[value] = scope
		_ = json.NewEncoder(w).Encode(map[string]any{"token": value, "expires_in": 3600})
		return
	}
	value := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	if scope, known := r.good[value]; scope != PullScope {
		challenge := fmt.Sprintf(`Bearer realm="%s/token",service="test",scope="%s"`, r.URL, PullScope)
		if value != "" {
			r.refused++
			reason := "invalid_token"
			if known {
				reason = "insufficient_scope"
			}
			challenge += fmt.Sprintf(`,error=%q`, reason)
		}
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	rest, found := strings.CutPrefix(req.URL.Path, "/v2/"+Repository+"/")
	kind, name, _ := strings.Cut(rest, "/")
	body, mediaType := r.blobs[name], "application/octet-stream"
	if kind == "manifests" && (name == Tag || name == digest(r.manifest)) {
		body, mediaType = r.manifest, manifestType
	}
	if !found || body == nil {
		if req.URL.Path != "/v2/" {
			w.WriteHeader(http.StatusNotFound)
		}
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digest(body))
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	if req.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}
