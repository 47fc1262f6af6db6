package guardhttp_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// seenCallers returns what the guard was told of who asks and of whose call failed.
func seenCallers(t *testing.T, method, url string, set func(*guardhttp.Transport)) []string {
	var rec tokenguardtest.Recorder
	guard, err := tokenguard.New(tokenguardtest.NewScript(nil, tokenguardtest.Reply{Value: "t1"}).Request, tokenguard.WithObserver(rec.Observe))
	require.NoError(t, err)
	defer guard.Close()
	transport := &guardhttp.Transport{Guard: guard, AllowedHosts: []string{"api.example.com"}, Base: &sent{}}
	set(transport)
	resp, err := transport.RoundTrip(httptest.NewRequest(method, url, nil))
	require.NoError(t, err)
	resp.Body.Close()
	var callers []string
	for _, e := range rec.Events() {
		if e.Kind == tokenguard.EventStarted {
			callers = append(callers, e.Caller)
		}
	}
	return callers
}

func TestTransportNamesTheOperation(t *testing.T) {
	for url, want := range map[string]string{
		"https://api.example.com":                                        "GET api.example.com/",
		"https://api.example.com/":                                       "GET api.example.com/",
		"https://api.example.com/v1/chat/completions?key=s3cret":         "GET api.example.com/v1/chat/completions",
		"https://api.example.com/v1beta2/models":                         "GET api.example.com/v1beta2/models",
		"https://api.example.com/v1.2/users/4711/posts":                  "GET api.example.com/v1.2/users/#/posts",
		"https://api.example.com/u/0b0b9c3e-6c1e-4b5e-9d43-1f3c2f9b8a7d": "GET api.example.com/u/#",
		"https://api.example.com/v2/library/alpine/manifests/latest":     "GET api.example.com/v2/library/alpine/manifests/latest",
		"https://api.example.com/v1234567890123/x":                       "GET api.example.com/#/x",
	} {
		require.Equal(t, []string{want}, seenCallers(t, http.MethodGet, url, func(*guardhttp.Transport) {}), url)
	}
	named := func(name string) func(*guardhttp.Transport) {
		return func(t *guardhttp.Transport) { t.Caller = func(*http.Request) string { return name } }
	}
	require.Equal(t, []string{"mine"}, seenCallers(t, http.MethodPost, "https://api.example.com/a", named("mine")))
	require.Equal(t, []string{"POST api.example.com/a"}, seenCallers(t, http.MethodPost, "https://api.example.com/a", named("")))
}

// A host is one operation however it is spelled; another port is another.
func TestTransportNamesAHostOnce(t *testing.T) {
	for url, want := range map[string]string{
		"https://API.Example.COM/a":           "GET api.example.com/a",
		"https://api.example.com./a":          "GET api.example.com/a",
		"https://api.example.com:443/a":       "GET api.example.com/a",
		"https://API.example.com.:0443/a":     "GET api.example.com/a",
		"http://api.example.com:80/a":         "GET api.example.com/a",
		"https://api.example.com:/a":          "GET api.example.com/a",
		"https://api.example.com:8443/a":      "GET api.example.com:8443/a",
		"http://api.example.com:443/a":        "GET api.example.com:443/a",
		"https://b\u00fccher.example/a":       "GET xn--bcher-kva.example/a",
		"https://xn--bcher-kva.example/a":     "GET xn--bcher-kva.example/a",
		"https://[2001:db8::1]/a":             "GET [2001:db8::1]/a",
		"https://[2001:DB8:0:0:0:0:0:1]:443/": "GET [2001:db8::1]/",
		"https://[2001:db8::1]:8443/a":        "GET [2001:db8::1]:8443/a",
	} {
		all := func(t *guardhttp.Transport) {
			t.AllowedHosts = []string{"api.example.com", "api.example.com:8443", "api.example.com:443", "xn--bcher-kva.example", "[2001:db8::1]", "[2001:db8::1]:8443"}
		}
		require.Equal(t, []string{want}, seenCallers(t, http.MethodGet, url, all), url)
	}
}

// Names that vary without end are not kept without end.
func TestOperationsAreBounded(t *testing.T) {
	r := newRig(t, only(""))
	transport := &guardhttp.Transport{Guard: r.guard, AllowedHosts: []string{"api.example.com"}, Base: &sent{}}
	for i := range 2000 {
		resp, err := transport.RoundTrip(httptest.NewRequest(http.MethodGet, fmt.Sprintf("https://api.example.com/u/%d", i), nil))
		require.NoError(t, err)
		resp.Body.Close()
	}
	require.LessOrEqual(t, guardhttp.OperationsKept(transport), 512)
}
