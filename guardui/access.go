package guardui

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// access says who may see the page.
type access struct {
	auth  func(*http.Request) bool
	hosts []string // by which remote peers may ask
}

// Auth lets those see the page for whom ok returns true, wherever they are. It is asked on every request and takes the
// place of the loopback rule.
func Auth(ok func(*http.Request) bool) Option {
	return func(h *handler) { h.access.auth = ok }
}

// AllowRemote lets any peer see the page that asks for it by one of these hosts (without port). Use it behind
// something else that decides who comes through. The names are needed so that a foreign page cannot read this one
// by pointing a name of its own at this server (DNS rebinding).
func AllowRemote(host string, more ...string) Option {
	return func(h *handler) {
		for _, name := range append([]string{host}, more...) {
			h.access.hosts = append(h.access.hosts, strings.ToLower(name))
		}
	}
}

// refuse says why the request is not answered; "": it is.
func (a *access) refuse(r *http.Request) string {
	if a.auth != nil {
		if !a.auth(r) {
			return "not authorized"
		}
		return ""
	}
	host := hostname(r.Host)
	if slices.Contains(a.hosts, host) {
		return ""
	}
	const hint = "; guardui.Auth or guardui.AllowRemote opens it to others"
	switch {
	case !loopback(r.RemoteAddr):
		return "this page is served to peers on the loopback interface only" + hint
	case host != "localhost" && !strings.HasSuffix(host, ".localhost") && !loopback(net.JoinHostPort(host, "0")):
		return "this page is served under a loopback host name only" + hint
	case forwarded(r):
		return "this page is not served through a proxy" + hint
	}
	return ""
}

// fromElsewhere reports whether a browser asks on behalf of a page that is not this one: such a page cannot read the
// answer, but it could take all live places. Another port of this host is another page. A link to the page is followed;
// programs that are no browsers send neither header.
func fromElsewhere(r *http.Request, page bool) bool {
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "same-origin", "none":
		return false
	case "":
		origin := r.Header.Get("Origin") // of browsers before 2023, where they ask across origins
		if origin == "" {
			return false
		}
		u, err := url.Parse(origin)
		return err != nil || !strings.EqualFold(u.Host, r.Host)
	default:
		link := r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
		return !page || !link
	}
}

// hostname is a Host header without port and brackets, in lower case.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

func loopback(hostport string) bool {
	a, err := netip.ParseAddrPort(hostport)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// forwarded reports whether a proxy says that the request came from another machine.
func forwarded(r *http.Request) bool {
	for _, name := range [...]string{"Forwarded", "X-Forwarded-For", "X-Real-Ip"} {
		if r.Header.Get(name) != "" {
			return true
		}
	}
	return false
}
