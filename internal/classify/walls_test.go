package classify

import (
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// walls are checks for robots in the words that sites use, by language.
var walls = []string{
	"Sign in to confirm you're not a bot", "Please verify that you are human to continue", "Our systems have detected unusual traffic from your computer network",
	"Press & Hold to confirm you are a human (and not a bot)", "Checking if the site connection is secure. Enable JavaScript and cookies to continue",
	"Please complete the CAPTCHA to proceed", "Sorry, you have been blocked. This website is using a security service to protect itself",
	"Pardon Our Interruption: something about your browser made us think you were a bot", "Automated access to this site is not permitted",
	"请完成安全验证后继续访问", "检测到异常流量，请输入验证码", "请拖动滑块完成拼图", "請輸入驗證碼以證明您不是機器人", "偵測到異常流量，請完成驗證",
	"ロボットではないことを確認してください", "通常と異なるトラフィックを検出しました", "로봇이 아님을 확인해 주세요", "비정상적인 트래픽이 감지되었습니다",
	"Bestätigen Sie, dass Sie kein Roboter sind", "Ungewöhnlicher Datenverkehr wurde festgestellt", "Confirmez que vous n'êtes pas un robot", "Trafic inhabituel détecté",
	"Confirma que no eres un robot", "Hemos detectado tráfico inusual", "Подтвердите, что вы не робот", "Обнаружен необычный трафик", "Confirme que você não é um robô",
	"Detectamos tráfego incomum", "Conferma di non essere un robot", "Rilevato traffico insolito", "Potwierdź, że nie jesteś robotem", "Wykryto nietypowy ruch",
	"Robot olmadığınızı doğrulayın", "Olağandışı trafik algılandı", "Konfirmasi bahwa Anda bukan robot", "Terdeteksi lalu lintas tidak biasa",
	"Xác nhận bạn không phải là robot", "Phát hiện lưu lượng truy cập bất thường", "Bevestig dat je geen robot bent", "Ongebruikelijk verkeer gedetecteerd",
	"أكد أنك لست روبوتا", "تم اكتشاف حركة مرور غير عادية", "ยืนยันว่าคุณไม่ใช่หุ่นยนต์", "ตรวจพบการใช้งานที่ผิดปกติ",
}

// wrappings are the forms that a text reaches a caller in.
var wrappings = map[string]func(string) string{
	"plain":        func(s string) string { return s },
	"JSON":         func(s string) string { return `{"error":` + asciiJSON(s) + `}` },
	"JSON in JSON": func(s string) string { return `{"body":` + asciiJSON(`{"error":`+asciiJSON(s)+`}`) + `}` },
	"percent":      func(s string) string { return "error=" + url.QueryEscape(s) },
	"entities": func(s string) string {
		var b strings.Builder
		for _, r := range s {
			if r > 127 {
				fmt.Fprintf(&b, "&#x%X;", r)
			} else {
				b.WriteString(html.EscapeString(string(r)))
			}
		}
		return "<html><body><h1>" + b.String() + "</h1></body></html>"
	},
}

// asciiJSON is s as a JSON string in ASCII.
func asciiJSON(s string) string {
	raw, _ := json.Marshal(s)
	var b strings.Builder
	for _, r := range string(raw) {
		if r > 127 {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// TestWallsAreWalls: a check for robots is one under every status, in every
// wrapping; none permits a new token, not even where the text is cut.
func TestWallsAreWalls(t *testing.T) {
	n, missed := 0, 0
	for _, wall := range walls {
		for name, wrap := range wrappings {
			for _, status := range []int{0, 200, 401, 403, 429, 503} {
				n++
				text := wrap(wall)
				if got := Classify(Input{StatusCode: status, Text: text}); got != Forbidden {
					missed++
					t.Errorf("%q, %s, under %d: named %s", wall, name, status, got)
				}
				if status != 401 { // what is left of a text may say nothing, and 401 does
					for _, keep := range []int{3, 2} {
						got := Classify(Input{StatusCode: status, Text: text[:len(text)*keep/4]})
						require.False(t, permits(got), "%q, %s, under %d, cut: named %s", wall, name, status, got)
					}
				}
			}
		}
	}
	t.Logf("%d of %d walls are forbidden", n-missed, n)
}
