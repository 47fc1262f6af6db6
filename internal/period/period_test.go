package period

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func parse(t *testing.T, text string) Period {
	t.Helper()
	p, err := Parse(text)
	require.NoError(t, err, text)
	return p
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	i, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return i
}

func TestNext(t *testing.T) {
	for _, c := range [][3]string{
		{"daily 00:00 UTC", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"},
		{"daily 00:00 UTC", "2026-02-28T23:59:59Z", "2026-03-01T00:00:00Z"},
		{"daily 23:59 UTC", "2026-03-01T12:00:00Z", "2026-03-01T23:59:00Z"},
		{"daily 00:00 America/Los_Angeles", "2026-01-10T12:00:00Z", "2026-01-11T08:00:00Z"},
		{"daily 00:00 America/Los_Angeles", "2026-07-10T12:00:00Z", "2026-07-11T07:00:00Z"},
		// The clocks go forward on 8 March at 2:00: the day has 23 hours.
		{"daily 00:00 America/Los_Angeles", "2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z"},
		{"daily 02:30 America/Los_Angeles", "2026-03-08T00:00:00Z", "2026-03-08T10:00:00Z"}, // not shown that day: when 3:00 is
		{"daily 02:30 America/Los_Angeles", "2026-03-08T10:00:00Z", "2026-03-09T09:30:00Z"},
		// And back on 1 November at 2:00: 1:30 is shown twice, and counts once.
		{"daily 01:30 America/Los_Angeles", "2026-11-01T00:00:00Z", "2026-11-01T08:30:00Z"},
		{"daily 01:30 America/Los_Angeles", "2026-11-01T08:30:00Z", "2026-11-02T09:30:00Z"},
		{"daily 02:00 America/Los_Angeles", "2026-11-01T00:00:00Z", "2026-11-01T10:00:00Z"},
		{"daily 00:00 America/Los_Angeles", "2026-11-01T08:00:00Z", "2026-11-02T08:00:00Z"},
		{"daily 00:00 Asia/Beirut", "2026-03-28T12:00:00Z", "2026-03-28T22:00:00Z"},    // the day begins at 1:00
		{"daily 00:00 America/Havana", "2026-10-31T12:00:00Z", "2026-11-01T04:00:00Z"}, // midnight is shown twice
		{"daily 00:00 America/Havana", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},
		{"daily 12:00 Pacific/Apia", "2011-12-30T00:00:00Z", "2011-12-30T10:00:00Z"}, // 30 December was left out
		{"daily 12:00 Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"},
		{"daily 09:00 UTC+05:30", "2026-01-01T03:30:00Z", "2026-01-02T03:30:00Z"},
		{"daily 09:00 UTC-08:00", "2026-01-01T03:30:00Z", "2026-01-01T17:00:00Z"},
		{"monthly 1 UTC", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"},
		{"monthly 31 UTC", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"},
		{"monthly 31 UTC", "2028-02-01T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"monthly 31 UTC", "2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z"},
		{"monthly 30 UTC", "2026-02-28T12:00:00Z", "2026-03-30T00:00:00Z"},
		{"monthly 1 Pacific/Kiritimati", "2026-02-28T09:59:59Z", "2026-02-28T10:00:00Z"},
		{"monthly 1 America/New_York", "2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z"},
	} {
		next := parse(t, c[0]).Next(at(t, c[1]))
		assert.Equal(t, c[2], next.UTC().Format(time.RFC3339), "%s after %s", c[0], c[1])
	}
	assert.Zero(t, Period{}.Next(at(t, "2026-01-01T00:00:00Z")))
	assert.Zero(t, parse(t, "rolling 24h").Next(at(t, "2026-01-01T00:00:00Z")))
	assert.Equal(t, 24*time.Hour, parse(t, "rolling 24h").Length())
}

// Against clocks that are read minute by minute.
func TestNextAsTheClocksShowIt(t *testing.T) {
	zones := []string{"America/Los_Angeles", "America/Havana", "Australia/Lord_Howe", "Asia/Beirut", "Africa/Casablanca", "America/Sao_Paulo",
		"Pacific/Apia", "Asia/Kathmandu", "Europe/Dublin", "UTC", "UTC-03:30"}
	rnd, rounds := rand.New(rand.NewPCG(1, 2)), 20
	if os.Getenv("TOKENGUARD_LONG") != "" {
		rounds = 40
	}
	for _, name := range zones {
		zone, err := load(name)
		require.NoError(t, err)
		var changes []time.Time
		for i := at(t, "2011-01-01T00:00:00Z").In(zone); i.Year() < 2027; {
			_, end := i.ZoneBounds()
			if end.IsZero() {
				break
			}
			changes = append(changes, end)
			i = end
		}
		changes = append(changes, at(t, "2026-02-27T00:00:00Z"))
		for range rounds {
			around := changes[rnd.IntN(len(changes))].Truncate(time.Minute).Add(time.Duration(rnd.IntN(4*24*60)-3*24*60) * time.Minute)
			p, err := Daily(rnd.IntN(24), rnd.IntN(60), zone)
			require.NoError(t, err)
			// The first minute after it at which the clocks show a reading that they had not shown before it was due.
			reading := func(i time.Time) time.Time {
				i = i.In(zone)
				return time.Date(i.Year(), i.Month(), i.Day(), i.Hour(), i.Minute(), 0, 0, time.UTC)
			}
			most := reading(around.Add(-72 * time.Hour)) // the latest shown so far
			var want time.Time
			for i := around.Add(-72 * time.Hour); want.IsZero(); i = i.Add(time.Minute) {
				now := reading(i)
				due := time.Date(most.Year(), most.Month(), most.Day(), p.hour, p.minute, 0, 0, time.UTC)
				if !due.After(most) {
					due = due.AddDate(0, 0, 1)
				}
				if !now.Before(due) {
					if i.After(around) {
						want = i
					}
				}
				if now.After(most) {
					most = now
				}
			}
			assert.Equal(t, want.UTC(), p.Next(around).UTC(), "%v after %v", p, around)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "empty",
		"daily":                    "another form",
		"daily 00:00":              "the zone is missing",
		"daily 00:00 UTC now":      "another form",
		"daily 24:00 UTC":          "the hour is 24",
		"daily 00:60 UTC":          "the minute is 60",
		"daily 0000 UTC":           "not HH:MM",
		"daily 00:0 UTC":           "not HH:MM",
		"daily -1:00 UTC":          "not HH:MM",
		"daily 00:00 Mars/Olympus": `the zone "Mars/Olympus" is not known here`,
		"daily 00:00 UTC+5:30":     "is not known here",
		"daily 00:00 ../secrets":   "is not known here",
		"monthly 0 UTC":            "the day is 0",
		"monthly 32 UTC":           "the day is 32",
		"monthly one UTC":          "no number from 1 to 31",
		"weekly 1 UTC":             "another form",
		"rolling":                  "another form",
		"rolling soon":             "no duration",
		"rolling 1s":               "from 1m0s to 744h0m0s",
		"rolling 745h":             "from 1m0s to 744h0m0s",
		"rolling 24h UTC":          "another form",
	} {
		p, err := Parse(text)
		assert.ErrorContains(t, err, want, text)
		assert.Zero(t, p, text)
	}
	_, err := Daily(0, 0, nil)
	assert.ErrorIs(t, err, errZone)
	_, err = Monthly(1, nil)
	assert.ErrorIs(t, err, errZone)
}

func TestStringComesBack(t *testing.T) {
	for _, text := range []string{"daily 00:00 America/Los_Angeles", "daily 07:05 UTC", "monthly 31 Asia/Tokyo", "rolling 24h0m0s", "daily 00:00 UTC-03:30", "daily 00:00 Local"} {
		assert.Equal(t, text, parse(t, text).String())
	}
	assert.Equal(t, "daily 07:05 UTC", parse(t, " DAILY  7:05 UTC").String())
	assert.Empty(t, Period{}.String())

	// A fixed zone goes by its offset, whatever it is called.
	for name, want := range map[string]string{"": "UTC+09:00", "mine": "UTC+09:00", "Europe/Berlin": "UTC+09:00", "Asia/Tokyo": "Asia/Tokyo"} {
		p, err := Daily(0, 0, time.FixedZone(name, 9*3600))
		require.NoError(t, err)
		assert.Equal(t, "daily 00:00 "+want, p.String(), name)
		assert.Equal(t, p.String(), parse(t, p.String()).String())
	}
}

func FuzzParse(f *testing.F) {
	f.Add("daily 00:00 America/Los_Angeles", int64(0))
	f.Add("monthly 31 UTC+05:30", int64(1e9))
	f.Add("rolling 24h", int64(-1e9))
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(p.String())
		require.NoError(t, err)
		require.Equal(t, p.String(), again.String())
		if p.Length() > 0 {
			return
		}
		from := time.Unix(unix%(1<<33), 0)
		next := p.Next(from)
		require.True(t, next.After(from))
		require.Less(t, next.Sub(from), 33*24*time.Hour)
		require.Equal(t, next.Unix(), again.Next(from).Unix())
	})
}
