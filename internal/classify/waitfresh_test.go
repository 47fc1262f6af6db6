package classify

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWaitFreshForms holds forms that were written down, with what they mean,
// before the reader of waits met them: docs/judgement.md tells how many it had
// right then. none is a form that must not be read as a wait.
func TestWaitFreshForms(t *testing.T) {
	const min, hour, day = time.Minute, time.Hour, 24 * time.Hour
	header := func(name, value string) Input {
		return Input{StatusCode: 429, Header: http.Header{name: {value}}}
	}
	text := func(s string) Input { return Input{StatusCode: 429, Text: s} }
	forms := []struct {
		in   Input
		want time.Duration
	}{
		// Headers.
		{header("Retry-After", " 120 "), 2 * min},
		{header("Retry-After", "120;"), none},
		{header("Retry-After", "2m"), 2 * min},
		{header("Retry-After", "1h0m0s"), hour},
		{header("Retry-After", "Wed, 04 Mar 2026 11:10:00 +0100"), 0},
		{header("Retry-After", "Wed, 04 Mar 2026 15:42:00 +0530"), 2 * min},
		{header("Retry-After", "Wed, 04 Mar 2026 02:12:00 PST"), 2 * min},
		{header("Retry-After", "2026-03-04T10:12:00.000000Z"), 2 * min},
		{header("Retry-After", "20260304T101200Z"), none},
		{header("Retry-After", "1,5"), secs(5)},
		{header("Retry-After", "NaN"), none},
		{header("Retry-After", "9999999999999999999999"), none},
		{header("X-Rate-Limit-Retry-After", "7"), secs(7)},
		{header("Retry-After-Minutes", "3"), 3 * min},
		{header("X-Backoff-Seconds", "30"), secs(30)},
		{header("X-RateLimit-Reset-In", "30"), secs(30)},
		{header("X-Rate-Limit-Reset", "2026-03-04T10:12:00Z"), 2 * min},
		{header("X-Rate-Limit-Reset", "2m0s"), 2 * min},
		{header("X-RateLimit-Limit", "60"), none},
		{header("X-Request-Timeout", "30"), none},
		{header("Age", "120"), none},
		{header("Keep-Alive", "timeout=5, max=100"), none},
		{header("Strict-Transport-Security", "max-age=31536000"), none},
		{header("Cache-Control", "max-age=600"), none},
		{header("Expires", "Wed, 04 Mar 2026 10:12:00 GMT"), none},
		// Fields.
		{text(`{"retry_after_sec":12}`), secs(12)},
		{text(`{"retryAfterInSeconds":12}`), secs(12)},
		{text(`{"retry_in":"12s"}`), secs(12)},
		{text(`{"retryIn":12}`), secs(12)},
		{text(`{"try_again_in":"2m"}`), 2 * min},
		{text(`{"wait":12}`), secs(12)},
		{text(`{"wait_time":12}`), secs(12)},
		{text(`{"wait_until":"2026-03-04T10:12:00Z"}`), 2 * min},
		{text(`{"available_at":"2026-03-04T10:12:00Z"}`), 2 * min},
		{text(`{"next_available_at":"2026-03-04T10:12:00Z"}`), 2 * min},
		{text(`{"unlock_at":1772619120}`), 2 * min},
		{text(`{"banned_until":"2026-03-04T10:12:00+00:00"}`), 2 * min},
		{text(`{"rateLimitResetTime":"2026-03-04T10:12:00Z"}`), 2 * min},
		{text(`{"error":{"details":[{"@type":"type.example/google.rpc.RetryInfo","retryDelay":"41s"}]}}`), secs(41)},
		{text(`{"error":{"metadata":{"quotaResetDelay":"1h2m3s"}}}`), hour + 2*min + secs(3)},
		{text(`{"parameters":{"retry_after":35}}`), secs(35)},
		{text(`{"retry_after":"PT1H30M"}`), 90 * min},
		{text(`{"retry_after":"P0DT0H0M30S"}`), secs(30)},
		{text(`{"retry_after":"1 day"}`), day},
		{text(`{"retry_after":"30秒"}`), secs(30)},
		{text(`{"retry_after":"30 sec"}`), secs(30)},
		{text(`{"retry_after":"2h 5m"}`), 2*hour + 5*min},
		{text(`{"ResetAfter":"00:00:30"}`), secs(30)},
		{text(`<retryAfter>PT30S</retryAfter>`), secs(30)},
		{text(`{'retry_after': 12}`), secs(12)},
		{text(`retry_after=12`), secs(12)},
		{text(`{"ttl":3600}`), none},
		{text(`{"expires_at":1772619120}`), none},
		{text(`{"window":60}`), none},
		{text(`{"window_seconds":60,"limit":5}`), none},
		{text(`{"interval":"1m","limit":5}`), none},
		{text(`{"timestamp":1772619120}`), none},
		{text(`{"time":"2026-03-04T10:12:00Z"}`), none},
		{text(`{"retries":3}`), none},
		{text(`{"retry":true}`), none},
		{text(`{"phone":"+1 555 010 0120"}`), none},
		{text(`{"version":"2.30.5"}`), none},
		{text(`{"code":4290120}`), none},
		{text(`{"reset_password_in":30}`), none},
		{text(`{"trial_ends_at":"2026-03-06T10:10:00Z"}`), none},
		{text(`{"session_expires_in":1200}`), none},
		{text(`{"elapsed_seconds":12}`), none},
		{text(`{"duration_ms":1200}`), none},
		{text(`{"retry_after":"2019-03-04"}`), none},
		// English sentences.
		{text("Try again in 6m12s."), 6*min + secs(12)},
		{text("Please try again in 1h30m."), 90 * min},
		{text("Please try again in 120ms."), secs(0.12)},
		{text("Rate limit reached. Please try again in 8m3.84s."), 8*min + secs(3.84)},
		{text("Retry your request after 2 minutes"), 2 * min},
		{text("please try again after '18' seconds"), secs(18)},
		{text("Please retry after 1 second."), secs(1)},
		{text("You can try again in about 20 minutes"), 20 * min},
		{text("Come back in 3 days"), 3 * day},
		{text("Quota resets in 4 hours"), 4 * hour},
		{text("A wait of 17 seconds is required"), secs(17)},
		{text("FLOOD_WAIT_17"), secs(17)},
		{text("Slow down! Wait 10 sec"), secs(10)},
		{text("Your IP is blocked for the next 10 minutes"), 10 * min},
		{text("Rate limit will reset in 12 seconds"), secs(12)},
		{text("Next request allowed in 12 seconds"), secs(12)},
		{text("Limit resets in: 00h 12m 30s"), 12*min + secs(30)},
		{text("Limit resets Mar 4, 2026 at 11:10 UTC"), hour},
		{text("Try again at Wed Mar 04 10:12:00 UTC 2026"), 2 * min},
		{text("Locked until 2026-03-04 10:12 UTC"), 2 * min},
		{text("available again on 2026-03-06T10:10:00Z"), 2 * day},
		{text("IP banned until 1772619120000."), 2 * min},
		{text("Call us at 555-0120 to raise your limit, or wait."), none},
		{text("Upgrade to version 2.30 and try again"), none},
		{text("Your limit was reset on 2026-03-01"), none},
		{text("Limit: 5 requests per 30 seconds"), none},
		{text("The request took 30 seconds"), none},
		{text("Upload videos of at most 2 hours and try again"), none},
		{text("Data of the last 24 hours is not available, try again"), none},
		{text("Access tokens are valid for 60 minutes"), none},
		{text("Your trial ends in 3 days"), none},
		{text("The deadline of 30s was exceeded, try again"), none},
		{text("You sent 120 requests in the last 10 minutes"), none},
		{text("We answer within 2 days"), none},
		{text("Error 30 at 10:12:00 UTC"), none},
		{text("Cached for 300 seconds"), none},
		{text("The link expires in 15 minutes"), none},
		{text("Wait for approval by 2 admins"), none},
		{text("100 calls are available over 24 hours"), none},
		{text("retry 3 of 5"), none},
		{text("try again with at most 30 s of audio"), none},
		{text("Passwords must be changed every 90 days"), none},
		// Other languages.
		{text("请在 2 分钟后重试"), 2 * min},
		{text("请等待 1 秒后再试"), secs(1)},
		{text("将在1秒后解禁"), secs(1)},
		{text("距离下次可用还有 30 秒"), secs(30)},
		{text("账号封禁 7 天"), 7 * day},
		{text("最近 24 小时内请求超过 100 次"), none},
		{text("登录有效期为 30 分钟"), none},
		{text("請於 3 分鐘後再試"), 3 * min},
		{text("60秒後に再度お試しください"), secs(60)},
		{text("10分間お待ちください"), 10 * min},
		{text("過去1時間に100回のアクセスがありました"), none},
		{text("1시간 후에 다시 시도하세요"), hour},
		{text("최근 10분 동안 요청이 너무 많습니다"), none},
		{text("Versuchen Sie es in 2 Minuten wieder"), 2 * min},
		{text("In den letzten 10 Minuten gab es zu viele Anfragen"), none},
		{text("Réessayez dans 30 secondes"), secs(30)},
		{text("Vous avez fait 100 requêtes en 10 minutes"), none},
		{text("Inténtelo de nuevo en 30 segundos"), secs(30)},
		{text("Máximo 5 intentos por 10 minutos"), none},
		{text("Tente novamente em 2 minutos"), 2 * min},
		{text("Riprova fra 10 minuti"), 10 * min},
		{text("Попробуйте через 1 час"), hour},
		{text("Не более 10 запросов за 5 минут"), none},
		{text("Spróbuj ponownie za 30 sekund"), secs(30)},
		{text("5 dakika sonra tekrar deneyiniz"), 5 * min},
		{text("Silakan coba lagi dalam 30 detik"), secs(30)},
		{text("Coba lagi 5 menit lagi"), 5 * min},
		{text("Vui lòng thử lại sau 2 phút"), 2 * min},
		{text("Probeer het over 5 minuten opnieuw"), 5 * min},
		{text("Wacht 30 seconden"), secs(30)},
		{text("Maximaal 10 verzoeken per 5 minuten"), none},
		{text("حاول مرة أخرى بعد 5 دقائق"), 5 * min},
		{text("يرجى الانتظار 30 ثانية"), secs(30)},
		{text("الحد هو 10 طلبات كل 5 دقائق"), none},
		{text("กรุณาลองใหม่ในอีก 5 นาที"), 5 * min},
		{text("โปรดรอ 30 วินาที"), secs(30)},
		{text("จำกัด 10 ครั้งต่อ 5 นาที"), none},
	}
	found, missed, wrong := 0, 0, 0
	for _, f := range forms {
		h := ReadHints(f.in, formsAt)
		switch {
		case h.HasRetryAfter && (f.want == none || (h.RetryAfter-f.want).Abs() > 2*time.Millisecond):
			wrong++
			t.Errorf("%v %q: read %v from %v, means %v", f.in.Header, f.in.Text, h.RetryAfter, h.Source, f.want)
		case !h.HasRetryAfter && f.want != none:
			missed++
			t.Logf("%v %q: %v not found", f.in.Header, f.in.Text, f.want)
		default:
			found++
		}
	}
	t.Logf("%d forms: %d read as meant, %d missed, %d wrong", len(forms), found, missed, wrong)
	require.GreaterOrEqual(t, len(forms), 120)
	require.LessOrEqual(t, missed, 2)
}
