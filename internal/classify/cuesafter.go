package classify

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// follow is what stands behind a time.
type follow struct {
	cue, advice bool
	after       bool // a word for "after" is there, so that it is a duration
	denied      bool
	size        int
}

// Words that make a wait of the time before them.
const followAdvice = `before trying|before retrying|before attempting|before sending|before making|before submitting|before requesting|before you try|before you retry|before you can|before your next|before another|before the next|before next|before calling|before continuing|and try again|and then try|and retry|then try again|then retry|from now|until you can|until your next|cooldown
	|erneut|nochmal|nochmals|noch einmal|wieder verfügbar|wieder versuchen|bevor sie|und versuchen|avant de réessayer|avant de recommencer|et réessayer|et réessayez|puis réessayez|antes de volver|antes de intentar|antes de reintentar|e intenta|e intente|y vuelva|y vuelve|e inténtelo|e inténtalo
	|para tentar|antes de tentar|e tente|prima di riprovare|e riprova|и попробуйте|и повторите|перед повтор|перед следующ|прежде чем
	|sonra tekrar|sonra lütfen|sonra yeniden|sonra dene|sonra erişil|içinde tekrar|içinde yeniden|içinde erişil|içinde dene|içinde kullan|bekleyin|bekleyiniz|bekle |beklemelisiniz|beklemeniz|süreyle bekle|lütfen bekleyin
	|i spróbuj|przed ponown|przed kolejn|sebelum mencoba|sebelum mengirim|sebelum meminta|lagi sebelum|dan coba|kemudian coba|rồi thử|trước khi thử|và thử|nữa|en probeer|opnieuw|weer beschikbaar
	|待って|お待ち|待ち|待つ|대기|기다`

const followReset = `until reset|until the limit resets|until your limit resets|until your quota resets|until the quota resets|zurückgesetzt|sonra sıfırlan|içinde sıfırlan|içinde yenilen|tarihinde sıfırlan`

// Words that make something else of it: a time that is over, a rate, a limit.
const followDeny = `ago|elapsed|have passed|has passed|passed|exceeded|timeout|timed out|between|per |each |/|old|window|interval|period of|超时|超時|过期|過期|以内|之内|以內|内|內|前|的|ごと|毎|以上|以下|未満|전|마다|이내|동안 유효`

// After a CJK word for "after", what says that one may come back then.
const afterAdvice = `再|解禁|放行|重试|重試|请重试|請重試|尝试|嘗試|重新|可用|可以|可再|才能|方可|解封|解除|解锁|解鎖|恢复|恢復|继续|繼續|自动|自動|登录|登入|访问|请求|お試し|試|もう一度|もう1度|ご利用|利用|可能|やり直|アクセス|ログイン|実行|リトライ|回復|復|実施|お願い|다시|재시도|시도|사용|이용|해제|로그인|가능|복구|재요청|요청`
const afterReset = `重置|刷新|更新|重設|リセット|초기화|리셋|재설정`

// dateAdvice and dateReset follow an instant.
const dateAdvice = `后重试|后再试|之后|以后|後に|以降|まで待|までお待ち|后再|后解封|解封|解除|恢复|恢復|可用|重试|再试|に解除|に回復|에 해제|이후|까지 기다|까지 대기|까지 차단|까지 이용|에 다시|后可|起可|wieder verfügbar|erneut|tarihinden sonra|saatinden sonra|tarihine kadar`
const dateReset = `重置|刷新|重設|にリセット|リセット|에 초기화|에 재설정|초기화|tarihinde sıfırlan|zurückgesetzt|erneuert`

func sortFollow() (by [4][256][]word) {
	addWords(&by[0], followAdvice, false, word{kind: cueAgain})
	addWords(&by[0], followReset, false, word{kind: cueReset})
	addWords(&by[0], followDeny, false, word{kind: cueDeny})
	addWords(&by[1], afterAdvice, false, word{kind: cueAgain})
	addWords(&by[1], afterReset, false, word{kind: cueReset})
	addWords(&by[2], dateAdvice, false, word{kind: cueAgain})
	addWords(&by[2], dateReset, false, word{kind: cueReset})
	for i := range by {
		sortWords(&by[i])
	}
	return by
}

var afterWords = []string{"之后", "之後", "以后", "以後", "後に", "後", "后", "이후", "후에", "후", "뒤에", "뒤", "経過後", "程で"}

// followOf reads the words that text begins with; delay tells a duration from
// an instant.
func followOf(text string, delay bool) (f follow) {
	var buf [2 * reach]byte
	low := lowerInto(buf[:0], truncate(text, reach))
	s := bytes.TrimLeft(low, " \u00a0)\"'）")
	if !delay {
		s = bytes.TrimLeft(s, " ,，的")
		if w, ok := firstWord(s, &followBy[2]); ok {
			return follow{cue: true, advice: w.kind == cueAgain, size: len(low) - len(s) + len(w.text)}
		}
		return f
	}
	for _, filler := range aboutWords {
		s, _ = cutWord(s, filler)
	}
	for _, after := range afterWords {
		if rest, ok := cutWord(s, after); ok {
			return followAfter(rest, len(low)-len(rest))
		}
	}
	if rest, ok := cutWord(s, "再"); ok {
		return follow{cue: true, advice: true, after: true, size: len(low) - len(rest)}
	}
	w, ok := firstWord(s, &followBy[0])
	switch {
	case !ok:
	case w.kind == cueDeny:
		f.denied = true
	default:
		f = follow{cue: true, advice: w.kind == cueAgain, after: strings.HasPrefix(w.text, "sonra"), size: len(low) - len(s) + len(w.text)}
	}
	return f
}

var aboutWords = []string{"ほど", "くらい", "程度", "左右", "정도", "間"}

// betweenWords may stand between "after" and what one may do then.
var betweenWords = []string{"请", "請", "您", "你", "将", "將", "会", "會", "即", "额度", "配额", "限额", "系统", "再度", "再び", "に", "から", "自動的", "は", "에", "자동으로", "가", "이", " "}

// followAfter reads what is to happen after a time: to come back, or nothing
// that is said; "30 秒后超时" is no wait.
func followAfter(s []byte, size int) follow {
	f := follow{after: true, size: size}
	s = bytes.TrimLeft(s, " 、,，")
	if r, _ := utf8.DecodeRune(s); len(s) == 0 || strings.ContainsRune("。.！!；;\"'）)\n\\<", r) {
		f.cue, f.advice = true, true
		return f
	}
	for range 6 {
		if w, ok := firstWord(s, &followBy[1]); ok {
			f.cue, f.advice = true, w.kind == cueAgain
			return f
		}
		skipped := false
		for _, filler := range betweenWords {
			if rest, ok := cutWord(s, filler); ok {
				s, skipped = bytes.TrimLeft(rest, " "), true
				break
			}
		}
		if !skipped {
			break
		}
	}
	f.denied = true
	return f
}

func cutWord(s []byte, word string) ([]byte, bool) {
	if !bytesStart(s, word) {
		return s, false
	}
	return s[len(word):], true
}

func bytesStart(s []byte, text string) bool {
	return len(s) >= len(text) && string(s[:len(text)]) == text
}

func firstWord(s []byte, by *[256][]word) (word, bool) {
	if len(s) == 0 {
		return word{}, false
	}
	for _, w := range by[s[0]] {
		if !bytesStart(s, w.text) {
			continue
		}
		if w.cjk || len(s) == len(w.text) || w.text[len(w.text)-1] == ' ' || openEnded(w.text) {
			return w, true
		}
		if r, _ := utf8.DecodeRune(s[len(w.text):]); !unicode.IsLetter(r) {
			return w, true
		}
	}
	return word{}, false
}

// openEnded words are stems that endings follow.
func openEnded(text string) bool {
	for _, stem := range []string{"sıfırlan", "dene", "eriş", "kullan", "yenilen", "ponown", "kolejn", "повтор", "следующ", "bekle"} {
		if strings.Contains(text, stem) {
			return true
		}
	}
	return false
}
