package template

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReal(t *testing.T) {
	f, err := os.Open("../../testdata/api-errors.jsonl")
	require.NoError(t, err)
	defer f.Close()
	var bodies, classes []string
	var tpl []Template
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r struct{ Body, Class string }
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r))
		bodies = append(bodies, r.Body)
		classes = append(classes, r.Class)
		tpl = append(tpl, Of(r.Body))
	}
	for i := range tpl {
		for j := range i {
			if bodies[i] != bodies[j] && Same(tpl[i], tpl[j], 0.4) {
				t.Logf("%v %v %v %v\n%s\n%s", classes[i] == classes[j], classes[i], classes[j], tpl[i] == tpl[j], bodies[i], bodies[j])
			}
		}
	}
}
