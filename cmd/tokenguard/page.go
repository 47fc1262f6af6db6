package main

import (
	"crypto/rand"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard/guardui"
)

// pageFlags say where a page is served, and to whom.
type pageFlags struct {
	listen    string
	withToken bool
	allow     []string

	token   string // that a browser shows; "": none is asked for
	allowed []netip.Prefix
}

// accessCookie holds the token once a browser has shown it.
const accessCookie = "tokenguard-access"

func (f *pageFlags) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8321", "`ADDRESS`; one that is not on the loopback interface needs --with-token or --allow")
	flags.BoolVar(&f.withToken, "with-token", false, "ask for a secret, made anew each time and part of the address that is printed")
	flags.StringSliceVar(&f.allow, "allow", nil, "`ADDRESS,...` of peers that may see the page: addresses or ranges such as 10.0.0.0/24")
	completeWords(cmd, "listen", "127.0.0.1:8321", "127.0.0.1:0", ":8321")
	completeWords(cmd, "allow")
}

// check refuses to show the page to anybody by accident.
func (f *pageFlags) check() error {
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil {
		return usage("--listen %q: want HOST:PORT, such as 127.0.0.1:8321 (another address: --listen 127.0.0.1:0)", f.listen)
	}
	for _, s := range f.allow {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(s); err == nil {
				prefix = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
			}
		}
		if err != nil {
			return usage("--allow %q: want an address such as 10.0.0.7, or a range such as 10.0.0.0/24", s)
		}
		f.allowed = append(f.allowed, prefix.Masked())
	}
	if !isLoopback(host) && !f.withToken && len(f.allowed) == 0 {
		return usage("--listen %s is not on the loopback interface: say who may see the page, with --with-token or --allow", f.listen)
	}
	if f.withToken {
		f.token = rand.Text()
	}
	return nil
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// options open the page to those who may see it; without a token or a list, guardui's own rule holds.
func (f *pageFlags) options() []guardui.Option {
	if f.token == "" && len(f.allowed) == 0 {
		return nil
	}
	return []guardui.Option{guardui.Auth(f.may)}
}

// may reports whether the request shows the token, if there is one, and comes from an address of the list, if there is
// one. Without a token, the page is not shown under a foreign name: another page could point one at it.
func (f *pageFlags) may(r *http.Request) bool {
	if len(f.allowed) > 0 {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		a := peer.Addr().Unmap()
		if err != nil || !a.IsLoopback() && !slices.ContainsFunc(f.allowed, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return false
		}
	}
	if f.token != "" {
		cookie, err := r.Cookie(accessCookie)
		return err == nil && same(cookie.Value, f.token)
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	host = strings.Trim(host, "[]")
	own, _ := os.Hostname()
	asked, _, _ := net.SplitHostPort(f.listen)
	_, err = netip.ParseAddr(host)
	return err == nil || host == "localhost" || strings.EqualFold(host, own) || strings.EqualFold(host, asked)
}

// handler takes the token from the address that was printed, and keeps it in a cookie.
func (f *pageFlags) handler(page http.Handler) http.Handler {
	if f.token == "" {
		return page
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if shown := query.Get("token"); same(shown, f.token) && r.Method == http.MethodGet {
			http.SetCookie(w, &http.Cookie{Name: accessCookie, Value: f.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
			w.Header().Set("Referrer-Policy", "no-referrer")
			query.Del("token")
			target := url.URL{Path: "/", RawQuery: query.Encode()}
			http.Redirect(w, r, target.String(), http.StatusSeeOther)
			return
		}
		page.ServeHTTP(w, r)
	})
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// address is one that opens in a browser on this machine, and on others if the page listens for them.
func (f *pageFlags) address(at net.Addr) string {
	host, port, _ := net.SplitHostPort(at.String())
	if a, err := netip.ParseAddr(host); err == nil && a.IsUnspecified() {
		host = "127.0.0.1"
		if name, err := os.Hostname(); err == nil {
			if _, err := net.LookupHost(name); err == nil {
				host = name
			}
		}
	}
	address := url.URL{Scheme: "http", Host: net.JoinHostPort(host, port), Path: "/"}
	if f.token != "" {
		address.RawQuery = url.Values{"token": {f.token}}.Encode()
	}
	return address.String()
}
