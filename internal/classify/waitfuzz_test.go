package classify

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// requireCut holds every parser to what its callers build on: what is left over
// is the end of what came in, and less of it if something was read.
func requireCut(t *testing.T, s, rest string, ok bool) {
	t.Helper()
	if ok {
		require.True(t, strings.HasSuffix(s, rest), "%q of %q", rest, s)
		require.Less(t, len(rest), len(s))
	}
}

func requireMoment(t *testing.T, m moment, ok bool) {
	t.Helper()
	if !ok {
		return
	}
	require.GreaterOrEqual(t, m.wait, time.Duration(0))
	require.LessOrEqual(t, m.wait, maxWait)
	require.GreaterOrEqual(t, m.spread, time.Duration(0))
	require.LessOrEqual(t, m.spread, firstZone+lastZone)
	for _, limit := range []time.Duration{LongestWait, longestReset} {
		if d, meant := m.until(clock{base: formsAt, now: formsAt}, limit); meant && m.instant {
			require.GreaterOrEqual(t, d, time.Duration(0))
			require.LessOrEqual(t, d, limit)
			if m.spread > 0 {
				require.True(t, m.at.Add(-m.spread).After(formsAt), "an instant without a zone is ahead in every zone")
			}
		}
	}
}

func FuzzCutDuration(f *testing.F) {
	for _, s := range []string{"6m12s", "1 hour, 5 minutes and 3 seconds", "二十四小时", "半小时", "1.500 Sekunden", "1,5 Stunden", "985.86µs", "полчаса", "mezz'ora", "a few minutes", "３０秒", "5分30秒", "99999999999999999999 weeks", "1h0m0.5s", "MƯỜI phút"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, rest, ok := cutDuration(s)
		requireCut(t, s, strings.TrimPrefix(rest, "час"), ok && !strings.HasPrefix(rest, "час"))
		requireMoment(t, moment{wait: d}, ok)
		if s != "" {
			_, _, _ = cutNumeral(s)
		}
		_, rest, ok = cutUnit(s)
		requireCut(t, s, rest, ok)
	})
}

func FuzzCutISODuration(f *testing.F) {
	for _, s := range []string{"PT5M", "P1DT12H", "P2W", "PT1.5S", "P1M", "PT", "P1D2D", "PT5M5H"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, rest, ok := cutISODuration(s)
		requireCut(t, s, rest, ok)
		requireMoment(t, moment{wait: d}, ok)
	})
}

func FuzzCutClockDuration(f *testing.F) {
	for _, s := range []string{"03:14:17", "20.09:58:55", "00:00:00.5", "24:00:00", "1.24:00:00", "00:60:00", "99999:00:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, rest, ok := cutClockDuration(s)
		requireCut(t, s, rest, ok)
		requireMoment(t, moment{wait: d}, ok)
	})
}

func FuzzCutInstant(f *testing.F) {
	for _, s := range []string{"Wed, 04 Mar 2026 10:12:00 GMT", "Wednesday, 04-Mar-26 10:12:00 GMT", "Wed Mar  4 10:12:00 2026", "2026-03-04T10:12:00.5+08:00", "2026-Mar-04 10:12:00+0000 UTC",
		"2026年3月4日 下午6点12分", "4. März 2026 um 10:12 MEZ", "Mar 6 at 10:10 UTC", "13/03/2026", "March 6th, 2026 5 PM (America/New_York)", "2026-03-04 10:12 UTC+99", "6 de marzo de 2026", "midnight Pacific Time (PT)", "tomorrow at 9:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, rest, ok := cutInstant(s, formsAt)
		requireCut(t, s, rest, ok)
		requireMoment(t, m, ok)
		if s != "" {
			m, rest, ok = cutTimeOfDay(s, formsAt)
			requireCut(t, s, rest, ok)
			requireMoment(t, m, ok)
		}
		_, rest, ok = cutZone(s)
		requireCut(t, s, rest, ok)
	})
}

func FuzzRetryAfterHeader(f *testing.F) {
	for _, s := range []string{"30, 60", "Wed, 04 Mar 2026 10:12:00 GMT, 30", "1772619120000000", "1e9", "\x00", ",,,", "30;x"} {
		f.Add("Retry-After", s)
	}
	f.Add("X-Rate-Limit-Retry-After-Ms", "1200")
	f.Fuzz(func(t *testing.T, name, value string) {
		d, source, ok := headerWait(map[string][]string{name: {value}}, clock{base: formsAt, now: formsAt})
		requireMoment(t, moment{wait: d}, ok)
		if ok {
			require.Equal(t, name, source)
			require.True(t, ReadsHeader(name), "what is read is part of what makes two answers the same")
		}
	})
}

func FuzzBodyFields(f *testing.F) {
	for _, s := range []string{`{"retry_after":12}`, `{"a":{"exceeded":true,"resets_in":9}}`, `<RetryAfter>12</RetryAfter>`, `retryDelay: {"seconds":"37"}`, `{{{{"reset":`, `}}}}"reset_at":1772619120`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		readFields(text, formsAt, func(hit found) {
			requireMoment(t, hit.moment, true)
			require.Contains(t, text, hit.source.Name)
		})
	})
}

func FuzzProse(f *testing.F) {
	for _, s := range []string{"try again in 5-10 minutes", "请在 30 秒后重试", "将在 2026-03-02 13:56:47 UTC+8 重置", "Подождите полчаса", "resets at midnight UTC", "in in in in in 5 s", "\xff again in 5s \xc3", "再再再一一一秒后"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		readProse(text, clock{base: formsAt, now: formsAt}, func(hit found) {
			requireMoment(t, hit.moment, true)
			require.Contains(t, text, hit.source.Name)
			require.LessOrEqual(t, len(hit.source.Name), maxQuote)
		})
	})
}

func FuzzWindowHeaders(f *testing.F) {
	f.Add("Ratelimit", `"a, b";r=0;t=9`, "Ratelimit-Policy", "100;w=60, 9;w=1")
	f.Add("X-Ratelimit-Reset", "9, 900", "X-Ratelimit-Remaining", "3, 0")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		header := map[string][]string{name1: {value1}, name2: {value2}}
		for _, w := range readWindowHeaders(header, formsAt) {
			require.GreaterOrEqual(t, w.limit, int64(0))
			require.GreaterOrEqual(t, w.remaining, int64(0))
			require.GreaterOrEqual(t, w.length, time.Duration(0))
			requireMoment(t, w.reset, w.hasReset)
		}
		for range 4 { // in whatever order the map gives them
			require.Equal(t, ReadHints(Input{StatusCode: 429, Header: header}, formsAt), ReadHints(Input{StatusCode: 429, Header: header}, formsAt))
		}
	})
}

// Whatever Go, an HTTP server or JSON prints of a time is read as that time.
func TestWaitRoundTrips(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		d := time.Duration(rnd.Int64N(int64(LongestWait) - int64(time.Hour)))
		if rnd.IntN(2) == 0 {
			d = time.Duration(rnd.Int64N(int64(10 * time.Second)))
		}
		m, ok := parseMoment(d.String(), time.Second, formsAt)
		require.True(t, ok, "%v", d)
		require.Equal(t, d, m.wait, "%v", d)

		at := formsAt.Add(d.Truncate(time.Second))
		for _, form := range []string{http.TimeFormat, time.RFC850, time.ANSIC, time.RFC3339, time.RFC1123Z, time.RFC3339Nano, "2006-01-02 15:04:05 -0700 MST"} {
			in := at
			if form == time.RFC3339Nano || form == time.RFC1123Z {
				in = at.In(time.FixedZone("", (rnd.IntN(26)-12)*3600+rnd.IntN(2)*1800))
			}
			text := in.Format(form)
			got, ok := valueWait(text, time.Second, clock{base: formsAt, now: formsAt})
			require.True(t, ok, text)
			require.Equal(t, at.Sub(formsAt), got, text)
		}
	}
}

// Our clock and the answer's differ: instants are read by the answer's.
func TestAnswerTime(t *testing.T) {
	for date, want := range map[string]time.Time{
		formsAt.Add(3 * time.Hour).Format(http.TimeFormat):   formsAt.Add(3 * time.Hour),
		formsAt.Add(-24 * time.Hour).Format(http.TimeFormat): formsAt.Add(-24 * time.Hour),
		formsAt.Add(3 * time.Hour).Format(time.ANSIC):        formsAt.Add(3 * time.Hour),
		formsAt.Add(3 * time.Hour).Format(time.RFC850):       formsAt.Add(3 * time.Hour),
		formsAt.Add(25 * time.Hour).Format(http.TimeFormat):  formsAt,
		formsAt.AddDate(-3, 0, 0).Format(http.TimeFormat):    formsAt,
		"today": formsAt,
		"":      formsAt,
	} {
		require.True(t, want.Equal(AnswerTime(map[string][]string{"date": {date}}, formsAt)), date)
	}
	require.True(t, AnswerTime(nil, time.Time{}).IsZero())
	require.True(t, formsAt.Equal(AnswerTime(map[string][]string{"Date": {formsAt.Format(http.TimeFormat)}}, time.Time{})))

	// An upstream three hours ahead.
	theirs := formsAt.Add(3 * time.Hour)
	header := http.Header{"Date": {theirs.Format(http.TimeFormat)}, "Retry-After": {theirs.Add(time.Minute).Format(http.TimeFormat)}}
	h := ReadHints(Input{StatusCode: 429, Header: header}, formsAt)
	require.Equal(t, time.Minute, h.RetryAfter)
	h = ReadHints(Input{StatusCode: 429, Header: header, Text: `{"resets_at":"` + theirs.Add(time.Hour).Format(time.RFC3339) + `"}`}, formsAt)
	require.True(t, formsAt.Add(time.Hour).Equal(h.ResetAt), "on our clock: %v", h.ResetAt)
	delete(header, "Retry-After")
	header.Set("X-RateLimit-Reset", theirs.Add(time.Minute).Format(time.RFC3339))
	h = ReadHints(Input{StatusCode: 429, Header: header}, formsAt)
	require.Equal(t, time.Minute, h.RetryAfter)
	require.True(t, formsAt.Add(time.Minute).Equal(h.ResetAt))
	h = ReadHints(Input{StatusCode: 429, Header: http.Header{"Date": header["Date"]}, Text: "resets at midnight UTC"}, formsAt)
	require.Equal(t, 10*time.Hour+50*time.Minute, h.RetryAfter, "their midnight")
}

// A class waits only so long for a date without a zone.
func TestZonelessBound(t *testing.T) {
	h := ReadHints(Input{StatusCode: 429, Text: "Your usage limit resets at 2026-03-06 10:10:00"}, formsAt)
	require.True(t, h.Zoneless)
	require.Equal(t, 60*time.Hour, h.For(QuotaExhausted).RetryAfter)
	require.False(t, h.For(RateLimited).HasRetryAfter)
	h = ReadHints(Input{StatusCode: 429, Text: "Your usage limit resets at 2026-03-06 10:10:00 UTC"}, formsAt)
	require.False(t, h.Zoneless)
	require.Equal(t, h, h.For(RateLimited), "a stated zone leaves nothing open")
}

func TestSourceInWords(t *testing.T) {
	for _, c := range []struct {
		in   Input
		want string
	}{
		{Input{StatusCode: 429, Header: http.Header{"Retry-After": {"9"}}}, "header Retry-After"},
		{Input{StatusCode: 429, Header: http.Header{"X-Ratelimit-Reset": {"9"}}}, "header X-Ratelimit-Reset"},
		{Input{StatusCode: 429, Text: `{"error":{"retryDelay":"9s"}}`}, "field retryDelay"},
		{Input{StatusCode: 429, Text: "Slow down. Please try again in 6m12s, or buy more."}, `text "again in 6m12s"`},
		{Input{StatusCode: 429, Text: "请在 30 秒后重试"}, `text "30 秒后"`},
		{Input{StatusCode: 429, Text: "come back later"}, `text "later"`},
		{Input{StatusCode: 429}, ""},
	} {
		require.Equal(t, c.want, ReadHints(c.in, formsAt).Source.String())
	}
}

// A text made to be slow: no more of its times are looked at closely than maxStatements.
func TestProseIsBounded(t *testing.T) {
	for _, piece := range []string{"again in 6s. ", "1s ", "again in ", "一", "Mar 1 ", "5 PM PST ", `"reset":1,{`, "retry_after=", "1:1:1:", "+0000 UTC ", "half a ", "在"} {
		text := strings.Repeat(piece, MaxText/len(piece))
		read := 0
		readProse(text, clock{now: formsAt}, func(found) { read++ })
		require.LessOrEqual(t, read, maxStatements, piece)
	}
}
