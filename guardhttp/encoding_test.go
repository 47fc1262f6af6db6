package guardhttp_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
)

func TestAcceptEncodingIsNarrowedToWhatCanBeRead(t *testing.T) {
	for asked, want := range map[string]string{
		"gzip":                            "gzip",
		"gzip, deflate, br, zstd":         "gzip, deflate",
		"GZIP;q=0.5, br;q=1.0":            "gzip;q=0.5",
		"br":                              "identity",
		"br, zstd":                        "identity",
		"identity":                        "identity",
		"identity, br":                    "identity",
		"*":                               "gzip, deflate",
		"*;q=0.1, gzip":                   "gzip, deflate;q=0.1",
		"br, *;q=0":                       "", // nothing that can be read is acceptable: left as it is
		"gzip, *;q=0":                     "gzip, identity;q=0",
		"gzip;q=0, br":                    "gzip;q=0, identity",
		"gzip;q=0, *":                     "gzip;q=0, deflate",
		"br, identity;q=0":                "",
		"br, gzip, identity;q=0":          "gzip, identity;q=0",
		"identity;q=0.000, br;q=1, *;q=0": "",
		"x-gzip,,  br":                    "x-gzip",
	} {
		require.Equal(t, want, guardhttp.ReadableOf(asked), asked)
	}
}

// asked is a base that keeps the header it was sent.
type asked struct{ header http.Header }

func (a *asked) RoundTrip(r *http.Request) (*http.Response, error) {
	a.header = r.Header
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

func TestAcceptEncodingStaysWhereNetHTTPSetsIt(t *testing.T) {
	r := newRig(t, only(""))
	base := &asked{}
	transport := &guardhttp.Transport{Guard: r.guard, Base: base, AllowedHosts: []string{"api.example.com"}}
	for _, tt := range []struct{ given, want []string }{
		{nil, nil},
		{[]string{""}, []string{""}},
		{[]string{"br, identity;q=0"}, []string{"br, identity;q=0"}},
		{[]string{"gzip"}, []string{"gzip"}},
		{[]string{"gzip, br"}, []string{"gzip"}},
		{[]string{"br", "gzip"}, []string{"gzip"}},
		{[]string{"", "br"}, []string{"", "identity"}},
	} {
		req := httptest.NewRequest(http.MethodGet, "https://api.example.com/", nil)
		if tt.given != nil {
			req.Header["Accept-Encoding"] = tt.given
		}
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, tt.want, base.header["Accept-Encoding"], "%q", tt.given)
		require.Equal(t, tt.given, req.Header["Accept-Encoding"], "the caller's is its own")
	}
	req := httptest.NewRequest(http.MethodGet, "https://elsewhere.example.com/", nil)
	req.Header.Set("Accept-Encoding", "br")
	resp, err := transport.RoundTrip(req)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, "br", base.header.Get("Accept-Encoding"), "without a token, nothing is touched")
}

// encoded answers in the best encoding that the client accepts, as a server behind a CDN does.
func encoded(w http.ResponseWriter, r *http.Request, status int, kind, body string) {
	accept := r.Header.Get("Accept-Encoding")
	w.Header().Set("Content-Type", kind)
	switch {
	case strings.Contains(accept, "br"):
		w.Header().Set("Content-Encoding", "br")
		body = "\x1b\x2f\x00\xf8" + strings.Repeat("\xa5", len(body)/2) // noise to everybody but a brotli decoder
	case strings.Contains(accept, "gzip"):
		w.Header().Set("Content-Encoding", "gzip")
		body = gzipped(body)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

const spent = `{"error":"No remaining quota: No AI requests remaining"}`

// A caller sees of an encoding what it sees without the guard, and the guard reads the error in each case.
func TestTransportReadsCompressedErrors(t *testing.T) {
	for name, accept := range map[string]string{"none asked": "", "gzip": "gzip", "gzip and br": "gzip, br", "br": "br", "identity": "identity"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
				encoded(w, r, http.StatusTooManyRequests, "application/json", spent)
			})
			plain := *r.client
			plain.Transport = r.server.Client().Transport
			get := func(c *http.Client, accept string) *http.Response {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.URL, nil)
				require.NoError(t, err)
				if accept != "" {
					req.Header.Set("Accept-Encoding", accept)
				}
				resp, err := c.Do(req)
				require.NoError(t, err)
				return resp
			}
			narrowed := accept
			if strings.Contains(accept, "br") {
				narrowed = guardhttp.ReadableOf(accept)
			}
			want, got := get(&plain, narrowed), get(r.client, accept)
			defer want.Body.Close()
			defer got.Body.Close()
			require.Equal(t, want.Header.Get("Content-Encoding"), got.Header.Get("Content-Encoding"))
			require.Equal(t, want.Uncompressed, got.Uncompressed)
			require.Equal(t, want.ContentLength, got.ContentLength)
			wantBody, err := io.ReadAll(want.Body)
			require.NoError(t, err)
			gotBody, err := io.ReadAll(got.Body)
			require.NoError(t, err)
			require.Equal(t, wantBody, gotBody)
			require.EqualValues(t, 1, r.guard.Stats().Calls.Outcomes["quota_exhausted"])
		})
	}
}

// A text under the header of an encoding that it does not have, such as a proxy's page in place of the upstream's answer, is
// read as it is.
func TestTransportReadsErrorsThatAreNotCompressed(t *testing.T) {
	for _, encoding := range []string{"gzip", "deflate", "gzip, gzip"} {
		for _, text := range []string{spent, "<html>" + strings.Repeat("é", 2100) + spent} { // a rune is cut where the peek ends
			r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", encoding)
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusTooManyRequests)
				_, _ = io.WriteString(w, text)
			})
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.URL, nil)
			require.NoError(t, err)
			req.Header.Set("Accept-Encoding", encoding)
			resp, err := r.client.Do(req)
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, text, string(body))
			class := "quota_exhausted"
			if text != spent { // what comes after the peek is not read
				class = "rate_limited"
			}
			require.EqualValues(t, 1, r.guard.Stats().Calls.Outcomes[class], encoding)
		}
	}
}

// What an inflater passes on does not depend on where the body's Reads end, and is what a decoder reads in one go.
func FuzzInflater(f *testing.F) {
	f.Add("No remaining quota", uint64(1), false)
	f.Add(strings.Repeat("long ", 20000), uint64(7), true)
	f.Add("", uint64(3), false)
	f.Fuzz(func(t *testing.T, text string, seed uint64, cut bool) {
		random := rand.New(rand.NewPCG(seed, 0))
		for encoding, body := range map[string]string{
			"gzip": gzipped(text), "deflate": zlibbed(text), "gzip, gzip": gzipped(gzipped(text)), "deflate, gzip": gzipped(deflated(text)),
		} {
			if encoding == "deflate, gzip" && len(deflated(text)) > 1 && deflated(text)[0]&0x0f == 8 {
				continue // looks like zlib: nobody can tell
			}
			if cut {
				body = body[:random.IntN(len(body))]
			}
			var chunks [][]byte
			for rest := []byte(body); len(rest) > 0; {
				n := 1 + random.IntN(min(len(rest), 300))
				chunks, rest = append(chunks, rest[:n]), rest[n:]
			}
			got, err := guardhttp.Inflated(encoding, chunks)
			require.NoError(t, err)
			if !cut {
				require.Equal(t, text, string(got), encoding)
			}
			require.True(t, strings.HasPrefix(text, string(got)))
		}
	})
}

// An event that was flushed is seen with its bytes, not with the next ones.
func TestInflaterDoesNotHoldBack(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	var chunks [][]byte
	for i := range 5 {
		fmt.Fprintf(w, "data: %d\n\n", i)
		require.NoError(t, w.Flush())
		chunks = append(chunks, bytes.Clone(b.Bytes()))
		b.Reset()
		got, err := guardhttp.Inflated("gzip", chunks)
		require.NoError(t, err)
		require.True(t, strings.HasSuffix(string(got), fmt.Sprintf("data: %d\n\n", i)))
	}
	_, err := guardhttp.Inflated("gzip, gzip, gzip, gzip", nil)
	require.Error(t, err, "nobody encodes four times but to be a nuisance")
}

func TestTransportWithoutAnEncodingThatCanBeRead(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "br") // whatever was asked for
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, "\x1b\x2f noise about an invalid token")
	})
	_, body := r.do(t, http.MethodGet, nil)
	require.Equal(t, "\x1b\x2f noise about an invalid token", body)
	require.EqualValues(t, 1, r.guard.Stats().Calls.Outcomes[string(tokenguard.ClassRateLimited)], "by its status alone")
}
