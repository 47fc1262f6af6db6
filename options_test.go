package tokenguard

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/period"
)

type stoppedClock struct{}

func (stoppedClock) Now() time.Time { return time.Unix(0, 0) }

func TestDefaultsOfOptions(t *testing.T) {
	o, err := newOptions(nil)
	require.NoError(t, err)
	assert.Equal(t, 30*time.Second, o.timeout)
	assert.Equal(t, time.Duration(0), o.refreshAhead)
	assert.Equal(t, time.Second, o.freshness)
	assert.Equal(t, "default", o.name)
	assert.False(t, o.logger.Enabled(t.Context(), slog.LevelError), "the default logger is silent")
	for what, set := range map[string]bool{
		"store": o.store != nil, "state file": o.stateFile, "keys": o.keys != nil, "no tokens": o.noTokens, "name": o.named,
		"clock": o.clock != nil, "observer": len(o.observers) > 0, "personal": o.personal != nil, "fail open": o.sharing,
	} {
		assert.False(t, set, what)
	}
}

func TestEveryOptionSets(t *testing.T) {
	store := NewMemoryStore()
	logger := slog.New(slog.NewTextHandler(new(bytes.Buffer), nil))
	var events []Event
	o, err := newOptions([]Option{
		WithRateLimits(everyFieldSet.RateLimit),
		WithCache(everyFieldSet.Cache),
		WithDedup(everyFieldSet.Dedup),
		WithManager(everyFieldSet.Manager),
		WithPredictor(everyFieldSet.Predictor),
		WithClassifier(func(Failure) Class { return ClassForbidden }),
		WithPersonalToken(func(context.Context) (Token, error) { return NewToken("p", time.Time{}), nil }),
		WithRequestTimeout(time.Minute),
		WithRefreshAhead(2 * time.Minute),
		WithFreshness(3 * time.Second),
		WithStore(store),
		WithEncryption(make([]byte, 32), bytes.Repeat([]byte{7}, 32)),
		WithoutTokenPersistence(),
		WithName("a-Z_0.9"),
		WithClock(stoppedClock{}),
		WithLogger(logger),
		WithObserver(func(e Event) { events = append(events, e) }),
		WithFailOpenToLocalShare(1),
	})
	require.NoError(t, err)
	assert.Equal(t, everyFieldSet, o.Config)
	assert.Equal(t, ClassForbidden, o.classifier(Failure{}))
	personal, err := o.personal(t.Context())
	require.NoError(t, err)
	assert.Equal(t, TokenID("p"), personal.ID())
	assert.Equal(t, time.Minute, o.timeout)
	assert.Equal(t, 2*time.Minute, o.refreshAhead)
	assert.Equal(t, 3*time.Second, o.freshness, "a clock changes only the default")
	assert.Same(t, store, o.store)
	assert.Equal(t, [][]byte{make([]byte, 32), bytes.Repeat([]byte{7}, 32)}, o.keys)
	assert.True(t, o.noTokens)
	assert.Equal(t, "a-Z_0.9", o.name)
	assert.True(t, o.named)
	assert.Equal(t, stoppedClock{}, o.clock)
	assert.Same(t, logger, o.logger)
	o.observers[0](Event{Guard: "x"})
	assert.Equal(t, []Event{{Guard: "x"}}, events)
	assert.True(t, o.sharing)

	o, err = newOptions([]Option{WithStateFile("a.json"), WithClock(stoppedClock{})})
	require.NoError(t, err)
	assert.True(t, o.stateFile)
	assert.Equal(t, "a.json", o.statePath)
	assert.Equal(t, time.Duration(0), o.freshness, "with a clock each call looks")

	o, err = newOptions([]Option{WithStateFile(""), WithName("x")})
	require.NoError(t, err)
	assert.True(t, o.stateFile)
}

// Each struct option sets each of its fields and leaves the others, as WithConfig does.
func TestStructOptionsSetOneField(t *testing.T) {
	for _, s := range configFields.Fields {
		var c Config
		v, all := s.Value(&c), everyFieldSet
		v.Set(s.Value(&all))
		switch s.Path { // good beside the other's default
		case pathBackoffBase, pathMaxBackoff:
			v.SetInt(int64(1000 * time.Second))
		case pathKeyBase, pathMaxKey:
			v.SetInt(int64(90 * time.Minute))
		}
		want := Conservative()
		s.Value(&want).Set(v)
		for name, opts := range map[string][]Option{
			"WithConfig": {WithConfig(c)},
			"struct options": {WithRateLimits(c.RateLimit), WithCache(c.Cache), WithDedup(c.Dedup),
				WithManager(c.Manager), WithPredictor(c.Predictor)},
		} {
			o, err := newOptions(opts)
			require.NoError(t, err, "%s by %s", s.Path, name)
			assert.Equal(t, want, o.Config, "%s by %s", s.Path, name)
		}
	}
}

func TestOptionsApplyInOrder(t *testing.T) {
	o, err := newOptions([]Option{
		WithConfig(Moderate()),
		WithRateLimits(RateLimits{MaxRequestsPerHour: 5}),
		WithRateLimits(RateLimits{MinInterval: time.Second}),
		WithManager(ManagerConfig{Confirmation: time.Second}),
		WithConfig(Config{Cache: CacheConfig{Strict: true}}),
		WithConfig(Config{}),
		WithName("a"), WithName("b"),
		WithRequestTimeout(time.Minute), WithRequestTimeout(0),
		WithRefreshAhead(time.Minute), WithRefreshAhead(0),
		WithFreshness(time.Minute), WithFreshness(0),
		WithStateFile("a"), WithStateFile("b"),
		WithEncryption(make([]byte, 32), make([]byte, 32)), WithEncryption(bytes.Repeat([]byte{1}, 32)),
	})
	require.NoError(t, err)
	want := Moderate()
	want.RateLimit.MaxRequestsPerHour, want.RateLimit.MinInterval = 5, time.Second
	want.Manager.Confirmation, want.Cache.Strict = time.Second, true
	assert.Equal(t, want, o.Config, "also ReplaceSpentEarly stays")
	assert.Equal(t, "b", o.name)
	assert.Equal(t, time.Minute, o.timeout, "nothing switches the timeout off")
	assert.Equal(t, time.Duration(0), o.refreshAhead)
	assert.Equal(t, time.Duration(0), o.freshness)
	assert.Equal(t, "b", o.statePath)
	assert.Equal(t, [][]byte{bytes.Repeat([]byte{1}, 32)}, o.keys)

	o, err = newOptions([]Option{WithRateLimits(RateLimits{MaxRequestsPerHour: 1}), WithConfig(Moderate())})
	require.NoError(t, err)
	assert.Equal(t, Moderate(), o.Config, "a preset is complete")
}

func TestHourLimitAboveDayLimitIsNoMistake(t *testing.T) {
	_, err := newOptions([]Option{WithRateLimits(RateLimits{MaxRequestsPerDay: 2})})
	assert.NoError(t, err)
}

func TestKeysAreCopied(t *testing.T) {
	key := make([]byte, 32)
	o, err := newOptions([]Option{WithEncryption(key)})
	require.NoError(t, err)
	key[0] = 1
	assert.Equal(t, make([]byte, 32), o.keys[0])
}

func TestMistakesInOptions(t *testing.T) {
	const name = `, must be 1 to 64 letters, digits, "-", "_" and ".", not starting with a dot`
	for want, opts := range map[string][]Option{
		"option 2 is nil, must be an Option": {WithName("a"), nil},
		"rate_limit.max_requests_per_hour is -1, must be a whole number from 1 to 10000": {
			WithRateLimits(RateLimits{MaxRequestsPerHour: -1})},
		"rate_limit.max_requests_per_day is 10001, must be a whole number from 1 to 10000": {
			WithConfig(Config{RateLimit: RateLimits{MaxRequestsPerDay: 10001}}), WithConfig(Moderate())},
		"cache.cache_ttl is 720h0m0.000000001s, must be a duration above 0 up to 720h0m0s": {
			WithCache(CacheConfig{TTL: 720*time.Hour + 1})},
		"dedup.similarity_threshold is 1.5, must be a number above 0 up to 1":    {WithDedup(DedupConfig{Similarity: 1.5})},
		"manager.confirmation is -1ns, must be a duration above 0 up to 24h0m0s": {WithManager(ManagerConfig{Confirmation: -1})},
		"predictor.confidence is 1, must be a number above 0 and below 1":        {WithPredictor(PredictorConfig{Confidence: 1})},
		"rate_limit.max_backoff is 1m0s, must be at least rate_limit.failure_backoff_base, 10m0s": {
			WithRateLimits(RateLimits{MaxBackoff: time.Minute})},
		"rate_limit.max_backoff is 1h0m0s, must be at least rate_limit.failure_backoff_base, 2h0m0s": {
			WithRateLimits(RateLimits{FailureBackoffBase: 2 * time.Hour})},
		"rate_limit.failure_backoff_base is 25h0m0s, must be a duration above 0 up to 24h0m0s": {
			WithRateLimits(RateLimits{FailureBackoffBase: 25 * time.Hour})},
		"rate_limit.max_key_backoff is 30m0s, must be at least rate_limit.key_backoff_base, 1h0m0s": {
			WithRateLimits(RateLimits{MaxKeyBackoff: 30 * time.Minute})},
		"rate_limit.key_backoff_base is 24h0m0.000000001s, must be a duration above 0 up to 24h0m0s": {
			WithRateLimits(RateLimits{KeyBackoffBase: 24*time.Hour + 1})},
		"manager.quota_period is not one (the zone is missing: name one, or UTC), must be " + period.Forms:   {WithManager(ManagerConfig{QuotaPeriod: Daily(0, 0, nil)})},
		"manager.quota_period is not one (the hour is 24, from 0 to 23), must be " + period.Forms:            {WithManager(ManagerConfig{QuotaPeriod: Daily(24, 0, time.UTC)})},
		"manager.quota_period is not one (the day is 0, from 1 to 31), must be " + period.Forms:              {WithManager(ManagerConfig{QuotaPeriod: Monthly(0, time.UTC)})},
		"manager.quota_period is not one (the length is 1s, from 1m0s to 744h0m0s), must be " + period.Forms: {WithManager(ManagerConfig{QuotaPeriod: Rolling(time.Second)})},
		"WithCandidate: rate_limit.max_key_backoff is 1m0s, must be at least rate_limit.key_backoff_base, 1h0m0s": {
			WithCandidate(Config{RateLimit: RateLimits{MaxKeyBackoff: time.Minute}})},
		"rate_limit.max_backoff is -1ns, must be a duration above 0 up to 24h0m0s": {WithRateLimits(RateLimits{MaxBackoff: -1})},
		"WithClassifier is nil, must be a function":                                {WithClassifier(nil)},
		"WithPersonalToken is nil, must be a function":                             {WithPersonalToken(nil)},
		"WithObserver is nil, must be a function":                                  {WithObserver(nil)},
		"WithClock is nil, must be a Clock":                                        {WithClock(nil)},
		"WithStore is nil, must be a Store":                                        {WithStore(nil)},
		"WithLogger is nil, must be a logger; leave it out for silence":            {WithLogger(nil)},
		"WithRequestTimeout is -1s, must be from 0 to 1h0m0s":                      {WithRequestTimeout(-time.Second)},
		"WithRequestTimeout is 1h0m0.000000001s, must be from 0 to 1h0m0s":         {WithRequestTimeout(time.Hour + 1)},
		"WithRefreshAhead is -1s, must be from 0 to 24h0m0s":                       {WithRefreshAhead(-time.Second)},
		"WithRefreshAhead is 24h0m0.000000001s, must be from 0 to 24h0m0s":         {WithRefreshAhead(24*time.Hour + 1)},
		"WithFreshness is -1s, must be from 0 to 1h0m0s":                           {WithFreshness(-time.Second)},
		"WithFreshness is 1h0m0.000000001s, must be from 0 to 1h0m0s":              {WithFreshness(time.Hour + 1)},
		"WithEncryption is without keys, must be given at least one":               {WithEncryption()},
		"WithEncryption key 2 is 31 bytes, must be 32 bytes":                       {WithEncryption(make([]byte, 32), make([]byte, 31))},
		"WithEncryption key 1 is 0 bytes, must be 32 bytes":                        {WithEncryption(nil)},
		`WithStateFile is "s.json" beside WithStore, must be the only store, or left out`: {
			WithStateFile("s.json"), WithStore(NewMemoryStore()), WithName("a")},
		"WithName is missing, must be set with WithStore: tokens and limits are shared by name": {WithStore(NewMemoryStore())},
		"WithName is missing, must be set with an empty state file path: it names the file":     {WithStateFile("")},
		`WithName is ""` + name:                                  {WithName("")},
		`WithName is ".hidden"` + name:                           {WithName(".hidden")},
		`WithName is "a/b"` + name:                               {WithName("a/b")},
		`WithName is "é"` + name:                                 {WithName("é")},
		`WithName is "` + strings.Repeat("x", 59) + "..." + name: {WithName(strings.Repeat("x", 65))},
	} {
		o, err := newOptions(opts)
		assert.EqualError(t, err, "tokenguard: "+want)
		assert.Nil(t, o)
		var e *ConfigError
		if assert.ErrorAs(t, err, &e) {
			assert.NotEmpty(t, e.Field)
			assert.NotEmpty(t, e.Value)
			assert.NotEmpty(t, e.Bound)
		}
	}
	_, err := newOptions([]Option{WithName(strings.Repeat("x", 64)), WithRequestTimeout(time.Hour),
		WithRefreshAhead(24 * time.Hour), WithFreshness(time.Hour)})
	assert.NoError(t, err)
}

func TestAllMistakesInOptionsComeTogether(t *testing.T) {
	_, err := newOptions([]Option{
		WithConfig(Config{Cache: CacheConfig{TTL: -1, MaxTokens: -1}}), WithRateLimits(RateLimits{MaxBackoff: 1}),
		WithName(""), WithClock(nil), WithStateFile("a"), WithStore(NewMemoryStore()), WithEncryption([]byte("short"), nil),
	})
	var fields []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		fields = append(fields, e.(*ConfigError).Field)
	}
	assert.Equal(t, []string{"cache.cache_ttl", "cache.max_cache_size", "WithName", "WithClock", "WithEncryption key 1",
		"WithEncryption key 2", pathMaxBackoff, "WithStateFile"}, fields)
	assert.NotContains(t, err.Error(), "short")
	assert.NotContains(t, err.Error(), fmt.Sprint([]byte("short")))
}
