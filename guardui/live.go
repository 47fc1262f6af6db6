package guardui

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The page in the browser is kept up to date by server-sent events: each carries the parts of the page that changed,
// made by the templates that made the page.

const (
	liveEvery    = time.Second      // at most, while things happen
	liveIdle     = 5 * time.Second  // windows move by themselves
	liveBeat     = 15 * time.Second // script.js takes the server for gone after three of them
	writeTimeout = 10 * time.Second // of a browser that does not read
)

// liveParts are the templates and element IDs that are sent again when they change.
var liveParts = [...]string{"verdict", "countdown", "budgets", "windows", "usage", "accounts", "lifetimes", "evidence", "minutes", "timeline", "funnel", "predictor", "failures", "candidate", "groups", "log"}

// part is the new content of an element.
type part struct {
	ID   string `json:"id"`
	HTML string `json:"html"`
}

func (h *handler) live(w http.ResponseWriter, r *http.Request) {
	giveBack, why := h.places.take(peer(r))
	if giveBack == nil {
		w.Header().Set("Retry-After", "30")
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	defer giveBack()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	send := func(format string, args ...any) bool {
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every writer has one
		if _, err := fmt.Fprintf(w, format, args...); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	events := h.guard.Subscribe(r.Context())
	known := map[string]string{}
	if !send("retry: 5000\n\n") || !h.push(r, known, send) {
		return
	}
	idle, beat := time.NewTicker(liveIdle), time.NewTicker(liveBeat)
	defer idle.Stop()
	defer beat.Stop()
	var due <-chan time.Time // set while something happened that was not sent
	for {
		select {
		case _, open := <-events:
			if !open {
				if r.Context().Err() == nil && h.push(r, known, send) {
					send("event: end\ndata: the guard is closed\n\n")
				}
				return
			}
			if due == nil {
				due = time.After(liveEvery)
			}
			continue
		case <-beat.C:
			if !send("event: beat\ndata: %s\n\n", stamp(h.guard.Stats().At)) {
				return
			}
			continue
		case <-due:
		case <-idle.C:
		}
		due = nil
		if !h.push(r, known, send) {
			return
		}
	}
}

// push sends the parts that are not as this browser knows them, and reports whether it still reads.
func (h *handler) push(r *http.Request, known map[string]string, send func(string, ...any) bool) bool {
	view := h.look(r)
	var changed []part
	for _, name := range liveParts {
		var out strings.Builder
		if pages.ExecuteTemplate(&out, name, view) != nil || known[name] == out.String() {
			continue
		}
		known[name] = out.String()
		changed = append(changed, part{name, out.String()})
	}
	if len(changed) == 0 {
		return true
	}
	data, err := json.Marshal(changed)
	return err == nil && send("event: parts\nid: %s\ndata: %s\n\n", stamp(view.At), data)
}
