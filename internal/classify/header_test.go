package classify

import (
	"bufio"
	"encoding/json"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What ReadsHeader calls idle is idle in every real answer, and what it calls read is named by a reader.
func TestReadsHeader(t *testing.T) {
	for name := range ordinary {
		require.False(t, carriesError(name), name)
		require.Empty(t, readWindowHeaders(map[string][]string{name: {"1"}}, time.Time{}), name)
		_, _, wait := headerWait(map[string][]string{name: {"1"}}, clock{})
		require.False(t, wait, name)
	}
	for _, name := range []string{"Retry-After", "x-ms-retry-after-ms", "X-RateLimit-Remaining", "ratelimit", "WWW-Authenticate", "grpc-message"} {
		require.True(t, ReadsHeader(name), name)
	}
	f, err := os.Open("../../testdata/api-errors.jsonl")
	require.NoError(t, err)
	defer f.Close()
	now := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	dropped := 0
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var record struct {
			Status  int               `json:"status"`
			Headers map[string]string `json:"headers"`
			Body    string            `json:"body"`
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &record))
		full := Input{StatusCode: record.Status, Header: map[string][]string{}, Text: record.Body}
		for name, value := range record.Headers {
			full.Header[name] = []string{value}
		}
		less := full
		less.Header = maps.Clone(full.Header)
		read := false
		for name := range full.Header {
			read = read || ReadsHeader(name)
		}
		if read {
			continue
		}
		for name := range full.Header {
			delete(less.Header, name)
			dropped++
		}
		require.Equal(t, Classify(less), Classify(full), "%s", lines.Text())
		require.Equal(t, ReadHints(less, now), ReadHints(full, now), "%s", lines.Text())
	}
	require.NoError(t, lines.Err())
	require.Positive(t, dropped, "the records have headers that are not read")
}
