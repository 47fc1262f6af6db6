package classify

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fresh are answers of services that are in none of the recorded files, written
// from what their documentation says and labelled before the rules met them.
var fresh = []string{"testdata/fresh-1.tsv"}

// freshClasses are the letters of the class column.
var freshClasses = map[string]string{
	"Q": QuotaExhausted, "R": RateLimited, "A": AuthInvalid, "F": Forbidden, "T": Transient, "C": ClientError, "U": Unknown,
}

// loadFresh reads lines of service, language, status, class and body, parted by tabs.
func loadFresh(t testing.TB, path string) []record {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var records []record
	for i, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		f := strings.Split(line, "\t")
		require.Len(t, f, 5, "%s, line %d", path, i+1)
		status, err := strconv.Atoi(f[2])
		require.NoError(t, err, "%s, line %d", path, i+1)
		class := freshClasses[f[3]]
		require.NotEmpty(t, class, "%s, line %d", path, i+1)
		records = append(records, record{
			ID: path + ":" + strconv.Itoa(i+1), Service: f[0], Lang: f[1], Status: status, Class: class, Body: f[4],
			Trap: status != 0 && byStatus(status) != class,
		})
	}
	return records
}

// TestFresh prints the score of each set.
func TestFresh(t *testing.T) {
	for _, path := range fresh {
		var s score
		for _, r := range loadFresh(t, path) {
			s.add(r, Classify(r.input()))
		}
		s.log(t, path, true)
		s = score{}
		for _, r := range loadFresh(t, path) {
			if r.Lang != "en" {
				r.Status = 0
				s.add(r, Classify(r.input()))
			}
		}
		s.log(t, path+", other languages than English, without their status", true)
	}
}
