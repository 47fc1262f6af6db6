package guardhttp

import (
	"encoding/json"
	"net/http"

	"github.com/tokenguard/tokenguard"
)

// PerformancePath is where Handler answers.
const PerformancePath = "/v1/performance"

// Handler serves GET /v1/performance: the guard's Stats as JSON, under "token_management". It holds no secret, but
// shows how the service is doing: do not show it to everyone. Other paths are 404, other methods than GET and HEAD 405.
// Without a guard every answer is 500.
func Handler(g *tokenguard.Guard) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		switch {
		case g == nil:
			http.Error(w, "there is no guard", http.StatusInternalServerError)
			return
		case r.URL.Path != PerformancePath:
			http.NotFound(w, r)
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		body, err := json.Marshal(struct {
			Stats tokenguard.Stats `json:"token_management"`
		}{g.Stats()})
		if err != nil {
			http.Error(w, "the figures cannot be encoded", http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(append(body, '\n'))
	})
}
