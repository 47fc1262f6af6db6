package predict

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// skillTable reads the figures of docs/prediction.md by the names of their rows: the share refused in percent, and three
// skills.
func skillTable(t *testing.T) map[string][]float64 {
	t.Helper()
	text, err := os.ReadFile("../../docs/prediction.md")
	require.NoError(t, err)
	rows := map[string][]float64{}
	row := regexp.MustCompile(`(?m)^\| ([^|]+) \| ([\d.]+) % \| (-?[\d.]+) \| (-?[\d.]+) \| (-?[\d.]+) \|$`)
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		var figures []float64
		for _, cell := range m[2:] {
			x, err := strconv.ParseFloat(cell, 64)
			require.NoError(t, err, m[0])
			figures = append(figures, x)
		}
		require.NotContains(t, rows, m[1], "twice")
		rows[m[1]] = figures
	}
	return rows
}
