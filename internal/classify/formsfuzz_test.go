package classify

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// The order of the headers, the case of their names and what no rule reads make
// no difference.
func FuzzHeaderOrder(f *testing.F) {
	f.Add("Retry-After", "30", "X-Ratelimit-Reset", "1772619120", "X-Error-Message", "daily quota exceeded")
	f.Add("Ratelimit", `"a";r=0;t=9`, "Ratelimit-Policy", `"a";q=5;w=60`, "Server", "nginx")
	f.Add("Www-Authenticate", `Bearer error="invalid_token"`, "X-Ratelimit-Remaining", "0", "Cf-Mitigated", "challenge")
	f.Add("X-Ratelimit-Remaining-Day", "0", "X-Ratelimit-Reset-Day", "3600", "Grpc-Message", "too%20many")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, name3, value3 string) {
		names, values := [...]string{name1, name2, name3}, [...]string{value1, value2, value3}
		for i, name := range names {
			if strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
				return // no header of HTTP has such a name, and lower case makes another one of it
			}
			names[i] = http.CanonicalHeaderKey(name)
			for k := range i {
				if names[k] == names[i] {
					return
				}
			}
		}
		var class string
		var hints Hints
		for turn, order := range [][3]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {0, 1, 2}} {
			header := map[string][]string{}
			for _, i := range order {
				name := names[i]
				if turn == 3 {
					name = strings.ToLower(name)
				}
				header[name] = []string{values[i]}
			}
			in := Input{StatusCode: 429, Header: header, Text: "try again later"}
			gotClass, got := Classify(in), ReadHints(in, formsAt)
			got.Source = Source{} // names the header as it was written
			if turn == 0 {
				class, hints = gotClass, got
			}
			require.Equal(t, class, gotClass, "%v", header)
			require.Equal(t, hints, got, "%v", header)
			for name := range header {
				if !ReadsHeader(name) && !strings.EqualFold(name, "Date") && !strings.EqualFold(name, "Content-Type") {
					delete(header, name)
				}
			}
			require.Equal(t, class, Classify(in), "%v", header)
			got = ReadHints(in, formsAt)
			got.Source = Source{}
			require.Equal(t, hints, got, "%v", header)
		}
	})
}

// A structured field that is well formed is read as it is meant, in either
// order of its items.
func FuzzStructuredFields(f *testing.F) {
	f.Add(uint16(0), uint16(30), uint16(100), uint16(60), uint16(9), uint16(900))
	f.Add(uint16(3), uint16(0), uint16(0), uint16(1), uint16(0), uint16(65535))
	f.Fuzz(func(t *testing.T, left1, reset1, quota, window, left2, reset2 uint16) {
		one, two := fmt.Sprintf(`"burst";r=%d;t=%d`, left1, reset1), fmt.Sprintf(`"day";r=%d;t=%d`, left2, reset2)
		policy1, policy2 := fmt.Sprintf(`"burst";q=%d;w=%d`, quota, window), fmt.Sprintf(`"day";q=%d;w=86400`, quota)
		var want Hints
		for i, fields := range [][2]string{{one + ", " + two, policy1 + ", " + policy2}, {two + "," + one, policy1 + ", " + policy2}, {one + ", " + two, policy2 + "," + policy1}} {
			header := map[string][]string{"Ratelimit": {fields[0]}, "Ratelimit-Policy": {fields[1]}}
			windows := readWindowHeaders(header, formsAt)
			require.Len(t, windows, 2, "%v", header)
			for _, w := range windows {
				left, reset, length := left1, reset1, time.Duration(window)*time.Second
				if w.name == "day" {
					left, reset, length = left2, reset2, 24*time.Hour
				}
				require.Equal(t, int64(left), w.remaining, "%v", header)
				require.Equal(t, time.Duration(reset)*time.Second, w.reset.wait, "%v", header)
				require.Equal(t, length, w.length, "%v", header)
				require.Equal(t, int64(quota), w.limit, "%v", header)
			}
			got := ReadHints(Input{StatusCode: 429, Header: header}, formsAt)
			if i == 0 {
				want = got
			}
			require.Equal(t, want, got, "%v", header)
		}
	})
}

// A date that exists is read as that date, with every name that its month has;
// one that does not exist is not read as another.
func FuzzCalendar(f *testing.F) {
	for form := range byte(8) {
		f.Add(uint16(2026), byte(3), byte(4), form, uint32(36720))
		f.Add(uint16(2028), byte(2), byte(29), form, uint32(86399))
		f.Add(uint16(2027), byte(2), byte(29), form, uint32(0))
		f.Add(uint16(2026), byte(4), byte(31), form, uint32(0))
	}
	f.Fuzz(func(t *testing.T, year uint16, month, day, form byte, second uint32) {
		y, m, d, s := 2000+int(year)%100, 1+int(month+11)%12, 1+int(day+30)%31, int(second)%86400
		clock := fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
		texts := []string{
			fmt.Sprintf("%04d-%02d-%02dT%sZ", y, m, d, clock),
			fmt.Sprintf("%04d/%02d/%02d %s UTC", y, m, d, clock),
			fmt.Sprintf("%d年%d月%d日 %s UTC", y, m, d, clock),
			fmt.Sprintf("%02d.%02d.%04d %s UTC", d, m, y, clock),
		}
		for name := range strings.SplitSeq(months[m-1], "|") {
			texts = append(texts, fmt.Sprintf("%d %s %d %s GMT", d, name, y, clock), fmt.Sprintf("%s %d, %d %s UTC", name, d, y, clock))
		}
		text := texts[int(form)%len(texts)]
		got, rest, ok := cutInstant(text, formsAt)
		want := time.Date(y, time.Month(m), d, 0, 0, s, 0, time.UTC)
		if want.Day() != d { // there is no such day
			require.False(t, ok, text)
			return
		}
		require.True(t, ok, text)
		require.Empty(t, rest, text)
		require.True(t, want.Equal(got.at), "%s read as %v", text, got.at)
		require.Zero(t, got.spread)
	})
}

// A zone is no further from UTC than any on earth, and a month is one of twelve.
func FuzzCalendarWords(f *testing.F) {
	for _, s := range []string{"GMT", "+0800", "UTC+14:00", "UTC-99", "(America/New_York)", "Pacific Time (PT)", "March 4", "мая", "août 2", "Sun, ", "Thurs. ", "midnight", "12 AM", "下午6点"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, rest, ok := cutMonth(s)
		requireCut(t, s, rest, ok)
		require.True(t, !ok || n >= 1 && n <= 12)
		require.True(t, strings.HasSuffix(s, cutWeekday(s)))
		z, rest, ok := cutZone(s)
		requireCut(t, s, rest, ok)
		if ok {
			at := z.apply(formsAt)
			require.LessOrEqual(t, at.at.Sub(formsAt).Abs(), max(firstZone, lastZone), "%q", s)
			require.LessOrEqual(t, at.spread, firstZone+lastZone, "%q", s)
		}
	})
}

// The answer's own time is ours, or within a day of it.
func FuzzAnswerTime(f *testing.F) {
	for _, s := range []string{formsAt.Format(http.TimeFormat), formsAt.Add(25 * time.Hour).Format(http.TimeFormat), "Wed Mar  4 10:12:00 2026", "Wednesday, 04-Mar-26 10:12:00 GMT", "0", "1772619120"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, date string) {
		got := AnswerTime(map[string][]string{"Date": {date}}, formsAt)
		require.LessOrEqual(t, got.Sub(formsAt).Abs(), 24*time.Hour, date)
	})
}

// A code that decides stands in the text as a whole word, and one that permits a
// new token does not do so under a server's own status.
func FuzzFindCode(f *testing.F) {
	for _, s := range []string{`{"error":"invalid_grant"}`, "com.example#TooManyRequestsException:x", "auth/user-token-expired", `("TOKEN_EXPIRED")`, `"invalid_grant~"`, "xinvalid_grant", "invalid_grant_x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := findCode(text)
		if r == nil {
			return
		}
		code, _, _ := strings.Cut(r.code, " of ")
		require.True(t, standsAlone(text, code), "%s in %q", code, text)
		ev := newEvidence(weights)
		defer ev.free()
		ev.read(Input{StatusCode: 503, Text: text})
		if r := ev.code(); r != nil {
			require.False(t, permits(r.class), "%s: %s", text, r.code)
		}
	})
}

// standsAlone reports that code is somewhere in text a word of its own.
func standsAlone(text, code string) bool {
	for i := range text {
		rest, found := strings.CutPrefix(text[i:], code)
		if found && (i == 0 || strings.IndexByte(`"(#`, text[i-1]) >= 0) && (rest == "" || i+len(code) >= codeText || strings.IndexByte("\"':,; \\)", rest[0]) >= 0) {
			return true
		}
	}
	return false
}
