package guardhttp_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/guardhttp"
)

func TestHandler(t *testing.T) {
	r := newRig(t, only("t1"))
	r.do(t, http.MethodGet, nil)
	server := httptest.NewServer(guardhttp.Handler(r.guard))
	defer server.Close()
	call := func(method, path string) (*http.Response, []byte) {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
		require.NoError(t, err)
		resp, err := server.Client().Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
		return resp, body
	}
	resp, body := call(http.MethodGet, "/v1/performance")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	var got struct {
		Stats struct {
			Acquisitions struct {
				Hour struct {
					Used, Limit, Remaining int
				} `json:"hour"`
			} `json:"acquisitions"`
		} `json:"token_management"`
	}
	require.NoError(t, json.Unmarshal(body, &got))
	require.Equal(t, 1, got.Stats.Acquisitions.Hour.Used)
	require.Equal(t, 100, got.Stats.Acquisitions.Hour.Limit)
	require.NotContains(t, string(body), `"t1"`)

	resp, body = call(http.MethodHead, "/v1/performance")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Empty(t, body)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		resp, _ = call(method, "/v1/performance")
		require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
		require.Equal(t, "GET, HEAD", resp.Header.Get("Allow"))
	}
	for _, path := range []string{"/", "/v1/performance/", "/v1", "/v2/performance"} {
		resp, _ = call(http.MethodGet, path)
		require.Equal(t, http.StatusNotFound, resp.StatusCode, path)
	}
}

func TestHandlerWithoutAGuard(t *testing.T) {
	w := httptest.NewRecorder()
	guardhttp.Handler(nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/performance", nil))
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Equal(t, "null", guardhttp.Var{}.String())
}
