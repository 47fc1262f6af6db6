package classify

import (
	"testing"
)

// noPermission are texts that speak of quotas, balances, tokens and keys, none
// of which a new token would cure.
var noPermission = []string{
	// Paces in the words of quotas.
	"Quota exceeded: 60 requests per minute per user", "Your quota of 10 requests per second is exhausted", "You have used up your quota for this minute", "Hourly quota reached",
	"Quota of concurrent jobs exceeded", "Per-minute token quota exceeded for this model", "配额超限：每分钟 60 次", "每秒请求配额已用完", "1分間のクォータを超過しました", "분당 할당량을 초과했습니다",
	"Kontingent pro Minute aufgebraucht", "Quota par minute épuisé", "Cuota por minuto agotada", "Cota por minuto esgotada", "Quota al minuto esaurita", "Квота в минуту исчерпана",
	"Limit na minutę wyczerpany", "Dakikalık kota doldu", "Kuota per menit habis", "Hạn ngạch mỗi phút đã hết", "Quotum per minuut verbruikt", "انتهت الحصة لكل دقيقة", "โควต้าต่อนาทีหมดแล้ว",
	// Somebody else's money, and the request's own.
	"The recipient's account has insufficient funds", "Card declined: insufficient funds", "Insufficient USDT balance to place this order", "Not enough margin to open position", "Insufficient balance for withdrawal",
	"insufficient funds for gas * price + value", "The customer's wallet balance is too low for this payment", "Transfer amount exceeds balance", "Insufficient stock for item 12", "订单金额超过账户余额，下单失败",
	// Ceilings on what is kept, and sizes.
	"Storage quota exceeded for mailbox", "You have reached the maximum number of projects", "Bucket limit reached", "Disk quota exceeded", "Maximum context length is 8192 tokens, requested 9000",
	"max_tokens must be at most 4096", "Prompt has too many tokens", "文件数量已达上限", "存储空间不足", "Speicherplatz aufgebraucht", "Espace de stockage épuisé",
	// Tokens and keys that are no credentials.
	"Invalid page token", "Unexpected token < in JSON at position 0", "Invalid CSRF token", "Idempotency key already used", "Duplicate key value violates unique constraint", "Invalid device token for push",
	"The sync token is expired, a full sync is required", "Primary key not found", "Invalid JSON key in service description", "Unknown key 'foo' in configuration", "Invalid captcha token", "The one-time code has expired",
	"The upload session has expired, start a new upload", "The download link has expired", "Your card has expired", "Timestamp expired", "SSL certificate has expired", "Coupon code is invalid or expired",
	"The cursor is no longer valid", "invalid continuation token", "分页令牌无效", "优惠券已过期", "訂單已過期",
	// Rights.
	"Token does not have the scope write:orders", "Your API key is not allowed to use this endpoint", "This key is restricted to other referers", "API key is blocked for abuse", "Your token lacks permission for this project",
	"该密钥没有调用此接口的权限", "トークンに権限がありません", "토큰에 권한이 없습니다", "Das Token hat keine Berechtigung für diese Aktion", "Le jeton n'a pas les droits nécessaires", "El token no tiene permisos", "У токена нет прав на эту операцию",
	"O token não tem permissão", "Il token non ha i permessi necessari", "Token nie ma uprawnień", "Jetonun yetkisi yok", "Token tidak memiliki izin", "Token không có quyền", "Het token heeft geen rechten", "الرمز ليس لديه صلاحية", "โทเค็นไม่มีสิทธิ์",
	// Servers.
	"Failed to validate token: upstream timed out", "Could not reach the authentication service", "Token service unavailable", "Unable to verify token: key server returned 503", "Session store is down", "Login service is under maintenance",
	"Quota service is not reachable", "Failed to read quota: database error", "Billing backend unavailable", "认证服务暂不可用", "認証サーバーに接続できません", "Authentifizierungsdienst nicht erreichbar",
}

// TestNeverPermits: none of them permits a new token, under whatever status
// does not itself say so.
func TestNeverPermits(t *testing.T) {
	n, wrong := 0, 0
	for _, text := range noPermission {
		for _, status := range []int{0, 200, 400, 403, 429, 500, 503} {
			for _, body := range []string{text, `{"error":{"message":"` + text + `"}}`} {
				n++
				in := Input{StatusCode: status, Text: body}
				if got := Classify(in); permits(got) {
					wrong++
					t.Errorf("%d %s: named %s by %s", status, body, got, Judge(in).Rule)
				}
			}
		}
	}
	t.Logf("%d of %d permit a new token", wrong, n)
}
