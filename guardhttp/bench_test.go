package guardhttp_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

func benchGuard(tb testing.TB) *tokenguard.Guard {
	script := tokenguardtest.NewScript(nil, tokenguardtest.Reply{Lifetime: 24 * time.Hour})
	guard, err := tokenguard.New(script.Request)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = guard.Close() })
	return guard
}

// What the Transport adds to a call that succeeds: the token, the copy of the request and the report.
func BenchmarkTransport(b *testing.B) {
	guard := benchGuard(b)
	for name, transport := range map[string]http.RoundTripper{
		"base alone": &sent{},
		"transport":  &guardhttp.Transport{Guard: guard, Base: &sent{}, AllowedHosts: []string{"api.example.com"}},
	} {
		b.Run(name, func(b *testing.B) {
			req := httptest.NewRequest(http.MethodGet, "https://api.example.com/v1", nil)
			b.ReportAllocs()
			for b.Loop() {
				resp, err := transport.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				resp.Body.Close()
			}
		})
	}
}

// One call over loopback, read to its end: what http.Transport costs, and what it costs with a token of the guard.
func BenchmarkProxiedCall(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"result":"ok"}`) }))
	defer server.Close()
	u, err := url.Parse(server.URL)
	require.NoError(b, err)
	guard := benchGuard(b)
	base := server.Client().Transport
	for name, transport := range map[string]http.RoundTripper{
		"http.Transport": base,
		"guarded":        &guardhttp.Transport{Guard: guard, Base: base, AllowedHosts: []string{u.Host}},
		"judged":         &guardhttp.Transport{Guard: guard, Base: base, AllowedHosts: []string{u.Host}, Judge: guardhttp.JudgeErrors},
	} {
		b.Run(name, func(b *testing.B) {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, server.URL+"/v1", nil)
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				resp, err := transport.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
}

// Most allocations of one call that succeeds: those of the Transport itself, and with those of the guard's Report,
// which takes the greater part today.
const (
	ownAllocations   = 6
	totalAllocations = 6
)

func TestTransportAddsFewAllocations(t *testing.T) {
	guard := benchGuard(t)
	base := &sent{}
	transport := &guardhttp.Transport{Guard: guard, Base: base, AllowedHosts: []string{"api.example.com"}}
	req := httptest.NewRequest(http.MethodGet, "https://api.example.com/v1", nil)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "test")
	trip := func(r http.RoundTripper) func() {
		return func() {
			resp, err := r.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
	}
	plain := testing.AllocsPerRun(1000, trip(base))
	guarded := testing.AllocsPerRun(1000, trip(transport))
	tok, err := guard.Token(t.Context())
	require.NoError(t, err)
	report := testing.AllocsPerRun(1000, func() {
		_ = guard.Report(t.Context(), tokenguard.Outcome{TokenID: tok.ID(), Caller: "GET api.example.com/v1", Latency: time.Millisecond})
	})
	added := guarded - plain
	t.Logf("a call: %v allocations added, %v of them the Transport's, %v of Report", added, added-report, report)
	require.LessOrEqual(t, added-report, float64(ownAllocations))
	require.LessOrEqual(t, added, float64(totalAllocations))
}
