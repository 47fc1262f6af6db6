package classify

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What the mistakes on the services left out taught, in words of our own: each
// kind with what looks like it and is not.
func TestLessons(t *testing.T) {
	for _, c := range []struct {
		status int
		text   string
		class  string
	}{
		// A grant of somebody else is no dead one (RFC 6749, section 5.2), but the RFC's own list of reasons is.
		{400, `{"error":"invalid_grant","error_description":"The code was issued to a different client"}`, ClientError},
		{400, `{"error":"invalid_grant","error_description":"client_id mismatch"}`, ClientError},
		{400, `{"error":"invalid_grant","error_description":"The grant is invalid, expired, revoked, or was issued to another client."}`, AuthInvalid},

		// The quota of one operation bounds a pace; who is told when it is renewed has none left.
		{429, "QuotaExceeded: you exceeded the quota for this operation", RateLimited},
		{406, "Your quota will be renewed in 7 hours and 3 minutes", QuotaExhausted},
		{429, "Your quota will be renewed in 20 seconds", RateLimited},
		{400, `{"error":"invalid parameter: page","quota_remaining":50,"quota_resets":"2031-01-01T00:00:00Z"}`, ClientError},
		{200, `{"errors":[{"message":"Query cost budget exhausted, available again in 9 seconds"}]}`, RateLimited},
		{0, "ERR 17: no credits left", QuotaExhausted},
		{500, "The request failed. No credits were charged.", Transient},

		// Somebody else's mailbox, and the server's own limits.
		{0, "452 4.2.2 The mailbox you tried to reach is over quota", Transient},
		{0, "552 5.2.2 recipient's mailbox is full", Transient},
		{429, "limit reached: the number of rooms on the server has been reached", Transient},

		// Credentials by other names, and what only shares a name with one.
		{0, "API_KEY_IS_NOT_REGISTERED", AuthInvalid},
		{0, "IP_NOT_REGISTERED", Forbidden},
		{403, "A token is required for this endpoint", AuthInvalid},
		{400, "The field name is required for this endpoint", ClientError},
		{0, "The ticket does not exist", ClientError},
		{400, "Invalid ticket", AuthInvalid},
		{401, `{"error":"access_denied","code":"expired_access_token"}`, AuthInvalid},
		{401, `{"error":"access_denied","message":"Your subscription has expired"}`, Forbidden},
		{401, "You do not have permission: the access token has expired", AuthInvalid},
		{401, "Account suspended: token expired", Forbidden},

		// An error of which nothing is known, in any language.
		{200, `{"code":1,"msg":"发生未知错误","data":null}`, Unknown},
		{0, "Неизвестная ошибка", Unknown},
		{0, "Unbekannter Fehler", Unknown},
		{0, "알 수 없는 오류가 발생했습니다", Unknown},
		{500, "Erreur inconnue", Transient},

		// The server's own fault under a status of the request; that of a request under a conflict.
		{400, `{"error":"Internal processing error"}`, Transient},
		{400, "Forecasts are unavailable at the moment", Transient},
		{400, "Invalid field: internal error while parsing the parameter", ClientError},
		{409, "Two-factor cannot be disabled because it is not enabled", ClientError},
		{403, "The API is not enabled for your account", Forbidden},
		{0, "Операция не удалась, повторите позднее", Transient},
		{0, "Ошибка базы данных", Transient},

		// An "or" between the server and the request.
		{503, "Too many requests or the server is busy", Unknown},
		{0, "The server is overloaded, or you asked for too much data", Unknown},
		{403, "Invalid token or access denied", Unknown},
		{503, "Удаленный сервер или сеть недоступны", Transient},

		// Too much, in other words.
		{0, "最多支持100个点", ClientError},
		{0, "每天最多支持100次调用,已超过", QuotaExhausted},
		{0, "El documento contiene demasiadas filas", ClientError},
		{0, "Odpowiedź jest zbyt długa", ClientError},
		{0, "Ответ слишком велик", ClientError},
		{200, "조회기간이 허용 범위를 초과하였습니다", ClientError},

		// A firewall's page may have no words.
		{405, `<html><head><title>405</title></head><body><img src="https://errors.aliyun.com/images/x.png"></body></html>`, Forbidden},
		{200, `<html><script src="https://ct.captcha-delivery.com/c.js"></script></html>`, Forbidden},
		{404, `<html><title>404</title><body>Not found<script src="/cdn-cgi/challenge-platform/scripts/jsd/main.js"></script></body></html>`, ClientError},
	} {
		got := Judge(Input{StatusCode: c.status, Text: c.text})
		require.Equal(t, c.class, got.Class, "%d %q: %s, %v", c.status, c.text, got.Rule, got.Evidence)
	}
}

// A firewall says in a header that it answered, whatever the status.
func TestWallsNamedByAHeader(t *testing.T) {
	for _, name := range []string{"X-Amzn-Waf-Action", "Cf-Mitigated"} {
		for _, status := range []int{200, 202, 403, 405, 503} {
			in := Input{StatusCode: status, Header: map[string][]string{name: {"challenge"}}}
			got := Judge(in)
			require.Equal(t, Forbidden, got.Class, "%s under %d", name, status)
			require.Equal(t, name, got.Evidence[0].Where)
		}
	}
	require.Equal(t, Transient, Classify(Input{StatusCode: 503, Header: map[string][]string{"X-Note": {"challenge"}}}))
}
