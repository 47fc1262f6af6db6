package otelguard_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/otelguard"
)

// traced keeps the spans that were made.
type traced struct {
	*otelguard.Spans
	exporter *tracetest.InMemoryExporter
	provider *sdk.TracerProvider
}

func newTraced() traced {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(exporter))
	return traced{otelguard.NewSpans(provider, "shop"), exporter, provider}
}

// named returns the spans of a name, and fails if one holds a secret.
func (tr traced) named(t *testing.T, name string) (out tracetest.SpanStubs) {
	t.Helper()
	for _, s := range tr.exporter.GetSpans() {
		require.NotContains(t, fmt.Sprintf("%+v", s), secret)
		if s.Name == name {
			out = append(out, s)
		}
	}
	return out
}

func attrs(s tracetest.SpanStub) map[string]any {
	out := map[string]any{}
	for _, kv := range s.Attributes {
		out[string(kv.Key)] = kv.Value.AsInterface()
	}
	return out
}

func TestAcquisitionSpan(t *testing.T) {
	for _, test := range []struct {
		name   string
		fetch  tokenguard.RequestFunc
		class  string
		status codes.Code
	}{
		{"success", func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			return tokenguard.NewTokenIn(secret, time.Hour), nil
		}, "", codes.Unset},
		{"text", func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			return tokenguard.Token{}, errors.New("503 service unavailable for " + secret)
		}, "transient", codes.Error},
		{"failure", func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			return tokenguard.Token{}, tokenguard.Failed(tokenguard.Failure{StatusCode: 429, Message: "slow down, " + secret})
		}, "rate_limited", codes.Error},
		{"panic", func(context.Context, tokenguard.Request) (tokenguard.Token, error) { panic(secret) }, "panic", codes.Error},
	} {
		t.Run(test.name, func(t *testing.T) {
			tr := newTraced()
			guard, err := tokenguard.New(tr.Request(test.fetch))
			require.NoError(t, err)
			defer guard.Close()
			ctx, caller := tr.provider.Tracer("program").Start(t.Context(), "caller")
			grant, err := guard.Acquire(ctx, tokenguard.Request{Scope: "eu password=" + secretScope})
			require.Equal(t, test.status == codes.Error, err != nil)
			caller.End()
			_, _ = guard.Acquire(ctx, tokenguard.Request{Scope: "eu password=" + secretScope}) // a hit, or refused: no span

			spans := tr.named(t, "tokenguard.acquire")
			require.Len(t, spans, 1)
			s, a := spans[0], attrs(spans[0])
			assert.Equal(t, trace.SpanKindClient, s.SpanKind)
			assert.Equal(t, test.status, s.Status.Code)
			assert.Equal(t, caller.SpanContext().SpanID(), s.Parent.SpanID())
			assert.Equal(t, "shop", a["tokenguard.guard"])
			assert.Contains(t, a["tokenguard.scope"], "eu ")
			assert.NotContains(t, a["tokenguard.scope"], secretScope)
			if test.class == "" {
				assert.Equal(t, grant.Token.ID(), a["tokenguard.token.id"])
				assert.NotContains(t, a, "error.type")
			} else {
				assert.Equal(t, test.class, a["error.type"])
				assert.NotContains(t, a, "tokenguard.token.id")
			}
		})
	}
}

const secretScope = "q8ZtW3uFv1kR7sYb"

func TestRenewalSpan(t *testing.T) {
	tr, c, n := newTraced(), &clock{time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}, 0
	guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.NewTokenIn(secret, time.Hour).WithRefreshToken(secret+" refresh", time.Time{}), nil
	}, tokenguard.WithClock(c), tokenguard.WithRenewal(tr.Renewal(func(context.Context, tokenguard.Token) (tokenguard.Token, error) {
		if n++; n == 2 {
			return tokenguard.Token{}, fmt.Errorf("%s: %w", secret, tokenguard.ErrIdentityEnded)
		}
		return tokenguard.NewTokenIn(secret+" 2", time.Hour), nil
	})))
	require.NoError(t, err)
	defer guard.Close()
	first, err := guard.Token(t.Context())
	require.NoError(t, err)
	c.now = c.now.Add(2 * time.Hour)
	second, err := guard.Token(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, first.ID(), second.ID())
	c.now = c.now.Add(2 * time.Hour)
	_, _ = guard.Token(t.Context())

	spans := tr.named(t, "tokenguard.renew")
	require.Len(t, spans, 2)
	for _, s := range spans {
		assert.Equal(t, trace.SpanKindClient, s.SpanKind)
		assert.Equal(t, second.Identity(), attrs(s)["tokenguard.identity.id"])
	}
	assert.Equal(t, second.ID(), attrs(spans[0])["tokenguard.token.id"])
	assert.Equal(t, "identity_ended", attrs(spans[1])["error.type"])
	assert.Equal(t, codes.Error, spans[1].Status.Code)
}

// upstream lets in one value, and a client whose Transport is traced.
func upstream(t *testing.T, tr traced, c *clock, values ...string) (*http.Client, *tokenguard.Guard, string) {
	n := 0
	var mu sync.Mutex
	guard, err := tokenguard.New(tr.Request(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		mu.Lock()
		defer mu.Unlock()
		if n >= len(values) {
			return tokenguard.Token{}, errors.New("503 service unavailable")
		}
		n++
		return tokenguard.NewTokenIn(values[n-1], 24*time.Hour), nil
	}), tokenguard.WithClock(c), tokenguard.WithConfig(tokenguard.Config{
		RateLimit: tokenguard.RateLimits{MaxRequestsPerHour: 100, MaxRequestsPerDay: 100, MinInterval: time.Nanosecond},
		Manager:   tokenguard.ManagerConfig{MinTokenAge: time.Minute, RecentWindow: time.Nanosecond},
	}))
	require.NoError(t, err)
	t.Cleanup(func() { _ = guard.Close() })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Header.Get("Traceparent"))
		if len(values) > 0 && r.Header.Get("Authorization") != "Bearer "+values[len(values)-1] {
			http.Error(w, "invalid token", http.StatusUnauthorized)
		}
	}))
	t.Cleanup(server.Close)
	transport := &guardhttp.Transport{Guard: guard, AllowedHosts: []string{strings.TrimPrefix(server.URL, "http://")}, Clock: c}
	return &http.Client{Transport: tr.Transport(transport)}, guard, server.URL
}

// A dead token is replaced and the request sent again: one call, two attempts, each linked to what brought its token.
func TestCallSpans(t *testing.T) {
	tr, c := newTraced(), &clock{time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	client, guard, url := upstream(t, tr, c, secret, secret+" 2")
	old, err := guard.Token(t.Context())
	require.NoError(t, err)
	require.NoError(t, guard.Report(t.Context(), tokenguard.Outcome{TokenID: old.ID()}))
	c.now = c.now.Add(5 * time.Minute)
	resp, err := client.Get(url + "/v1/users?key=" + strings.ReplaceAll(secret, " ", "+"))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	fresh := guardhttp.TokenID(resp.Request.Context())

	call := tr.named(t, "tokenguard.call")
	require.Len(t, call, 1)
	a := attrs(call[0])
	assert.EqualValues(t, 2, a["tokenguard.attempts"])
	assert.Equal(t, fresh, a["tokenguard.token.id"])
	assert.EqualValues(t, 200, a["http.response.status_code"])
	assert.Equal(t, codes.Unset, call[0].Status.Code)

	acquired, sent := tr.named(t, "tokenguard.acquire"), tr.named(t, "GET")
	require.Len(t, acquired, 2)
	require.Len(t, sent, 2)
	for i, s := range sent {
		a := attrs(s)
		assert.Equal(t, trace.SpanKindClient, s.SpanKind)
		assert.Equal(t, call[0].SpanContext.SpanID(), s.Parent.SpanID())
		assert.Equal(t, "127.0.0.1", a["server.address"])
		assert.Positive(t, a["server.port"])
		assert.Equal(t, url+"/v1/users", a["url.full"])
		require.Len(t, s.Links, 1)
		assert.Equal(t, acquired[i].SpanContext.SpanID(), s.Links[0].SpanContext.SpanID())
	}
	assert.Equal(t, []any{int64(401), old.ID(), "401", nil}, of(sent[0], "http.response.status_code", "tokenguard.token.id", "error.type", "http.request.resend_count"))
	assert.Equal(t, []any{int64(200), fresh, nil, int64(1)}, of(sent[1], "http.response.status_code", "tokenguard.token.id", "error.type", "http.request.resend_count"))
	assert.Equal(t, call[0].SpanContext.SpanID(), acquired[1].Parent.SpanID(), "the acquisition is the call's")
}

// Some upstreams take the token in the path: no span has it.
func TestATokenInThePathIsInNoSpan(t *testing.T) {
	tr := newTraced()
	guard, err := tokenguard.New(tr.Request(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.NewTokenIn("plain-word", time.Hour), nil // no mask would know it
	}))
	require.NoError(t, err)
	defer guard.Close()
	paths := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { paths <- r.URL.Path }))
	defer server.Close()
	transport := &guardhttp.Transport{Guard: guard, AllowedHosts: []string{strings.TrimPrefix(server.URL, "http://")},
		Inject: func(r *http.Request, tok tokenguard.Token) error {
			r.URL.Path = "/bot" + tok.Value() + r.URL.Path
			return nil
		}}
	client := &http.Client{Transport: tr.Transport(transport)}
	resp, err := client.Get(server.URL + "/v1/users")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, "/botplain-word/v1/users", <-paths)
	sent := tr.named(t, "GET")
	require.Len(t, sent, 1)
	assert.Equal(t, server.URL+"/v1/users", attrs(sent[0])["url.full"])

	resp, err = (&http.Client{Transport: transport}).Get(server.URL + "/v1/users") // past what Spans.Transport returned
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, "/botplain-word/v1/users", <-paths)
	for _, s := range tr.exporter.GetSpans() {
		assert.NotContains(t, fmt.Sprintf("%+v", s), "plain-word")
	}
}

func of(s tracetest.SpanStub, names ...string) (out []any) {
	a := attrs(s)
	for _, name := range names {
		out = append(out, a[name])
	}
	return out
}

// A call without a token says which step had none, and why; nothing was sent.
func TestRefusedCallSpan(t *testing.T) {
	tr, c := newTraced(), &clock{time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	client, _, url := upstream(t, tr, c)
	for range 2 {
		_, err := client.Get(url)
		require.Error(t, err)
	}
	call := tr.named(t, "tokenguard.call")
	require.Len(t, call, 2)
	assert.Equal(t, []any{"request", "request_failed", "transient", int64(0)}, of(call[0], "tokenguard.step", "tokenguard.reason", "error.type", "tokenguard.attempts"))
	assert.Equal(t, []any{"limiter", "backoff", "backoff", int64(0)}, of(call[1], "tokenguard.step", "tokenguard.reason", "error.type", "tokenguard.attempts"))
	assert.Equal(t, codes.Error, call[1].Status.Code)
	assert.Empty(t, tr.named(t, "GET"))
}

// The refusal of another guard, which a RequestFunc asks, is why an acquisition failed, and no refusal of this guard.
func TestTheRefusalOfAnotherGuardInASpan(t *testing.T) {
	tr := newTraced()
	inner, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) { return tokenguard.Token{}, nil })
	require.NoError(t, err)
	require.NoError(t, inner.Close())
	guard, err := tokenguard.New(func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) { return inner.Token(ctx) })
	require.NoError(t, err)
	t.Cleanup(func() { _ = guard.Close() })
	client := &http.Client{Transport: tr.Transport(&guardhttp.Transport{Guard: guard, AllowedHosts: []string{"127.0.0.1:9"}})}
	_, err = client.Get("http://127.0.0.1:9")
	require.ErrorIs(t, err, tokenguard.ErrClosed)
	call := tr.named(t, "tokenguard.call")
	require.Len(t, call, 1)
	assert.Equal(t, []any{"request", "request_failed"}, of(call[0], "tokenguard.step", "tokenguard.reason"))
}

func TestMethodsAreBounded(t *testing.T) {
	tr, c := newTraced(), &clock{time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	client, _, url := upstream(t, tr, c, secret)
	req, err := http.NewRequestWithContext(t.Context(), "MADEUP", url, nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Len(t, tr.named(t, "HTTP"), 1)
}

// With a provider that records nothing, nothing stands in the way.
func TestNoProvider(t *testing.T) {
	for _, provider := range []trace.TracerProvider{nil, noop.NewTracerProvider()} {
		s, transport := otelguard.NewSpans(provider, "shop"), &guardhttp.Transport{}
		assert.Same(t, transport, s.Transport(transport))
		assert.Nil(t, transport.Base)
		assert.Nil(t, s.Request(nil))
		assert.Nil(t, s.Renewal(nil))
	}
}

// A hit starts no span and allocates nothing.
func TestHitCostsNothing(t *testing.T) {
	tr := newTraced()
	guard, err := tokenguard.New(tr.Request(fetch))
	require.NoError(t, err)
	defer guard.Close()
	_, err = guard.Token(t.Context())
	require.NoError(t, err)
	assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = guard.Token(t.Context()) }))
	assert.Len(t, tr.exporter.GetSpans(), 1)
}
