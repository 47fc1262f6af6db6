package tokenguard_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

func TestQuotaPeriodAsText(t *testing.T) {
	la, err := time.LoadLocation("America/Los_Angeles")
	require.NoError(t, err)
	for text, want := range map[string]tokenguard.QuotaPeriod{
		"daily 00:30 America/Los_Angeles": tokenguard.Daily(0, 30, la),
		"monthly 31 UTC":                  tokenguard.Monthly(31, time.UTC),
		"rolling 24h0m0s":                 tokenguard.Rolling(24 * time.Hour),
		"daily 09:00 UTC+05:30":           tokenguard.Daily(9, 0, time.FixedZone("", 19800)),
	} {
		got, err := tokenguard.ParsePeriod(text)
		require.NoError(t, err)
		assert.Equal(t, want.String(), got.String())
		assert.Equal(t, text, got.String())
		assert.False(t, got.IsZero())
		var config tokenguard.Config
		require.NoError(t, json.Unmarshal(fmt.Appendf(nil, `{"manager": {"quota_period": %q}}`, text), &config))
		assert.Equal(t, got.String(), config.Manager.QuotaPeriod.String())
		b, err := json.Marshal(tokenguard.Config{Manager: tokenguard.ManagerConfig{QuotaPeriod: want}})
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf(`{"manager":{"quota_period":%q}}`, text), string(b))
	}
	var none tokenguard.QuotaPeriod
	assert.True(t, none.IsZero())
	assert.Empty(t, none.String())
	require.NoError(t, none.UnmarshalText(nil))
	assert.True(t, none.IsZero())

	wrong := tokenguard.Daily(24, 0, time.UTC)
	assert.False(t, wrong.IsZero(), "or New would not see it")
	assert.Equal(t, "invalid: the hour is 24, from 0 to 23", wrong.String())
	_, err = json.Marshal(tokenguard.Config{Manager: tokenguard.ManagerConfig{QuotaPeriod: wrong}})
	assert.ErrorContains(t, err, "the hour is 24")
}

func TestQuotaPeriodThatCannotBe(t *testing.T) {
	_, err := tokenguard.ParsePeriod("daily 00:00 Mars/Olympus")
	assert.EqualError(t, err, `tokenguard: the quota period "daily 00:00 Mars/Olympus": the zone "Mars/Olympus" is not known here: either its name is wrong, `+
		`or there are no zone data (a program brings its own with import _ "time/tzdata"); want "daily HH:MM ZONE", "monthly DAY ZONE" or "rolling DURATION", `+
		`such as "daily 00:00 America/Los_Angeles"`)
	_, err = tokenguard.ParseConfig([]byte(`{"manager": {"quota_period": "daily 00:00 Mars/Olympus"}}`))
	e, ok := errors.AsType[*tokenguard.ConfigError](err)
	require.True(t, ok)
	assert.Equal(t, "manager.quota_period", e.Field)
	assert.Equal(t, 30, e.Column)
	assert.Contains(t, e.Value, `the zone "Mars/Olympus" is not known here`)
	_, err = tokenguard.New(nil, tokenguard.WithManager(tokenguard.ManagerConfig{QuotaPeriod: tokenguard.Monthly(1, nil)}))
	assert.ErrorContains(t, err, "manager.quota_period is not one (the zone is missing: name one, or UTC)")
}

func ExampleParsePeriod() {
	period, err := tokenguard.ParsePeriod("daily 00:00 America/Los_Angeles")
	fmt.Println(period, err)
	// Output: daily 00:00 America/Los_Angeles <nil>
}
