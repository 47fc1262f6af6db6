package guardhttp

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// host is an entry of AllowedHosts. Without a port it stands for the standard port of the scheme.
type host struct{ name, port string }

// standardPorts are the ports that a URL leaves out.
func standardPort(scheme string) string {
	switch scheme {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}

var errNoHosts = errors.New("tokenguard: guardhttp: Transport.AllowedHosts is empty: name the hosts that may see the token")

// parseHosts reads AllowedHosts, and says of each mistake what to write instead.
func parseHosts(entries []string) ([]host, error) {
	if len(entries) == 0 {
		return nil, errNoHosts
	}
	var hosts []host
	var errs []error
	for _, entry := range entries {
		h, err := parseHost(entry)
		if err != nil {
			errs = append(errs, fmt.Errorf("tokenguard: guardhttp: Transport.AllowedHosts: %w", err))
			continue
		}
		hosts = append(hosts, h)
	}
	return hosts, errors.Join(errs...)
}

func parseHost(entry string) (host, error) {
	if entry == "" {
		return host{}, errors.New(`"": want a host, such as "api.example.com" or "localhost:8080"`)
	}
	if at, rest, found := strings.Cut(entry, "://"); found {
		u, err := url.Parse(entry)
		if err != nil || u.Host == "" {
			return host{}, fmt.Errorf("%q: write the host without the scheme %q", shownHost(rest), at)
		}
		return host{}, fmt.Errorf("%q: write %q: the host alone, without a scheme", at+"://"+u.Host, u.Host)
	}
	for _, scheme := range []string{"https:", "http:", "//"} { // a URL that lacks a slash, or all but them
		rest, found := strings.CutPrefix(strings.ToLower(entry), scheme)
		if _, err := strconv.ParseUint(rest, 10, 16); err == nil { // a host of that name, and its port
			found = false
		}
		if found {
			name, _, _ := strings.Cut(strings.TrimLeft(shownHost(rest), "/"), "/")
			return host{}, fmt.Errorf("%q: write %q: the host alone, without a scheme", scheme+shownHost(rest), name)
		}
	}
	if strings.Contains(entry, "*") || strings.HasPrefix(entry, ".") { // ".example.com" is what cookies and proxies call one
		return host{}, fmt.Errorf("%q: wildcards are not supported: write each host by its full name", shownHost(entry))
	}
	if i := strings.IndexAny(entry, "/?#"); i >= 0 {
		return host{}, fmt.Errorf("%q: write %q: the host alone, without a path", shownHost(entry), shownHost(entry[:i]))
	}
	if i := strings.LastIndexByte(entry, '@'); i >= 0 {
		return host{}, fmt.Errorf("an entry with a user: write %q: the host alone", entry[i+1:])
	}
	name, port := entry, ""
	switch inside, bracketed := strings.CutPrefix(entry, "["); {
	case bracketed && strings.HasSuffix(inside, "]"):
		name = strings.TrimSuffix(inside, "]")
	case !bracketed && strings.Count(entry, ":") > 1: // an IPv6 address without a port
	case strings.Contains(entry, ":"):
		var err error
		if name, port, err = net.SplitHostPort(entry); err != nil {
			return host{}, fmt.Errorf(`%q: want "host" or "host:port"`, entry)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return host{}, fmt.Errorf("%q: the port %q: want a number from 1 to 65535, or no colon", entry, port)
		}
		port = strconv.FormatUint(n, 10)
	}
	switch {
	case strings.Contains(name, ":") && net.ParseIP(name) == nil:
		return host{}, fmt.Errorf("%q: neither a host nor an IPv6 address", entry)
	case name == "" || name != strings.TrimSpace(name) || strings.ContainsAny(name, " \t\r\n,"):
		return host{}, fmt.Errorf(`%q: want one host for each entry, such as "api.example.com"`, entry)
	}
	if name = canonical(name); !isASCII(name) {
		dialled, same := dialledHost(name)
		if !same {
			return host{}, fmt.Errorf(`%q: write the host's ASCII form, with "xn--" before each part that has other letters`, entry)
		}
		name = dialled
	}
	if name == "" {
		return host{}, fmt.Errorf(`%q: want one host for each entry, such as "api.example.com"`, entry)
	}
	return host{name, port}, nil
}

// canonical is a host in the one form in which it is compared: an IPv6 address can be written in many.
func canonical(name string) string {
	if strings.Contains(name, ":") {
		if at, err := netip.ParseAddr(name); err == nil {
			return at.String()
		}
	}
	return strings.TrimSuffix(name, ".")
}

// shownHost leaves out what may be a secret: the user of a URL and its query.
func shownHost(s string) string {
	s, _, _ = strings.Cut(s, "?")
	return s[strings.LastIndexByte(s, '@')+1:]
}

// address is the host that a URL names, and its port as a dialer takes it: 0443 for 443, and the scheme's own for none.
func address(u *url.URL) (name, port string) {
	name, port = canonical(u.Hostname()), u.Port()
	if strings.HasPrefix(port, "0") {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			port = strconv.FormatUint(n, 10)
		}
	}
	if port == "" {
		port = standardPort(u.Scheme)
	}
	return name, port
}

// allows reports whether the token may go where the request goes. The error is for a host that is allowed on its
// standard port, and asked for on another, or that is spelled as no host is: without it the request would go out without
// a token, and nobody would know why it fails.
func allows(hosts []host, req *http.Request) (bool, error) {
	if req.URL == nil {
		return false, nil // Base says what it thinks of that
	}
	if req.URL.Scheme != "https" {
		for from := req.Response; from != nil && from.Request != nil; from = from.Request.Response {
			if from.Request.URL.Scheme == "https" {
				return false, nil
			}
		}
	}
	name, port := address(req.URL)
	standard := standardPort(req.URL.Scheme)
	if !isASCII(name) {
		dialled, same := dialledHost(name)
		if dialled == "" {
			return false, nil // Base says what it thinks of that
		}
		if !same {
			if req.Response == nil && goesTo(hosts, dialled, port, standard) == hostAndPort {
				return false, fmt.Errorf("tokenguard: guardhttp: Transport.AllowedHosts has %q, and the request goes to %q: write %[1]q in its URL", dialled, name)
			}
			return false, nil
		}
		name = dialled
	}
	switch to := goesTo(hosts, name, port, standard); {
	case to == hostAndPort:
		return true, nil
	case to == bareHost && req.Response == nil: // a redirect is the upstream's doing; it goes on without a token, as to another host
		withPort := net.JoinHostPort(name, port)
		return false, fmt.Errorf("tokenguard: guardhttp: Transport.AllowedHosts has %q, which is port %s, and the request goes to port %s: "+
			"write %q to send the token there, or %q to send such requests without one", name, standard, port, withPort, net.JoinHostPort(name, standard))
	}
	return false, nil
}

// destination is what the allowed hosts say of one.
type destination int

const (
	elsewhere   destination = iota
	bareHost                // the host is allowed on its standard port alone, and this is another
	hostAndPort             // allowed
)

func goesTo(hosts []host, name, port, standard string) destination {
	bare, named := false, false
	for _, h := range hosts {
		if !strings.EqualFold(h.name, name) {
			continue
		}
		at := h.port
		if at == "" {
			at = standard
		}
		if at == port {
			return hostAndPort
		}
		bare, named = bare || h.port == "", named || h.port != ""
	}
	if bare && !named {
		return bareHost
	}
	return elsewhere
}
