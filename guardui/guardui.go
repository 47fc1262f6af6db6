// Package guardui serves a page on which an operator sees what a guard does and why.
//
//	mux.Handle("/debug/tokens/", guardui.New(guard))
//
// It answers, in this order: can a caller have a token now, and if not, which rule says so and until when; what is left
// of the budgets and who uses them; whether the accounts live and when they are renewed; what was started and refused
// when; how many calls needed no acquisition; how long the tokens last; what each operation says of them; what failed; and
// what a given caller would be answered, step by step.
//
// The page is read-only, needs nothing from another host, and works without JavaScript; with it, the page is live. It
// shows token IDs, never tokens, and the names and masked failure texts of callers: only peers on the loopback
// interface see it unless [Auth] or [AllowRemote] says otherwise. A page of another site may link to it and can do no
// more: what a browser asks for on such a page's behalf is refused (Sec-Fetch-Site, Origin).
package guardui

import (
	"embed"
	"html/template"
	"net/http"
	"path"
	"strings"

	"github.com/tokenguard/tokenguard"
)

//go:embed web
var web embed.FS

var pages = template.Must(template.New("").Funcs(funcs).ParseFS(web, "web/*.html"))

// policy lets the page load its own two files and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

type handler struct {
	guard  *tokenguard.Guard
	access access
	places places
}

// Option sets one thing of the page.
type Option func(*handler)

// New returns the page of a guard. It answers GET and HEAD under any path that ends in a slash, with or without
// http.StripPrefix before it: all its links are relative.
//
// At most 32 browsers are kept up to date at once, 8 of one address (of one IPv6 /64); each costs a look at the guard at most once a second. They end with
// the request's context, so give the server a BaseContext that ends before Shutdown is called, or close the guard
// first.
func New(guard *tokenguard.Guard, opts ...Option) http.Handler {
	h := &handler{guard: guard}
	for _, opt := range opts {
		opt(h)
	}
	return h
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	if why := h.access.refuse(r); why != "" {
		http.Error(w, why, http.StatusForbidden)
		return
	}
	_, name := path.Split(r.URL.Path)
	if fromElsewhere(r, name == "") {
		http.Error(w, "this page is not served to other sites", http.StatusForbidden)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	switch name {
	case "":
		h.page(w, r)
	case "events":
		h.live(w, r)
	case "style.css", "script.js":
		http.ServeFileFS(w, r, web, "web/"+name)
	default:
		http.NotFound(w, r)
	}
}

func (h *handler) page(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "" { // stripped to nothing: the relative links need the slash
		asked, query, _ := strings.Cut(r.RequestURI, "?")
		to := "./" + path.Base(asked) + "/"
		if query != "" {
			to += "?" + query
		}
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	if hideToken(w, r) {
		return
	}
	view := h.look(r)
	view.Explained = h.explain(r, view.history)
	var out strings.Builder
	if err := pages.ExecuteTemplate(&out, "page.html", view); err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(out.String()))
}
