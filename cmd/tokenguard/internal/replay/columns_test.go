package replay

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestColumns(t *testing.T) {
	c, err := ParseColumns([]string{`at=Date+"Time, UTC",status="a ""b"""`, `scope='it''s',failing=current`})
	require.NoError(t, err)
	assert.Equal(t, map[string][]string{"at": {"Date", "Time, UTC"}, "status": {`a "b"`}}, c.from)
	assert.Equal(t, map[string]string{"scope": "it's", "failing": "current"}, c.text)

	c, err = ParseColumns([]string{`failing="current"`})
	require.NoError(t, err)
	assert.Equal(t, map[string][]string{"failing": {"current"}}, c.from, "in quotes it is a column")
	assert.True(t, c.named())
	c, err = ParseColumns([]string{"failing=none"})
	require.NoError(t, err)
	assert.False(t, c.named(), "a text alone leaves the known names")

	for _, wrong := range []string{"", "at", "=x", "at=", "at=a,", "at=a,at=b", "colour=a", `at="a`, `at="a"b`, "at=a+", "scope='a'+b", "scope=a+'b'", "at=,caller=b"} {
		_, err := ParseColumns([]string{wrong})
		assert.Error(t, err, wrong)
	}
}

func TestPath(t *testing.T) {
	object := map[string]any{"a.b": "flat", "c": map[string]any{"d.e": "mixed", "f": map[string]any{"g": 1}}, "list": []any{"one"}, "none": nil}
	for name, want := range map[string]string{"a.b": "flat", "c.d.e": "mixed", "c.f.g": "1", "list": "one", "none": "", "c.x": "", "x.y": ""} {
		assert.Equal(t, want, path(object, name), name)
	}
}

func FuzzColumns(f *testing.F) {
	f.Add(`at=Date+"Time, UTC",failing=current`)
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseColumns([]string{s})
		if err == nil {
			assert.NotEmpty(t, len(c.from)+len(c.text))
		}
	})
}
