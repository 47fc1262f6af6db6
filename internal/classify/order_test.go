package classify

import (
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The order of a map is another one each time it is walked: what is said of an answer must not depend on it.
func TestHeadersAreReadInOneOrder(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, r := range append(loadRecorded(t), load(t, "testdata/extra.jsonl")...) {
		if len(r.Headers) < 2 {
			continue
		}
		in := r.input()
		first, hints := Judge(in), ReadHints(in, now)
		for range 20 {
			in.Header = maps.Clone(in.Header)
			require.Equal(t, first, Judge(in), r.ID)
			require.Equal(t, hints, ReadHints(in, now), r.ID)
		}
	}
}
