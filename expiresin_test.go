package tokenguard_test

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

type tokenAnswer struct {
	ExpiresIn tokenguard.ExpiresIn `json:"expires_in"`
}

func TestExpiresInAsUpstreamsSendIt(t *testing.T) {
	const most, least = time.Duration(math.MaxInt64), time.Duration(math.MinInt64)
	for text, want := range map[string]time.Duration{
		`{}`:                              0,
		`{"expires_in": null}`:            0,
		`{"expires_in": ""}`:              0,
		`{"expires_in": " "}`:             0,
		`{"expires_in": 0}`:               0,
		`{"expires_in": "0"}`:             0,
		`{"expires_in": -0.0}`:            0,
		`{"expires_in": 0e9}`:             0,
		`{"expires_in": 3600}`:            time.Hour,
		`{"expires_in": 3599.5}`:          time.Hour - time.Second/2,
		`{"expires_in": 3.6e3}`:           time.Hour,
		`{"expires_in": 36E+2}`:           time.Hour,
		`{"expires_in": "3600"}`:          time.Hour,
		`{"expires_in": " 3600 "}`:        time.Hour,
		`{"expires_in": "+3600"}`:         time.Hour,
		`{"expires_in": "3600.0"}`:        time.Hour,
		`{"expires_in": "3600s"}`:         time.Hour,
		`{"expires_in": "0.25s"}`:         time.Second / 4,
		`{"expires_in": "\u0033600"}`:     time.Hour,
		`{"expires_in": -1}`:              -time.Second,
		`{"expires_in": "-1"}`:            -time.Second,
		`{"expires_in": 315360000}`:       3650 * 24 * time.Hour,
		`{"expires_in": 315360000.5}`:     3650*24*time.Hour + time.Second/2,
		`{"expires_in": 1e12}`:            most,
		`{"expires_in": 1e999}`:           most,
		`{"expires_in": "9999999999999"}`: most,
		`{"expires_in": -1e12}`:           least,
		`{"expires_in": -1e999}`:          least,
		`{"expires_in": 1e-12}`:           1,
		`{"expires_in": 1e-999}`:          1,
		`{"expires_in": "-1e-999"}`:       -1,
	} {
		var answer tokenAnswer
		if assert.NoError(t, json.Unmarshal([]byte(text), &answer), text) {
			assert.Equal(t, want, time.Duration(answer.ExpiresIn), text)
		}
	}
}

func TestExpiresInThatIsNone(t *testing.T) {
	for _, value := range []string{`true`, `{}`, `[3600]`, `"soon"`, `"1h"`, `"s"`, `"3600ss"`, `"3600 s s"`, `"0x10"`, `"Inf"`, `"NaN"`, `"-"`, `"e"`, `"1e"`, `"36 00"`, `"3,600"`,
		`"made-up-secret-value"`} {
		answer := tokenAnswer{5}
		err := json.Unmarshal([]byte(`{"expires_in": `+value+`}`), &answer)
		if assert.Error(t, err, value) {
			assert.True(t, strings.HasPrefix(err.Error(), "tokenguard: a lifetime (expires_in) must be a number of seconds"), err)
			assert.NotContains(t, err.Error(), "made-up-secret-value")
		}
		assert.EqualValues(t, 5, answer.ExpiresIn, "what cannot be read changes nothing")
	}
}

func TestExpiresInIsWrittenInSeconds(t *testing.T) {
	for want, d := range map[string]time.Duration{"3600": time.Hour, "0": 0, "-1.5": -3 * time.Second / 2, "0.000000001": 1} {
		b, err := json.Marshal(tokenguard.ExpiresIn(d))
		require.NoError(t, err)
		assert.Equal(t, want, string(b))
	}
	assert.Equal(t, "1h0m0s", tokenguard.ExpiresIn(time.Hour).String())
}

// What a guard makes of each: a lifetime, none that was stated, or a token that is no use.
func TestALifetimeFromTheAnswer(t *testing.T) {
	for value, want := range map[string]time.Duration{`3600`: time.Hour, `"120"`: 2 * time.Minute, `null`: 0, `0`: 0, `1e999`: math.MaxInt64, `-5`: -1} {
		clock := tokenguardtest.NewClock(time.Time{})
		guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			var answer tokenAnswer
			if err := json.Unmarshal([]byte(`{"expires_in": `+value+`}`), &answer); err != nil {
				return tokenguard.Token{}, err
			}
			return tokenguard.NewTokenIn("made up", time.Duration(answer.ExpiresIn)), nil
		}, tokenguard.WithClock(clock))
		require.NoError(t, err)
		token, err := guard.Token(t.Context())
		switch {
		case want < 0:
			assert.ErrorContains(t, err, "has expired already", value)
		case want == 0:
			require.NoError(t, err, value)
			assert.Zero(t, token.Expiry(), "not stated: the TTL of the cache decides")
		case want == math.MaxInt64:
			require.NoError(t, err, value)
			assert.Greater(t, token.Expiry().Year(), 2200)
		default:
			require.NoError(t, err, value)
			assert.Equal(t, want, token.Expiry().Sub(clock.Now()), value)
		}
		require.NoError(t, guard.Close())
	}
}

func FuzzExpiresIn(f *testing.F) {
	for _, s := range []string{`3600`, `"3600s"`, `-1e-999`, `1e12`, `null`, `{"a": 1}`, `"\ud800"`, `00`, `9223372036.854775807`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var e, again tokenguard.ExpiresIn
		if json.Unmarshal(data, &e) != nil {
			return
		}
		b, err := json.Marshal(e)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, &again))
		d, back := time.Duration(e), time.Duration(again)
		require.Equal(t, d > 0, back > 0, "%s: a lifetime that was stated stays one", data)
		require.Equal(t, d < 0, back < 0, "%s", data)
		if d.Abs() < 30*24*time.Hour {
			require.Equal(t, d, back, "%s", data)
		} else {
			require.InEpsilon(t, float64(d), float64(back), 1e-15, "%s", data)
		}
	})
}
