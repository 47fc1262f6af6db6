package guardhttp

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/tokenguard/tokenguard/internal/template"
)

const (
	operationsKept = 512 // names that are remembered, since masking costs more than a call may
	maxPath        = 512 // bytes of a path that are looked at
)

// operations names requests: method, host and path, with a '#' for each segment that varies. A host has one name however
// it is spelled.
type operations struct {
	names *lru.Cache[route, string]
}

type route struct{ method, scheme, host, path string }

func newOperations() *operations {
	names, _ := lru.New[route, string](operationsKept) // fails for a size below 1 alone
	return &operations{names}
}

func (o *operations) of(req *http.Request) string {
	r := route{req.Method, req.URL.Scheme, req.URL.Host, req.URL.Path}
	if r.method == "" {
		r.method = http.MethodGet
	}
	r.path = r.path[:min(len(r.path), maxPath)]
	if name, ok := o.names.Get(r); ok {
		return name
	}
	name := r.method + " " + hostOf(req.URL) + maskPath(r.path)
	o.names.Add(route{strings.Clone(r.method), strings.Clone(r.scheme), strings.Clone(r.host), strings.Clone(r.path)}, name)
	return name
}

// hostOf is the host of a URL in the one form that AllowedHosts is compared in, with its port unless that is the scheme's.
func hostOf(u *url.URL) string {
	name, port := address(u)
	if !isASCII(name) {
		if dialled, same := dialledHost(name); same {
			name = dialled
		}
	}
	name = lowerASCII(name)
	if port != standardPort(u.Scheme) {
		return net.JoinHostPort(name, port)
	}
	if strings.Contains(name, ":") {
		return "[" + name + "]"
	}
	return name
}

// maskPath keeps the segments that the dedup filter's mask leaves alone, and an API's version, which it would not.
func maskPath(path string) string {
	var b strings.Builder
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		b.WriteByte('/')
		if !isVersion(segment) && strings.Contains(template.Of(segment).String(), "#") {
			segment = "#"
		}
		b.WriteString(segment)
	}
	return b.String()
}

// isVersion reports whether a segment is an API's version: v1, v2.1, v1beta3.
func isVersion(s string) bool {
	if len(s) < 2 || len(s) > 10 || s[0] != 'v' || s[1] < '0' || s[1] > '9' {
		return false
	}
	rest := strings.TrimLeft(s[1:], "0123456789.")
	rest = strings.TrimPrefix(strings.TrimPrefix(rest, "alpha"), "beta")
	return strings.TrimLeft(rest, "0123456789") == "" && strings.Count(s, ".") < 2
}
