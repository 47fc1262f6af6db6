package guardhttp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"unicode/utf8"
)

// Internationalised hosts. A request may name one in Unicode or in its ASCII form (xn--...), and so may AllowedHosts; they
// are compared in the latter. What net/http makes of a name beyond that (it folds case, width and more before it looks the
// host up) other transports may not: a name for which that makes a difference gets no token.

// isASCII reports whether a host needs no conversion.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// dialledHost is the host that net/http dials for a name; "": none. same: it is also what the name is in ASCII as it
// stands, which net/http writes in the Host header.
func dialledHost(name string) (host string, same bool) {
	asked := &http.Transport{DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
		host, _, _ = net.SplitHostPort(addr)
		return nil, errors.New("only the address is wanted")
	}}
	req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: lowerASCII(name)}, Header: http.Header{}}
	if resp, err := asked.RoundTrip(req); err == nil { // never
		resp.Body.Close()
	}
	var b bytes.Buffer
	if req.Write(&b) != nil {
		return host, false
	}
	written, err := http.ReadRequest(bufio.NewReader(&b))
	return host, err == nil && host != "" && written.Host == host && utf8.ValidString(name)
}

// lowerASCII leaves all other letters as they are: not all of them become what a resolver makes of them.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
