package guardhttp_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// What the Transport adds to a call that succeeds: the token, the copy of the request and the report.
func BenchmarkTransport(b *testing.B) {
	script := tokenguardtest.NewScript(nil, tokenguardtest.Reply{Lifetime: 24 * time.Hour})
	guard, err := tokenguard.New(script.Request)
	if err != nil {
		b.Fatal(err)
	}
	defer guard.Close()
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
