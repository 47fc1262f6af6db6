package classify

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// formsAt is a Wednesday, ten past ten.
var formsAt = time.Date(2026, 3, 4, 10, 10, 0, 0, time.UTC)

const none = time.Duration(-1)

func secs(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }

// Headers that ask for a wait, each alone under a 429.
func TestWaitHeaderForms(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        time.Duration
	}{
		{"Retry-After", "90", secs(90)},
		{"retry-after", "0.25", secs(0.25)},
		{"Retry-After", "30.0", secs(30)},
		{"Retry-After", `"30"`, secs(30)},
		{"Retry-After", "30, 60", secs(60)},
		{"Retry-After", "60,30,soon", secs(60)},
		{"Retry-After", "30s", secs(30)},
		{"Retry-After", "5 minutes", secs(300)},
		{"Retry-After", "1m30s", secs(90)},
		{"Retry-After", "PT2M", secs(120)},
		{"Retry-After", "00:02:30", secs(150)},
		{"Retry-After", "Wed, 04 Mar 2026 10:12:00 GMT", secs(120)},
		{"Retry-After", "Wed, 04 Mar 2026 10:12:00 UTC", secs(120)},
		{"Retry-After", "Wed, 04 Mar 2026 10:12:00 +0000", secs(120)},
		{"Retry-After", "Wed, 04 Mar 2026 05:12:00 -0500", secs(120)},
		{"Retry-After", "Wed, 4 Mar 2026 05:12:00 EST", secs(120)},
		{"Retry-After", "Wednesday, 04-Mar-26 10:12:00 GMT", secs(120)},
		{"Retry-After", "Wed Mar  4 10:12:00 2026", secs(120)},
		{"Retry-After", "Wed, 04 Mar 2026 10:12:00 GMT, Wed, 04 Mar 2026 10:13:00 GMT", secs(180)},
		{"Retry-After", "30, Wed, 04 Mar 2026 10:13:00 GMT", secs(180)},
		{"Retry-After", "2026-03-04T10:12:00Z", secs(120)},
		{"Retry-After", "2026-03-04T18:12:00+08:00", secs(120)},
		{"Retry-After", "2026-03-04 10:12:00.5 +0000 UTC", secs(120.5)},
		{"Retry-After", "1772619120", secs(120)},
		{"Retry-After", "1772619120.5", secs(120.5)},
		{"Retry-After", "1772619120000", secs(120)},
		{"Retry-After", "1772619120000000", secs(120)},
		{"Retry-After", "1772619120000000000", secs(120)},
		{"Retry-After", "Wed, 04 Mar 2026 10:09:00 GMT", 0}, // just over
		{"X-Retry-After", "12", secs(12)},
		{"RateLimit-Retry-After", "12", secs(12)},
		{"X-RateLimit-Retry-After", "12", secs(12)},
		{"X-Rate-Limit-Retry-After-Seconds", "12", secs(12)},
		{"Retry-After-Seconds", "12", secs(12)},
		{"Retry-After-Ms", "1200", secs(1.2)},
		{"Retry-After-Milliseconds", "1200", secs(1.2)},
		{"x-ms-retry-after-ms", "1200", secs(1.2)},
		{"X-RetryAfter", "12", secs(12)},
		{"X-Retry-After-Minutes", "2", secs(120)},
		{"X-Acme-Retry-After-Reads", "12", secs(12)},
		{"Grpc-Retry-Pushback-Ms", "250", secs(0.25)},
		{"X-Retry-In", "12", secs(12)},
		// Not found.
		{"Retry-After", "-1", none},
		{"Retry-After", "soon", none},
		{"Retry-After", "1e3", none},
		{"Retry-After", "0x20", none},
		{"Retry-After", "30 requests", none},
		{"Retry-After", "Wed, 31 Apr 2026 10:12:00 GMT", none},
		{"Retry-After", "Mon, 04 Mar 2019 10:12:00 GMT", none}, // years ago
		{"Retry-After", "2027-03-04T10:12:00Z", none},          // a year ahead
		{"Retry-After", "03/04/2026 10:12", none},              // March or April?
		{"Retry-After-Reason", "12", none},
		{"X-Retry-Count", "12", none},
		{"X-Retry-Limit", "12", none},
		{"Grpc-Retry-Pushback-Ms", "-1", none},
	} {
		h := ReadHints(Input{StatusCode: 429, Header: http.Header{c.name: {c.value}}}, formsAt)
		requireWait(t, c.want, h, c.name+": "+c.value)
		if c.want != none {
			require.Equal(t, Source{SourceHeader, c.name}, h.Source, c.value)
		}
	}
}

func requireWait(t *testing.T, want time.Duration, h Hints, form string) {
	t.Helper()
	require.Equal(t, want != none, h.HasRetryAfter, "%s: read %v from %v", form, h.RetryAfter, h.Source)
	require.InDelta(t, max(want, 0).Seconds(), h.RetryAfter.Seconds(), 0.002, "%s: read %v from %v", form, h.RetryAfter, h.Source)
}

// Windows in headers, under the status named.
func TestWaitWindowForms(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		header http.Header
		text   string
		want   time.Duration
		dflt   time.Duration
	}{
		{"seconds, nothing said of what remains", 429, http.Header{"X-Ratelimit-Reset": {"45"}}, "", secs(45), 0},
		{"Unix seconds", 429, http.Header{"X-Ratelimit-Reset": {"1772619120"}}, "", secs(120), 0},
		{"Unix milliseconds", 429, http.Header{"X-Ratelimit-Reset": {"1772619120000"}}, "", secs(120), 0},
		{"RFC 3339", 429, http.Header{"X-Ratelimit-Reset": {"2026-03-04T10:12:00Z"}}, "", secs(120), 0},
		{"HTTP date", 429, http.Header{"X-Ratelimit-Reset": {"Wed, 04 Mar 2026 10:12:00 GMT"}}, "", secs(120), 0},
		{"Go duration", 429, http.Header{"X-Ratelimit-Reset-Requests": {"1m59.56s"}}, "", secs(119.56), 0},
		{"milliseconds", 429, http.Header{"X-Ratelimit-Reset-Tokens": {"88ms"}}, "", secs(0.088), 0},
		{"unit in the name", 429, http.Header{"X-Ratelimit-Reset-Ms": {"60000"}}, "", secs(60), 0},
		{"reset-after", 429, http.Header{"X-Ratelimit-Reset-After": {"1.5"}}, "", secs(1.5), 0},
		{"structured, eighth draft", 429, http.Header{"Ratelimit": {`"burst";r=0;t=9`}, "Ratelimit-Policy": {`"burst";q=100;w=60`}}, "", secs(9), 0},
		{"structured, a token as name", 429, http.Header{"Ratelimit": {`burst;r=0;t=9, day;r=5;t=900`}}, "", secs(9), 0},
		{"structured, the one used up", 429, http.Header{"Ratelimit": {`"a, b";r=0;t=9, "day";r=5;t=900`}}, "", secs(9), 0},
		{"structured, seventh draft", 429, http.Header{"Ratelimit": {"limit=10, remaining=0, reset=9"}, "Ratelimit-Policy": {"10;w=60"}}, "", secs(9), 0},
		{"structured, without r", 429, http.Header{"Ratelimit": {`"burst";t=9`}}, "", secs(9), 0},
		{"three fields", 429, http.Header{"Ratelimit-Limit": {"10"}, "Ratelimit-Remaining": {"0"}, "Ratelimit-Reset": {"9"}}, "", secs(9), 0},
		{"two used up, the later counts", 429, http.Header{"X-Ratelimit-Remaining-Minute": {"0"}, "X-Ratelimit-Reset-Minute": {"9"}, "X-Ratelimit-Remaining-Hour": {"0"}, "X-Ratelimit-Reset-Hour": {"900"}}, "", secs(900), 0},
		{"one used up, one open", 429, http.Header{"X-Ratelimit-Remaining-Minute": {"0"}, "X-Ratelimit-Reset-Minute": {"9"}, "X-Ratelimit-Remaining-Hour": {"4"}, "X-Ratelimit-Reset-Hour": {"900"}}, "", secs(9), 0},
		{"lists", 429, http.Header{"X-Ratelimit-Remaining": {"3, 0"}, "X-Ratelimit-Reset": {"9, 900"}}, "", secs(900), 0},
		{"used and limit", 429, http.Header{"X-Ratelimit-Limit": {"5"}, "X-Ratelimit-Used": {"5"}, "X-Ratelimit-Reset": {"1772619120"}}, "", secs(120), 0},
		{"403 of a used up window", 403, http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1772619120"}}, "", secs(120), 0},
		{"a month, named", 429, http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1209613"}}, "You exceeded the MONTHLY quota", secs(1209613), 0},
		{"longer than its own window, so not seconds", 429, http.Header{"X-Ratelimit-Limit": {"100;w=60"}, "X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"31234"}}, "", none, secs(60)},
		{"w= alone", 429, http.Header{"Ratelimit-Limit": {"100;w=60"}, "Ratelimit-Remaining": {"0"}}, "", none, secs(60)},
		{"policy alone", 429, http.Header{"Ratelimit": {`"burst";r=0`}, "Ratelimit-Policy": {`"burst";q=100;w=60`}}, "", none, secs(60)},
		{"policy alone, nothing said of what remains", 429, http.Header{"Ratelimit-Policy": {"100;w=60"}}, "", none, secs(60)},
		// Not found.
		{"room left", 429, http.Header{"X-Ratelimit-Remaining": {"7"}, "X-Ratelimit-Reset": {"45"}}, "", none, 0},
		{"two windows, nothing said of either", 429, http.Header{"X-Ratelimit-Reset-Minute": {"9"}, "X-Ratelimit-Reset-Hour": {"900"}}, "", none, 0},
		{"milliseconds or a week?", 429, http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"600000"}}, "", none, 0},
		{"milliseconds or days?", 429, http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"598123"}}, "", none, 0},
		{"another failure", 401, http.Header{"X-Ratelimit-Reset": {"45"}}, "", none, 0},
		{"another failure of the server", 500, http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"45"}}, "", none, 0},
		{"a success", 200, http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"45"}}, "", none, 0},
		{"403 without a window used up", 403, http.Header{"X-Ratelimit-Reset": {"45"}}, "", none, 0},
		{"not a number", 429, http.Header{"X-Ratelimit-Reset": {"never"}}, "", none, 0},
		{"long ago", 429, http.Header{"X-Ratelimit-Reset": {"1572619120"}}, "", none, 0},
	} {
		h := ReadHints(Input{StatusCode: c.status, Header: c.header, Text: c.text}, formsAt)
		requireWait(t, c.want, h, c.name)
		require.Equal(t, c.dflt, h.Default, c.name)
		if c.want != none {
			require.Equal(t, SourceWindow, h.Source.Kind, c.name)
		}
	}
}

// Fields of bodies, under a 429.
func TestWaitFieldForms(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration
	}{
		{`{"retry_after":12}`, secs(12)},
		{`{"retryAfter":12}`, secs(12)},
		{`{"retry-after":"12"}`, secs(12)},
		{`{"RetryAfter":12.5}`, secs(12.5)},
		{`{"retryAfterSeconds":12}`, secs(12)},
		{`{"retry_after_ms":1200}`, secs(1.2)},
		{`{"retryAfterMs":60000}`, secs(60)},
		{`{"retry_after_milliseconds":1200}`, secs(1.2)},
		{`{"retry_after_s":12}`, secs(12)},
		{`{"retryAfterMinutes":2}`, secs(120)},
		{`{"retry_after":"PT5M"}`, secs(300)},
		{`{"retry_after":"P1DT1H"}`, 25 * time.Hour},
		{`{"retry_after":"00:05:00"}`, secs(300)},
		{`{"retry_after":"1.00:00:05"}`, 24*time.Hour + secs(5)},
		{`{"retry_after":"5 minutes"}`, secs(300)},
		{`{"retry_after":"2 hours"}`, 2 * time.Hour},
		{`{"retry_after":"5分钟"}`, secs(300)},
		{`{"retry_after":"in 5 minutes"}`, secs(300)},
		{`{"retry_after":"985.86µs"}`, secs(0.00098586)},
		{`{"retry_after":"985.86\u00b5s"}`, secs(0.00098586)},
		{`{"retryDelay":"37s"}`, secs(37)},
		{`{"retryDelay":"22.347712s"}`, secs(22.347712)},
		{`{"retryDelay":{"seconds":"37","nanos":5}}`, secs(37)},
		{`{"quotaResetDelay":"4h23m12.5s"}`, 4*time.Hour + 23*time.Minute + secs(12.5)},
		{`{"quotaResetTimeStamp":"2026-03-04T10:12:00Z"}`, secs(120)},
		{`{"quota_reset_time_stamp":"2026-03-04T10:12:00Z"}`, secs(120)},
		{`{"reset_at":1772619120}`, secs(120)},
		{`{"resetsAt":"2026-03-04T10:12:00.000Z"}`, secs(120)},
		{`{"resets-at":1772619120000}`, secs(120)},
		{`{"resets_in_seconds":120}`, secs(120)},
		{`{"resetsInSeconds":120}`, secs(120)},
		{`{"resets_at":1772619121,"resets_in_seconds":120}`, secs(120)},
		{`{"clears_in":"2m"}`, secs(120)},
		{`{"clearsIn":120}`, secs(120)},
		{`{"next_refresh_time":"2026-03-04T10:12:00Z"}`, secs(120)},
		{`{"nextRefreshTime":1772619120000}`, secs(120)},
		{`{"nextAccessTime":"2026-Mar-04 10:12:00+0000 UTC"}`, secs(120)},
		{`{"blocked_until":"2026-03-04T10:12:00Z"}`, secs(120)},
		{`{"lockedUntil":"2026-03-04T18:12:00+08:00"}`, secs(120)},
		{`{"secondsUntilReset":120}`, secs(120)},
		{`{"seconds_to_wait":120}`, secs(120)},
		{`{"wait_seconds":120}`, secs(120)},
		{`{"waitTime":"120s"}`, secs(120)},
		{`{"cooldown_seconds":120}`, secs(120)},
		{`{"time_to_reset_ms":1200}`, secs(1.2)},
		{`{"estimated_time":17.3}`, secs(17.3)},
		{`{"rate_limit_reset":1772619120}`, secs(120)},
		{`{"rate":{"limit":5,"remaining":0,"reset":1772619120}}`, secs(120)},
		{`{"minute":{"exceeded":false,"resets_in":9},"hour":{"exceeded":true,"resets_in":900}}`, secs(900)},
		{`{"quotas":[{"name":"m","remaining":0,"resets_in":9},{"name":"h","remaining":4,"resets_in":900}]}`, secs(9)},
		{`{"retry_after":9,"nested":{"retry_after":12}}`, secs(12)},
		{`{\"error\":{\"retry_after\":\"12\"}}`, secs(12)},
		{`<Error><Code>SlowDown</Code><RetryAfterSeconds>12</RetryAfterSeconds></Error>`, secs(12)},
		{`HTTP/1.1 429 Too Many Requests` + "\nRetry-After: 12\nContent-Type: text/plain", secs(12)},
		{`map[Retry-After:[12] Server:[x]]`, secs(12)},
		{`error=rate&retry_after=12&x=1`, secs(12)},
		{`retry_after: 12`, secs(12)},
		{`{"until":"2026-03-04T10:12:00Z"}`, secs(120)},
		{`{"resetTime":"in 3h"}`, 3 * time.Hour},
		// Not found.
		{`{"retry_after":null}`, none},
		{`{"retry_after":-5}`, none},
		{`{"retry_after":true}`, none},
		{`{"retry_after":"soon"}`, none},
		{`{"retry_after":"5 attempts"}`, none},
		{`retry_after: 5 attempts`, none},
		{`{"retryAfter":30000}`, none},         // seconds or milliseconds?
		{`{"retryAfter":59873}`, none},         // likewise
		{`{"retry_after":"P1M"}`, none},        // how long is a month?
		{`{"resets_at":30}`, none},             // no instant
		{`{"reset":1}`, none},                  // or a switch
		{`{"reset_at":"10:12:00"}`, none},      // of which day, and where?
		{`{"reset_at":"03/04/2026"}`, none},    // March or April?
		{`{"last_reset_at":1772619120}`, none}, // over
		{`{"password_reset_at":1772619120}`, none},
		{`{"max_retry_delay":12}`, none},
		{`{"retry_after_attempts":12}`, none},
		{`{"expires_in":3600}`, none},
		{`{"timeout":30}`, none},
		{`{"minute":{"resets_in":9},"hour":{"resets_in":900}}`, none}, // which?
		{`{"rate":{"limit":5,"remaining":3,"reset":1772619120}}`, none},
		{`{"resets_at":"2019-03-04T10:12:00Z"}`, none},
		{`{"resets_at":"2026-03-04T15:00:00"}`, none}, // without a zone it is over in the far east
		{`{"created_at":"2026-03-04T10:12:00Z"}`, none},
		{`{"retry_after":`, none},
		{`{"retry_after":"12`, none},
	} {
		h := ReadHints(Input{StatusCode: 429, Text: c.text}, formsAt)
		requireWait(t, c.want, h, c.text)
	}
}

// Sentences. A negative want is a hint, with the default that it stands for.
func TestWaitProseForms(t *testing.T) {
	const min, hour = time.Minute, time.Hour
	for text, want := range map[string]time.Duration{
		// English.
		"Please try again in an hour.":                                   hour,
		"Try again in half an hour":                                      30 * min,
		"Try again in an hour and a half.":                               90 * min,
		"Please retry in two minutes":                                    2 * min,
		"Your quota will be renewed in 23 hours and 57 minutes.":         23*hour + 57*min,
		"Quota will be replenished in 03:14:17.":                         3*hour + 14*min + secs(17),
		"Quota will be replenished in 2.03:14:17":                        51*hour + 14*min + secs(17),
		"You have been blocked for 15 minutes.":                          15 * min,
		"Account locked for 30 mins due to failed attempts":              30 * min,
		"This ban will last for 20 more seconds":                         secs(20),
		"You must wait at least 1,500 seconds":                           secs(1500),
		"wait 90s before retrying":                                       secs(90),
		"Please wait another 42 second(s).":                              secs(42),
		"Time remaining: 5 minutes":                                      5 * min,
		"Cooldown: 45s":                                                  secs(45),
		"The ban expires in 3 hours":                                     3 * hour,
		"You can submit the request after 49 seconds":                    secs(49),
		"limit resets in 1d 2h":                                          26 * hour,
		"Try again in 985.86µs":                                          secs(0.00098586),
		"retry after PT30S":                                              secs(30),
		"Try again tomorrow.":                                            23*hour + 50*min, // where the day ends last
		"Your quota resets at midnight UTC":                              13*hour + 50*min,
		"Limits reset at midnight (UTC).":                                13*hour + 50*min,
		"resets at 5 PM UTC":                                             6*hour + 50*min,
		"resets 3am (America/New_York)":                                  21*hour + 50*min,
		"resets at 11:30 GMT":                                            80 * min,
		"try again at 9:00 AM UTC":                                       22*hour + 50*min,
		"Try again tomorrow at 9:00 UTC":                                 22*hour + 50*min,
		"Try again at 2026-03-04 10:12:00 UTC":                           2 * min,
		"blocked until 2026-03-04T10:12:00Z":                             2 * min,
		"Rate limit exceeded, retry after Wed, 04 Mar 2026 10:12:00 GMT": 2 * min,
		"You can access API after 2026-Mar-04 10:12:00+0000 UTC":         2 * min,
		"Your limit resets on March 6, 2026 at 10:10 AM UTC":             48 * hour,
		"Your limit resets on Mar 6 at 10:10 UTC":                        48 * hour,
		"Please wait until 4 March 2026 12:10 +02:00":                    0,         // that is now
		"Your usage limit resets at 2026-03-06 10:10:00":                 60 * hour, // the latest zone
		"retry after 1772619120":                                         2 * min,
		"Rate limit reset at 1772619120000":                              2 * min,
		"Wait 1 second between requests. Try again in 5 minutes.":        5 * min,
		"Try again in 20s. Your monthly quota resets in 12 days.":        secs(20),
		"More than 100 requests in 60 seconds. Try again in 3m":          3 * min,
		// Chinese.
		"请在 30 秒后重试":                        secs(30),
		"请十五分钟后再试":                          15 * min,
		"请等待半小时":                            30 * min,
		"两个小时后恢复":                           2 * hour,
		"限额将在 2026-03-04 18:12:00 UTC+8 重置": 2 * min,
		"您的额度将于北京时间2026年3月4日 18:12 重置":      none - 1, // the zone stands before: not read
		"将在 2026-03-06 18:10:00（北京时间）重置":    48 * hour,
		"账号已被封禁至 2026-03-04 18:12:00 GMT+8": 2 * min,
		"重置时间：2026-03-04T10:12:00Z":         2 * min,
		"剩余等待时间: 45秒":                       secs(45),
		"请于5分钟之后再次尝试":                       5 * min,
		"請在 30 秒後重試":                        secs(30),
		"您的账户已锁定 30 分钟":                     30 * min,
		"1小时30分钟后重置":                        90 * min,
		"请稍后再试":                             none - min,
		"3月2日后":                             none - 1,
		"请求在 30 秒后超时":                       none - 1,
		"请在 30 秒内完成支付":                      none - 1,
		"连续失败 5 次账号将锁定 30 分钟":               none - 1,
		"每 5 分钟最多 10 次":                     none - 1,
		"一个半小时后再试":                          none - min,
		// Japanese, Korean.
		"30秒後に再試行してください":                    secs(30),
		"5分ほど待ってから再度お試しください":                5 * min,
		"1時間後にもう一度お試しください":                  hour,
		"2026年3月4日 19:12（日本時間）以降に再度お試しください": 2 * min,
		"30秒後にタイムアウトしました":                   none - 1,
		"30분 후에 다시 시도해 주세요":                 30 * min,
		"1시간 뒤에 재시도하세요":                     hour,
		"10초 후 연결이 끊어집니다":                   none - 1,
		"잠시 후 다시 시도해 주세요":                   none - min,
		// German.
		"Bitte versuchen Sie es in 10 Minuten erneut.": 10 * min,
		"Versuchen Sie es in einer Stunde noch einmal": hour,
		"Bitte warten Sie 1,5 Stunden":                 90 * min,
		"Konto für 30 Minuten gesperrt":                none - 1, // the verb follows: not read
		"Ihr Konto ist gesperrt für 30 Minuten":        30 * min,
		"Nach 15 Minuten wieder verfügbar":             15 * min,
		"Wieder verfügbar ab 06.03.2026 um 10:10 UTC":  48 * hour,
		"Bitte versuchen Sie es später erneut":         none - min,
		"Bitte warten Sie 1.500 Sekunden":              none - 1, // 1.5 or 1500?
		// French, Spanish, Portuguese, Italian.
		"Veuillez réessayer dans une heure.":                 hour,
		"Réessayez dans 2 minutes et 30 secondes":            secs(150),
		"Vous devez attendre 45 secondes avant de réessayer": secs(45),
		"Inténtalo de nuevo en 2 horas":                      2 * hour,
		"Espere 10 minutos antes de volver a intentarlo":     10 * min,
		"Vuelva a intentarlo dentro de media hora":           30 * min,
		"Tente novamente em 1 minuto e 30 segundos":          secs(90),
		"Aguarde 45 segundos":                                secs(45),
		"Riprova tra un'ora":                                 none - 1, // elided: not read
		"Riprova tra 5 minuti":                               5 * min,
		"Attendi 30 secondi prima di riprovare":              secs(30),
		// Russian, Turkish, Polish, Indonesian, Vietnamese.
		"Повторите попытку через 5 минут": 5 * min,
		"Попробуйте снова через полчаса":  30 * min,
		"Подождите 30 секунд":             secs(30),
		"Сессия истекает через 5 минут":   none - 1,
		"10 dakika sonra tekrar deneyin":  10 * min,
		"Lütfen 30 saniye bekleyin":       secs(30),
		"Spróbuj ponownie za 2 godziny":   2 * hour,
		"Poczekaj 30 sekund":              secs(30),
		"Coba lagi dalam 1 jam":           hour,
		"Vui lòng thử lại sau 15 giây":    secs(15),
		// Hints.
		"Please wait a few minutes before you try again.": none - 5*min,
		"Please try again later":                          none - min,
		"Just wait a second":                              none - min,
		"Try again in 5-10 minutes":                       none - 10*min,
		"Your limit resets within 24 hours":               none - 24*hour,
		// Not found.
		"timed out after 30 seconds":                            none - 1,
		"connection reset after 5s":                             none - 1,
		"Retrying in 5s":                                        none - 1, // the caller's own plan
		"will retry in 5 seconds":                               none - 1,
		"retry after 3 attempts":                                none - 1,
		"You must wait 5 seconds between requests":              none - 1,
		"max wait 30s exceeded":                                 none - 1,
		"This link is available for 24 hours":                   none - 1,
		"You made 100 requests in 60 seconds, please slow down": none - 1,
		"limited to 100 requests per 5 minutes":                 none - 1,
		"GPU quota (60s requested vs. 56s left)":                none - 1,
		"Your token expires in 5 minutes":                       none - 1,
		"If you fail again you will be blocked for 24 hours":    none - 1,
		"try again at 11:52":                                    none - 1,
		"resets at 5 PM":                                        none - 1,
		"try again in -5 seconds":                               none - 1,
		"wait 1 500 seconds":                                    none - 1,
		"Rate limit was reset 5 minutes ago":                    none - 1,
		"Usage resets over a rolling 24-hour window":            none - 1,
		"again 2025-01-01":                                      none - 1,
		"resets on 03/04/2026":                                  none - 1,
		"resets on 04.03.2019":                                  none - 1,
		"retry in 5 months":                                     none - 1,
		"wait 5 minimum":                                        none - 1,
		"try again after 10:30:00":                              none - 1,
		"resets at 13:00 CST":                                   none - 1, // central or China?
	} {
		h := ReadHints(Input{StatusCode: 429, Text: text}, formsAt)
		switch {
		case want >= 0:
			requireWait(t, want, h, text)
			require.Zero(t, h.Default, text)
		case want == none-1:
			requireWait(t, none, h, text)
			require.Zero(t, h.Default, text)
		default:
			requireWait(t, none, h, text)
			require.Equal(t, none-want, h.Default, "%s: %v", text, h.Source)
		}
	}
}
