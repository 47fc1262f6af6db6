package tokenguard

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// everyField sets each field to a value that is not its default, and durations in each notation.
const everyField = `{
	"rate_limit": {
		"max_requests_per_hour": 4, "max_requests_per_day": 2.1e1, "min_interval": 0.5, "failure_backoff_base": "1m",
		"max_backoff": 7200, "key_backoff_base": "1m30s", "max_key_backoff": 300, "consecutive_failure_backoff": true
	},
	"cache": {"cache_ttl": "2h30m", "max_cache_size": 5, "cleanup_interval": 1e-9, "strict": true},
	"dedup": {"dedup_window": 64.1, "max_concurrent_requests": 100, "max_waiters": 7, "similarity_threshold": 1},
	"manager": {"min_token_age": "1ns", "recent_window": 86400, "confirmation": 30, "replace_spent_early": true,
		"quota_period": "daily 0:30 UTC-08:00"},
	"predictor": {"confidence": 0.99, "slow_response": 1}
}`

var everyFieldSet = Config{
	RateLimit: RateLimits{MaxRequestsPerHour: 4, MaxRequestsPerDay: 21, MinInterval: 500 * time.Millisecond,
		FailureBackoffBase: time.Minute, MaxBackoff: 2 * time.Hour, KeyBackoffBase: 90 * time.Second, MaxKeyBackoff: 5 * time.Minute},
	Cache:     CacheConfig{TTL: 150 * time.Minute, MaxTokens: 5, CleanupInterval: 1, Strict: true},
	Dedup:     DedupConfig{Window: 64100 * time.Millisecond, Similarity: 1, MaxConcurrent: 100, MaxWaiters: 7},
	Manager:   ManagerConfig{MinTokenAge: 1, RecentWindow: 24 * time.Hour, Confirmation: 30 * time.Second, ReplaceSpentEarly: true, QuotaPeriod: Daily(0, 30, time.FixedZone("UTC-08:00", -8*3600))},
	Predictor: PredictorConfig{Confidence: 0.99, SlowResponse: time.Second},
}

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig([]byte(everyField))
	require.NoError(t, err)
	assert.Equal(t, everyFieldSet, c)
	for _, s := range configFields.Fields {
		assert.False(t, s.Value(&c).IsZero(), "%s is in the document", s.Path)
	}
	data, err := json.Marshal(c)
	require.NoError(t, err)
	again, err := ParseConfig(data)
	require.NoError(t, err)
	assert.Equal(t, c, again)
}

func TestZeroInJSONKeepsTheDefault(t *testing.T) {
	for _, doc := range []string{`{}`, ` {"cache": {}} `,
		`{"rate_limit": {"max_requests_per_hour": 0, "min_interval": "0s"}, "dedup": {"similarity_threshold": -0.0}}`,
		`{"cache": {"strict": false, "cache_ttl": 0e9}, "predictor": {"slow_response": "0"}}`} {
		c, err := ParseConfig([]byte(doc))
		require.NoError(t, err, doc)
		o, err := newOptions([]Option{WithConfig(c)})
		require.NoError(t, err)
		assert.Equal(t, Conservative(), o.Config, doc)
	}
}

func TestMistakesInJSON(t *testing.T) {
	const (
		hour     = ", must be a whole number from 1 to 10000"
		pause    = ", must be a duration above 0 up to 24h0m0s"
		notation = pause + `, as a number of seconds or a text such as "90s"`
	)
	for doc, want := range map[string]string{
		``:           "line 1, column 1: config is not JSON (unexpected end of JSON input), must be one JSON object",
		`{} {}`:      "line 1, column 4: config is not JSON (invalid character '{' after top-level value), must be one JSON object",
		"{\n\"a\":,": "line 2, column 5: config is not JSON (invalid character ',' looking for beginning of value), must be one JSON object",
		`{"cache":{"cache_ttl":NaN}}`: "line 1, column 23: config is not JSON (invalid character 'N' looking for beginning of value), " +
			"must be one JSON object",
		`null`:              "line 1, column 1: config is null, must be an object",
		`[]`:                "line 1, column 1: config is [], must be an object",
		`{"cache": [1, 2]}`: "line 1, column 11: cache is [1, 2], must be an object",
		`{"rate_limit": {"max_per_hour": 9}}`: "line 1, column 17: rate_limit.max_per_hour is an unknown field, " +
			"must be a known one (did you mean rate_limit.max_requests_per_hour?)",
		`{"cache": {"max_request_per_day": 9}}`: "line 1, column 12: cache.max_request_per_day is an unknown field, " +
			"must be a known one (did you mean rate_limit.max_requests_per_day?)",
		`{"RateLimit": {}}`: "line 1, column 2: RateLimit is an unknown field, must be a known one (did you mean rate_limit?)",
		`{"cache":{},
  "ttl": "some secret"}`: "line 2, column 3: ttl is an unknown field, must be a known one (did you mean cache.cache_ttl?)",
		`{"rate_limit": {"MAX_BACKOFF": 60}}`: "line 1, column 17: rate_limit.MAX_BACKOFF is an unknown field, " +
			"must be a known one (did you mean rate_limit.max_backoff?)",
		`{"manager": {"window": 60}}`: "line 1, column 14: manager.window is an unknown field, " +
			"must be a known one (did you mean manager.recent_window?)",
		`{"zz": 1}`: "line 1, column 2: zz is an unknown field, must be one of rate_limit, cache, dedup, manager, predictor",
		`{"":{}}`:   `line 1, column 2: "" is an unknown field, must be one of rate_limit, cache, dedup, manager, predictor`,
		`{"predictor":{"\u001b[1m":1}}`: `line 1, column 15: "predictor.\x1b[1m" is an unknown field, ` +
			`must be one of confidence, slow_response`,
		`{"cache.cache_ttl": 5}`:                          "line 1, column 2: cache.cache_ttl is a field with a dot, must be an object in an object",
		`{"cache": {}, "cache": {}}`:                      "line 1, column 15: cache is a repeated field, must be stated once",
		`{"cache": {"strict": true, "\u0073trict":true}}`: "line 1, column 28: cache.strict is a repeated field, must be stated once",
		`{"cache": {"strict": 1}}`:                        "line 1, column 22: cache.strict is 1, must be true or false",
		`{"cache": {"strict": null}}`:                     "line 1, column 22: cache.strict is null, must be true or false",
		`{"rate_limit": {"consecutive_failure_backoff": false}}`: "line 1, column 48: rate_limit.consecutive_failure_backoff is false, " +
			"must be true: nothing switches a limit off",
		`{"rate_limit": {"max_requests_per_hour": -1}}`:    "line 1, column 42: rate_limit.max_requests_per_hour is -1" + hour,
		`{"rate_limit": {"max_requests_per_hour": 0.5}}`:   "line 1, column 42: rate_limit.max_requests_per_hour is 0.5" + hour,
		`{"rate_limit": {"max_requests_per_hour": 2.5}}`:   "line 1, column 42: rate_limit.max_requests_per_hour is 2.5" + hour,
		`{"rate_limit": {"max_requests_per_hour": 10001}}`: "line 1, column 42: rate_limit.max_requests_per_hour is 10001" + hour,
		`{"rate_limit": {"max_requests_per_hour": 1e999}}`: "line 1, column 42: rate_limit.max_requests_per_hour is 1e999" + hour,
		`{"rate_limit": {"max_requests_per_hour": "3"}}`:   `line 1, column 42: rate_limit.max_requests_per_hour is "3"` + hour,
		`{"rate_limit": {"max_requests_per_hour": null}}`:  "line 1, column 42: rate_limit.max_requests_per_hour is null" + hour,
		`{"rate_limit": {"min_interval": "-5m"}}`:          `line 1, column 33: rate_limit.min_interval is "-5m"` + pause,
		`{"rate_limit": {"min_interval": 86400.1}}`:        "line 1, column 33: rate_limit.min_interval is 86400.1" + pause,
		`{"rate_limit": {"min_interval": 1e300}}`:          "line 1, column 33: rate_limit.min_interval is 1e300" + pause,
		`{"rate_limit": {"min_interval": 1e999}}`:          "line 1, column 33: rate_limit.min_interval is 1e999" + pause,
		`{"rate_limit": {"min_interval": 1e-10}}`:          "line 1, column 33: rate_limit.min_interval is 1e-10" + pause,
		`{"rate_limit": {"min_interval": 1e-999}}`:         "line 1, column 33: rate_limit.min_interval is 1e-999" + pause,
		`{"rate_limit": {"min_interval": "0.1ns"}}`:        `line 1, column 33: rate_limit.min_interval is "0.1ns"` + pause,
		`{"rate_limit": {"min_interval": "5"}}`:            `line 1, column 33: rate_limit.min_interval is "5"` + notation,
		`{"rate_limit": {"min_interval": "NaN"}}`:          `line 1, column 33: rate_limit.min_interval is "NaN"` + notation,
		`{"rate_limit": {"min_interval": "9999999999h"}}`:  `line 1, column 33: rate_limit.min_interval is "9999999999h"` + notation,
		`{"rate_limit": {"min_interval": true}}`:           `line 1, column 33: rate_limit.min_interval is true` + notation,
		`{"predictor": {"confidence": 1}}`:                 "line 1, column 30: predictor.confidence is 1, must be a number above 0 and below 1",
		`{"dedup": {"similarity_threshold": 1.1}}`:         "line 1, column 36: dedup.similarity_threshold is 1.1, must be a number above 0 up to 1",
		`{"rate_limit": {"max_backoff": 60}}`: "line 1, column 32: rate_limit.max_backoff is 1m0s, " +
			"must be at least rate_limit.failure_backoff_base, 10m0s",
		`{"rate_limit": {"failure_backoff_base": "2h"}}`: "line 1, column 41: rate_limit.max_backoff is 1h0m0s, " +
			"must be at least rate_limit.failure_backoff_base, 2h0m0s",
	} {
		c, err := ParseConfig([]byte(doc))
		assert.EqualError(t, err, "tokenguard: "+want, doc)
		assert.Zero(t, c, doc)
	}
}

func TestLongValuesAreCut(t *testing.T) {
	_, err := ParseConfig([]byte(`{"cache": {"cache_ttl": "` + strings.Repeat("年", 1000) + `"}}`))
	require.Error(t, err)
	assert.Less(t, len(err.Error()), 300)
	assert.Equal(t, strings.ToValidUTF8(err.Error(), "?"), err.Error())
}

func TestAllMistakesInJSONComeTogether(t *testing.T) {
	_, err := ParseConfig([]byte(`{
	"rate_limit": {"max_requests_per_hour": -1, "min_interval": "x", "min_interval": -2},
	"cashe": {},
	"dedup": {"dedup_window": "48h"}, "rate_limit": {"max_backoff": 5}
}`))
	type at struct {
		field        string
		line, column int
	}
	var got []at
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		e := e.(*ConfigError)
		got = append(got, at{e.Field, e.Line, e.Column})
	}
	assert.Equal(t, []at{
		{"rate_limit.max_requests_per_hour", 2, 42},
		{"rate_limit.min_interval", 2, 62},
		{"rate_limit.min_interval", 2, 67},
		{"rate_limit.min_interval", 2, 83},
		{"cashe", 3, 2},
		{"dedup.dedup_window", 4, 28},
		{"rate_limit", 4, 36},
		{"rate_limit.max_backoff", 4, 66},
	}, got)

	_, err = ParseConfig([]byte(`{"rate_limit": {"failure_backoff_base": "2h", "max_backoff": "1 hour"}}`))
	assert.ErrorContains(t, err, `max_backoff is "1 hour"`)
	assert.Len(t, err.(interface{ Unwrap() []error }).Unwrap(), 1, "said once")
}

func TestUnmarshalConfigWithinAService(t *testing.T) {
	var service struct {
		Listen     string
		TokenGuard Config `json:"token_guard"`
	}
	service.TokenGuard = Config{Cache: CacheConfig{TTL: time.Minute, Strict: true}, Dedup: DedupConfig{Similarity: 0.9}}
	require.NoError(t, json.Unmarshal([]byte(`{"listen": ":80", "token_guard": {"cache": {"cache_ttl": 90, "strict": false}}}`), &service))
	want := Config{Cache: CacheConfig{TTL: 90 * time.Second, Strict: true}, Dedup: DedupConfig{Similarity: 0.9}}
	assert.Equal(t, want, service.TokenGuard)

	require.NoError(t, json.Unmarshal([]byte(`{"token_guard": null}`), &service))
	assert.Equal(t, want, service.TokenGuard)

	err := json.Unmarshal([]byte(`{"token_guard": {"dedup": {"similarity_threshold": 0.5}, "cache": {"cache_ttl": -90}}}`), &service)
	var e *ConfigError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, ConfigError{Field: "cache.cache_ttl", Value: "-90", Bound: "a duration above 0 up to 720h0m0s", Offset: 64}, *e)
	assert.Equal(t, want, service.TokenGuard, "a mistake changes nothing")
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(everyField))
	f.Add([]byte(`{"rate_limit": {"max_requests_per_hour": 1e-400, "min_interval": "0.1ns", "max_backoff": 60}, "cache": null}`))
	f.Add([]byte(`{"cache.cache_ttl": 1, "dedup": {"similarity_threshold": -0.0}, "x": [{"y": {}}], "\ud800": "\xff"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			require.Zero(t, c)
			for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
				e := e.(*ConfigError)
				require.NotEmpty(t, e.Field)
				require.NotEmpty(t, e.Value)
				require.NotEmpty(t, e.Bound)
				require.Positive(t, e.Line)
				require.Positive(t, e.Column)
				require.LessOrEqual(t, e.Offset, int64(len(data)))
			}
			return
		}
		require.True(t, json.Valid(data))
		o, err := newOptions([]Option{WithConfig(c)})
		require.NoError(t, err, "what decodes is in bounds")
		for _, s := range configFields.Fields {
			if v := s.Value(&c); !v.IsZero() {
				require.Equal(t, v.Interface(), s.Value(&o.Config).Interface(), s.Path)
			}
		}
		encoded, err := json.Marshal(c)
		require.NoError(t, err)
		again, err := ParseConfig(encoded)
		require.NoError(t, err)
		require.Equal(t, c, again)
	})
}

func ExampleParseConfig() {
	config, err := ParseConfig([]byte(`{"rate_limit": {"max_requests_per_hour": 5, "min_interval": "2m"}}`))
	fmt.Println(config.RateLimit.MaxRequestsPerHour, config.RateLimit.MinInterval, err)

	_, err = ParseConfig([]byte(`{
  "rate_limit": {"max_per_hour": 5},
  "cache": {"cache_ttl": -1}
}`))
	fmt.Println(err)
	// Output:
	// 5 2m0s <nil>
	// tokenguard: line 2, column 18: rate_limit.max_per_hour is an unknown field, must be a known one (did you mean rate_limit.max_requests_per_hour?)
	// tokenguard: line 3, column 26: cache.cache_ttl is -1, must be a duration above 0 up to 720h0m0s
}
