package tokenguard

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/jsonconfig"
)

func TestEveryFieldOfConfigIsASetting(t *testing.T) {
	var c Config
	fields := map[any]string{}
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		for j := range v.Field(i).NumField() {
			fields[v.Field(i).Field(j).Addr().Interface()] = v.Type().Field(i).Type.Name() + "." + v.Field(i).Type().Field(j).Name
		}
	}
	paths := map[string]bool{}
	for _, s := range configFields.Fields {
		name, ok := fields[s.At(&c)]
		assert.True(t, ok, "%s has a field of its own", s.Path)
		delete(fields, s.At(&c))
		assert.False(t, paths[s.Path], "%s is stated once", s.Path)
		paths[s.Path] = true
		section, _, _ := strings.Cut(s.Path, ".")
		assert.Contains(t, configFields.Sections(), section)
		_, isBool := s.At(&c).(*bool)
		_, isText := s.At(&c).(jsonconfig.Text)
		assert.Equal(t, isText, s.Form != "", s.Path)
		assert.Equal(t, isBool || isText, s.Max == 0, "%s (%s) has bounds", s.Path, name)
	}
	assert.Empty(t, fields, "fields without a setting")
}

// The comments are what users read, so they are held to the table: each names the field in JSON.
func TestCommentsNameTheFieldInJSON(t *testing.T) {
	docs := map[string]string{}
	for _, name := range []string{"config.go", "ratelimit.go", "cache.go", "dedup.go", "manager.go", "predictor.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		require.NoError(t, err)
		collect(file, docs)
	}
	var c Config
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		assert.Contains(t, docs["Config."+v.Type().Field(i).Name], "("+configFields.Sections()[i]+")")
		for j := range v.Field(i).NumField() {
			at := v.Field(i).Field(j).Addr().Interface()
			k := slices.IndexFunc(configFields.Fields, func(s jsonconfig.Field[Config]) bool { return s.At(&c) == at })
			_, name, _ := strings.Cut(configFields.Fields[k].Path, ".")
			field := v.Field(i).Type().Name() + "." + v.Field(i).Type().Field(j).Name
			assert.Contains(t, strings.ReplaceAll(docs[field], "\n", " "), "("+name+")", field)
		}
	}
}

// collect reads the comments of the fields of a file's structs.
func collect(file *ast.File, docs map[string]string) {
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		body, ok := spec.Type.(*ast.StructType)
		if !ok {
			return false
		}
		for _, f := range body.Fields.List {
			if len(f.Names) > 0 {
				docs[spec.Name.Name+"."+f.Names[0].Name] = f.Doc.Text() + f.Comment.Text()
			}
		}
		return false
	})
}

func TestBounds(t *testing.T) {
	want := map[string]string{
		"rate_limit.max_requests_per_hour": "a whole number from 1 to 10000",
		"rate_limit.max_requests_per_day":  "a whole number from 1 to 10000",
		"rate_limit.min_interval":          "a duration above 0 up to 24h0m0s",
		"rate_limit.failure_backoff_base":  "a duration above 0 up to 24h0m0s",
		"rate_limit.max_backoff":           "a duration above 0 up to 24h0m0s",
		"rate_limit.key_backoff_base":      "a duration above 0 up to 24h0m0s",
		"rate_limit.max_key_backoff":       "a duration above 0 up to 24h0m0s",
		"cache.cache_ttl":                  "a duration above 0 up to 720h0m0s",
		"cache.max_cache_size":             "a whole number from 1 to 10000",
		"cache.cleanup_interval":           "a duration above 0 up to 24h0m0s",
		"dedup.dedup_window":               "a duration above 0 up to 24h0m0s",
		"dedup.max_concurrent_requests":    "a whole number from 1 to 100",
		"dedup.max_waiters":                "a whole number from 1 to 1048576",
		"dedup.similarity_threshold":       "a number above 0 up to 1",
		"manager.min_token_age":            "a duration above 0 up to 24h0m0s",
		"manager.recent_window":            "a duration above 0 up to 24h0m0s",
		"manager.confirmation":             "a duration above 0 up to 24h0m0s",
		"predictor.confidence":             "a number above 0 and below 1",
		"predictor.slow_response":          "a duration above 0 up to 1h0m0s",
	}
	for _, s := range configFields.Fields {
		if s.Max == 0 {
			continue
		}
		assert.Equal(t, want[s.Path], s.Bound(), s.Path)
		good, bad := []float64{1, s.Max}, []float64{-1, s.Max + 1, math.MinInt32}
		if s.Max == 1 {
			good, bad = []float64{math.SmallestNonzeroFloat64, 0.999, 1}, []float64{-0.1, math.Nextafter(1, 2), math.NaN(), math.Inf(1), math.Inf(-1)}
		}
		if s.Below {
			good, bad = good[:2], append(bad, 1)
		}
		set := func(c *Config, f float64) {
			v := s.Value(c)
			v.Set(reflect.ValueOf(f).Convert(v.Type()))
		}
		try := func(f float64) error { // with the rules between fields out of the way
			c := Config{RateLimit: RateLimits{FailureBackoffBase: 1, MaxBackoff: 24 * time.Hour, KeyBackoffBase: 1, MaxKeyBackoff: 24 * time.Hour}}
			set(&c, f)
			_, err := newOptions([]Option{WithConfig(c)})
			if f == f && !math.IsInf(f, 0) {
				data, jsonErr := json.Marshal(c)
				require.NoError(t, jsonErr)
				parsed, jsonErr := ParseConfig(data)
				require.Equal(t, err == nil, jsonErr == nil, "%s: options and JSON agree on %v: %v", s.Path, f, jsonErr)
				if err == nil {
					require.Equal(t, c, parsed)
				}
			}
			return err
		}
		for _, f := range good {
			assert.NoError(t, try(f), "%s of %v", s.Path, f)
		}
		for _, f := range bad {
			e, ok := errors.AsType[*ConfigError](try(f))
			if assert.True(t, ok, "%s of %v", s.Path, f) {
				assert.Equal(t, s.Path, e.Field)
				assert.Equal(t, want[s.Path], e.Bound)
				assert.NotEmpty(t, e.Value)
			}
		}
	}
}

func TestPresets(t *testing.T) {
	o, err := newOptions(nil)
	require.NoError(t, err)
	assert.Equal(t, Conservative(), o.Config)

	golden, err := os.ReadFile("testdata/config/moderate.json")
	require.NoError(t, err)
	got, err := json.MarshalIndent(Moderate(), "", "  ")
	require.NoError(t, err)
	assert.Equal(t, string(golden), string(got)+"\n")

	c := Conservative()
	c.RateLimit.MaxRequestsPerHour, c.RateLimit.MaxRequestsPerDay = 10, 50
	c.RateLimit.MinInterval, c.Manager.RecentWindow = time.Minute, time.Minute
	c.Manager.ReplaceSpentEarly = true
	assert.Equal(t, c, Moderate())
	assert.Equal(t, "{3 20 5m0s 10m0s 1h0m0s 1h0m0s 24h0m0s}", fmt.Sprint(Conservative().RateLimit))
}
