package jsonconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// oven is a configuration with a field of each type.
type oven struct {
	Trays int
	Bake  time.Duration
	Damp  float64
	Fan   bool
	Steam float64
	Mode  mode
}

// mode is a field that is written as a text.
type mode struct{ name string }

func (m mode) MarshalText() ([]byte, error) {
	if m.name == "broken" {
		return nil, fmt.Errorf("mode: %w", errors.New("the switch is broken"))
	}
	return []byte(m.name), nil
}

func (m *mode) UnmarshalText(text []byte) error {
	if s := string(text); s != "" && s != "grill" {
		return fmt.Errorf("mode: %w", errors.New("no such mode"))
	}
	m.name = string(text)
	return nil
}

var ovenFields = Table[oven]{
	Fields: []Field[oven]{
		{Path: "body.trays", At: func(o *oven) any { return &o.Trays }, Max: 6},
		{Path: "heat.bake_time", At: func(o *oven) any { return &o.Bake }, Max: float64(4 * time.Hour)},
		{Path: "heat.dampness", At: func(o *oven) any { return &o.Damp }, Max: 1},
		{Path: "heat.fan", At: func(o *oven) any { return &o.Fan }},
		{Path: "heat.steam", At: func(o *oven) any { return &o.Steam }, Max: 1, Below: true},
		{Path: "heat.mode", At: func(o *oven) any { return &o.Mode }, Form: `"grill"`},
	},
	AlwaysTrue: map[string]string{"heat.fuse": "an oven has one"},
}

func TestDecodeStatesEveryField(t *testing.T) {
	const doc = `{"heat": {"steam": 0.5, "fuse": true, "fan": true, "dampness": 1, "bake_time": "1h30m", "mode": "grill"}, "body": {"trays": 2e0}}`
	d := ovenFields.Decode([]byte(doc))
	require.Empty(t, d.Mistakes)
	assert.Equal(t, oven{2, 90 * time.Minute, 1, true, 0.5, mode{"grill"}}, d.Config)
	for path, offset := range d.Offsets {
		_, name, _ := strings.Cut(path, ".")
		if name != "" {
			assert.True(t, strings.HasSuffix(doc[:offset], `"`+name+`": `), "%s is at %d", path, offset)
		}
	}
	assert.Len(t, d.Offsets, 9)

	data, err := ovenFields.Encode(&d.Config)
	require.NoError(t, err)
	assert.JSONEq(t, `{"heat": {"steam": 0.5, "fan": true, "dampness": 1, "bake_time": "1h30m0s", "mode": "grill"}, "body": {"trays": 2}}`, string(data))
	data, err = ovenFields.Encode(&oven{})
	require.NoError(t, err)
	assert.Equal(t, "{}", string(data))
}

func TestDecodeMistakes(t *testing.T) {
	const doc = `{
  "body": {"trays": 7, "trays": 1.5, "doors": 1},
  "heat": {"bake_time": "soon", "dampness": 1e-999, "steam": 1, "fan": null, "fuse": false, "phase": 3, "mode": "steam"},
  "heat.fan": true,
  "body": 3
}`
	d := ovenFields.Decode([]byte(doc))
	assert.Zero(t, d.Config, "nothing that is out of bounds is taken")
	Locate(d.Mistakes, []byte(doc))
	for i := range d.Mistakes {
		m := &d.Mistakes[i]
		line := strings.Split(doc, "\n")[m.Line-1]
		assert.True(t, strings.HasPrefix(doc[m.Offset:], line[m.Column-1:]), "%v", *m)
		m.Offset, m.Column = 0, 0
	}
	assert.Equal(t, []Mistake{
		{Field: "body.trays", Value: "7", Bound: "a whole number from 1 to 6", Line: 2},
		{Field: "body.trays", Value: "a repeated field", Bound: "stated once", Line: 2},
		{Field: "body.trays", Value: "1.5", Bound: "a whole number from 1 to 6", Line: 2},
		{Field: "body.doors", Value: "an unknown field", Bound: "one of trays", Line: 2},
		{Field: "heat.bake_time", Value: `"soon"`, Bound: `a duration above 0 up to 4h0m0s, as a number of seconds or a text such as "90s"`, Line: 3},
		{Field: "heat.dampness", Value: "1e-999", Bound: "a number above 0 up to 1", Line: 3},
		{Field: "heat.steam", Value: "1", Bound: "a number above 0 and below 1", Line: 3},
		{Field: "heat.fan", Value: "null", Bound: "true or false", Line: 3},
		{Field: "heat.fuse", Value: "false", Bound: "true: an oven has one", Line: 3},
		{Field: "heat.phase", Value: "an unknown field", Bound: "one of fuse, bake_time, dampness, fan, steam, mode", Line: 3},
		{Field: "heat.mode", Value: `"steam" (no such mode)`, Bound: `"grill"`, Line: 3},
		{Field: "heat.fan", Value: "a field with a dot", Bound: "an object in an object", Line: 4},
		{Field: "body", Value: "a repeated field", Bound: "stated once", Line: 5},
		{Field: "body", Value: "3", Bound: "an object", Line: 5},
	}, d.Mistakes)
}

func TestATextIsOne(t *testing.T) {
	for _, raw := range []string{"null", "1", "true", "{}", `["grill"]`} {
		d := ovenFields.Decode([]byte(`{"heat": {"mode": ` + raw + `}}`))
		require.Len(t, d.Mistakes, 1, raw)
		assert.Equal(t, Mistake{Field: "heat.mode", Value: raw, Bound: `"grill"`, Offset: 18}, d.Mistakes[0])
	}
	d := ovenFields.Decode([]byte(`{"heat": {"mode": ""}}`))
	assert.Empty(t, d.Mistakes, "a text that is not set")
	_, err := ovenFields.Encode(&oven{Mode: mode{"broken"}})
	assert.ErrorContains(t, err, "the switch is broken")
}

func TestDecodeOfWhatIsNotJSON(t *testing.T) {
	d := ovenFields.Decode([]byte(`{"body": ]`))
	require.Len(t, d.Mistakes, 1)
	assert.Equal(t, "config", d.Mistakes[0].Field)
	assert.EqualValues(t, 9, d.Mistakes[0].Offset)
	assert.Nil(t, d.Offsets)
}

func TestOverlay(t *testing.T) {
	o := oven{Trays: 3, Damp: 0.2, Fan: true}
	require.Empty(t, ovenFields.Overlay(&o, oven{Damp: 0.4, Bake: 1}))
	assert.Equal(t, oven{Trays: 3, Damp: 0.4, Fan: true, Bake: 1}, o, "a zero field keeps what is set")
	mistakes := ovenFields.Overlay(&o, oven{Trays: -1, Damp: math.NaN(), Steam: 1, Mode: mode{"broken"}})
	assert.Equal(t, []Mistake{
		{Field: "body.trays", Value: "-1", Bound: "a whole number from 1 to 6"},
		{Field: "heat.dampness", Value: "NaN", Bound: "a number above 0 up to 1"},
		{Field: "heat.steam", Value: "1", Bound: "a number above 0 and below 1"},
		{Field: "heat.mode", Value: "not one (the switch is broken)", Bound: `"grill"`},
	}, mistakes)
}

func TestSuggest(t *testing.T) {
	for path, want := range map[string]string{
		"heat.bake":      "a known one (did you mean heat.bake_time?)",
		"body.DAMPNESS":  "a known one (did you mean heat.dampness?)",
		"heet":           "one of body, heat", // below the bound for a guess
		"bodyy":          "a known one (did you mean body?)",
		"heat.fuses":     "a known one (did you mean heat.fuse?)",
		"heat.unrelated": "one of fuse, bake_time, dampness, fan, steam, mode",
	} {
		assert.Equal(t, want, ovenFields.suggest(path), path)
	}
}

func TestSimilarity(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want float64
	}{{"", "", 0}, {"a", "ab", 0}, {"night", "nacht", 0.25}, {"aa", "aaaa", 0.5}, {"aaaa", "aa", 0.5}, {"abc", "abc", 1}} {
		assert.InDelta(t, c.want, similarity(c.a, c.b), 1e-9, "%q and %q", c.a, c.b)
	}
}

func TestShorten(t *testing.T) {
	assert.Equal(t, "two words", Shorten(" two\n\twords "))
	long := Shorten(strings.Repeat("年", 1000))
	assert.Equal(t, strings.Repeat("年", 20)+"...", long)
	assert.Equal(t, strings.ToValidUTF8(Shorten("x"+strings.Repeat("年", 1000)), "?"), "x"+strings.Repeat("年", 19)+"...")
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"heat": {"steam": 0.5, "bake_time": "1h30m"}, "body": {"trays": 2e0}}`))
	f.Add([]byte(`{"body.trays": 1, "heat": [{"fan": {}}], "\ud800": "\xff"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := ovenFields.Decode(data)
		require.Empty(t, ovenFields.Overlay(&oven{}, d.Config), "what is decoded is in bounds")
		if len(d.Mistakes) == 0 {
			require.True(t, json.Valid(data))
			again, err := ovenFields.Encode(&d.Config)
			require.NoError(t, err)
			require.Equal(t, d.Config, ovenFields.Decode(again).Config)
		}
		Locate(d.Mistakes, data)
		for _, m := range d.Mistakes {
			require.NotEmpty(t, m.Field)
			require.NotEmpty(t, m.Value)
			require.NotEmpty(t, m.Bound)
			require.Positive(t, m.Line)
			require.Positive(t, m.Column)
			require.LessOrEqual(t, m.Offset, int64(len(data)))
		}
	})
}
