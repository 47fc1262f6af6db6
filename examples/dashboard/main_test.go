package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The page is there, is safe, shows a day of traffic, and ends with its context.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out, said := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, said, "127.0.0.1:0", 60)
		_ = said.CloseWithError(err)
		ended <- err
	}()
	line := make([]byte, 100)
	n, err := out.Read(line)
	require.NoError(t, err)
	_, url, found := strings.Cut(strings.TrimSpace(string(line[:n])), "the page is at ")
	require.True(t, found)

	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'none'")
	for _, want := range []string{"Can a caller have a token now?", "refused: ", "checkout", "explain this", `class="closed"`} {
		assert.Contains(t, string(body), want)
	}
	live, err := http.Get(url + "events") // a browser that looks on does not keep it from ending
	require.NoError(t, err)
	defer live.Body.Close()
	cancel()
	assert.NoError(t, <-ended)
	_, err = http.Get(url)
	assert.Error(t, err, "nobody answers any more")
}
