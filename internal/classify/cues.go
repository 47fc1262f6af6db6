package classify

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What stands between a cue and a time.
type prep uint8

const (
	prepIn     prep = 1 << iota // in 5 minutes
	prepAfter                   // after 5 minutes, after 5 PM
	prepFor                     // for 5 minutes
	prepAt                      // at 5 PM, on 2 March
	prepUntil                   // until 5 PM
	prepWithin                  // within 5 minutes: a bound, not a wait
	prepColon                   // wait: 5 minutes
	anyPrep    = prepIn | prepAfter | prepFor | prepAt | prepUntil | prepWithin | prepColon
)

// A cue is a word right before a time, but for fillers, that makes a wait of it.
type cueKind uint8

const (
	cueAgain  cueKind = iota + 1 // come back: needs a preposition
	cueReset                     // a window ends: likewise, and ranks below
	cueWait                      // wait: needs none
	cueClosed                    // blocked: likewise, unless only threatened
	cueExpire                    // expires, where a ban or a limit does
	cueDeny                      // looks like a cue and is none
)

type word struct {
	text string
	kind cueKind
	prep prep
	cjk  bool
}

// leadWords are the cues before a time, language by language (English, German,
// French, Spanish, Portuguese, Italian, Russian, Turkish, Polish, Indonesian,
// Vietnamese, Dutch, Arabic, Thai, Chinese, Japanese, Korean).
var leadCues = map[cueKind]string{
	cueAgain: `retry|try|again|available|back|reattempt|re-attempt|submit|continue|allowed|next attempt|next request|next try|reconnect|resume|resumes|unlocked|unlocks|unblocked|lifted|access api|access the api|access this api|retry this|try it|call again|come back|check back
		|erneut|nochmal|nochmals|noch einmal|wieder|verfügbar|verfügbarkeit|versuchen|versuche|freigegeben|entsperrt|möglich|wieder
		|réessayer|réessayez|à nouveau|de nouveau|disponible|débloqué|débloquée|reprendre|recommencer
		|intente|inténtelo|inténtalo|intenta|intentar|intentarlo|de nuevo|nuevamente|otra vez|vuelva a intentarlo|vuelve a intentarlo|reintente|reintentar|reintenta|disponible
		|tente|tente novamente|novamente|tentar|disponível|liberado|outra vez
		|riprova|riprovare|riprovi|di nuovo|ritenta|nuovamente|disponibile|sbloccato
		|ещё раз|еще раз|попробуйте|повторите|попытку|попытайтесь|повторить|снова|повторно|запрос|доступен|доступно|доступна|доступ|разблокирован|возможна|возможен|возможно|попытка
		|spróbuj|ponownie|spróbować|dostępny|dostępna|dostępne
		|lagi|coba|mencoba|tersedia|kembali
		|thử lại|lại|khả dụng
		|probeer het|probeer|opnieuw|opnieuw proberen|weer|beschikbaar
		|مرة أخرى|مرة اخرى|حاول|حاول مجددا|المحاولة|لاحقا|متاح|متاحا
		|ลองใหม่|ลองอีกครั้ง|ใหม่อีกครั้ง|อีกครั้ง|ลองใหม่อีกครั้ง`,
	cueReset: `resets|reset|replenished|replenishes|replenish|renewed|renews|renew|refreshed|refreshes|refresh|refills|refill|refilled|restored|restores|restarts|clears|cleared
		|zurückgesetzt|erneuert|réinitialisé|réinitialisée|renouvelé|réinitialisation|restablecerá|restablece|reiniciará|reinicia|renueva|renovará|redefinido|redefinida|renova|reiniciado|ripristinato|rinnova|azzera|azzerato|reimpostato
		|обновится|сбросится|сброс|сбросятся|восстановится|обновление|sıfırlanma|odnowi się|odnowi|zresetowany|zresetuje się|direset|diatur ulang|đặt lại|làm mới|gereset|hersteld|vernieuwd|รีเซ็ต
		|重置时间|重置時間|恢复时间|刷新时间|リセットまで|リセット時刻|リセット|초기화까지`,
	cueWait: `wait|wait time|waiting time|wait period|waiting period|cooldown|cool down|cool-down|cooldown period|time remaining|remaining time|time left|lasts|last
		|warten|warte|wartezeit|abwarten|attendre|attendez|patienter|patientez|attente|espere|espera|esperar|aguarde|aguardar|attendi|attendere|attenda|aspetta|aspettare|aspetti
		|подождать|подождите|ждать|ждите|ожидайте|ожидание|bekleme süresi|poczekaj|zaczekaj|odczekaj|czekaj|poczekać|odczekać|tunggu|menunggu|đợi|chờ|wacht|wachten|wachttijd|انتظر|الانتظار|الرجاء الانتظار|رอ|โปรดรอ|กรุณารอ
		|等待|请等|請等|稍等|等候|剩余时间|剩餘時間|下次可用还有|距离重置还有|距离解封还有|距离恢复还有|冷却时间|冷卻時間|冷却|还需|还需等待|等待时间|重试时间|直到|あと|残り時間|待ち時間|解除まで|再試行まで|대기 시간|대기시간|남은 시간|해제까지`,
	cueClosed: `blocked|banned|locked|locked out|suspended|throttled|restricted|paused|timed out for
		|gesperrt|blockiert|bloqué|bloquée|verrouillé|bloqueado|bloqueada|suspendido|bloccato|sospeso|заблокирован|заблокирована|заблокировано|zablokowane|zablokowany|zablokowano|diblokir|dikunci|khóa|bị khóa|geblokkeerd|vergrendeld|محظور
		|锁定|封禁|冻结|禁用|禁言|封禁至|锁定至|冻结至`,
	cueExpire: `expires|expire|ends|will expire|will end`,
	cueDeny: `connection reset|connection was reset|stream reset|password reset|was reset|been reset|were reset|will retry|max wait|maximum wait|max. wait|tcp reset|reset by peer|do not retry|was refreshed|token refresh|was renewed|were restored|was restored
		|last reset|last refresh|zuletzt zurückgesetzt|never try|not available|only available|was available|not be available|been available|were available`,
}

var leadPreps = map[prep]string{
	prepIn:     `in|dans|en|em|tra|fra|dentro de|через|спустя|za|dalam|in about|daqui a|sonra|trong|ในอีก|อีก|ใน`,
	prepAfter:  `after|nach|après|após|depois de|después de|dopo|после|po|setelah|sau|tras|po upływie|desde|na|بعد|หลังจาก|หลัง|ภายหลัง`,
	prepFor:    `for|für|pendant|durante|por|per|в течение|на|na|przez|selama|trong vòng|gedurende|لمدة|เป็นเวลา`,
	prepAt:     `at|on|um|am|ab|le|à|à partir du|à partir de|el|a las|às|em|il|alle|в|с|o|dnia|od|pada|pukul|vào|lúc|from|as of|于|在|将在|将于|将會在|會在|会在|是|为`,
	prepUntil:  `until|till|bis|bis zum|jusqu'à|jusqu'au|hasta|hasta el|até|fino a|fino al|до|do|hingga|sampai|đến|至|到`,
	prepWithin: `within|innerhalb von|binnen|entro|w ciągu|خلال|ภายใน|in less than|in under`,
}

// leadBoth are cues with their preposition, which is another word in English.
const leadBoth = `probeer het over|probeer over|opnieuw over|weer over|beschikbaar over`

// leadFillers may stand anywhere between a cue and a time.
const leadFillers = `about|approximately|approx|approx.|another|at least|least|the next|next|your request|request|the request|this request|requests|making requests|around|a further|an additional|up to|more than|please|only|just|roughly|almost|again|~|the|once|is|of|be|your next request|the operation|calling|and|will be
	|es|sie|sie es|sie bitte|bitte|etwa|ca.|ca|rund|mindestens|noch|weitere|es bitte|ungefähr|environ|encore|au moins|vous|unos|unas|aproximadamente|al menos|cerca de|pelo menos|aproximadamente|mais|circa|almeno|altri|ancora|vuelve a
	|примерно|около|ещё|еще|минимум|не менее|не раньше чем|попытку|вход|jeszcze|około|co najmniej|sekitar|minimal|sebentar|khoảng|ít nhất|thêm|约|大约|约为|至少|大概|還要|还要|您的|約|およそ|最低|약|최소`

var (
	leadBy   = sortLead()
	followBy = sortFollow()
)

// addWords adds the words of a list; one that is in several means all that they say.
func addWords(by *[256][]word, list string, last bool, w word) {
next:
	for text := range strings.SplitSeq(list, "|") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		w.text = text
		r, _ := utf8.DecodeRuneInString(text)
		w.cjk = unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai)
		key := text[0]
		if last {
			key = text[len(text)-1]
		}
		for i := range by[key] {
			if known := &by[key][i]; known.text == text {
				known.prep |= w.prep
				known.kind = max(known.kind, w.kind)
				continue next
			}
		}
		by[key] = append(by[key], w)
	}
}

func sortWords(by *[256][]word) {
	for i := range by {
		slices.SortStableFunc(by[i], func(a, b word) int { return cmp.Compare(len(b.text), len(a.text)) })
	}
}

func sortLead() (by [256][]word) {
	for kind, list := range leadCues {
		addWords(&by, list, true, word{kind: kind})
	}
	for p, list := range leadPreps {
		addWords(&by, list, true, word{prep: p})
	}
	addWords(&by, leadBoth, true, word{kind: cueAgain, prep: prepIn})
	addWords(&by, leadFillers, true, word{})
	sortWords(&by)
	return by
}

// lead is what stands before a time.
type lead struct {
	cue                   bool
	advice                bool
	takesDelay, takesDate bool
	takesDay              bool // "tomorrow"
	bare                  bool // a number without a unit is one of seconds
	preps                 prep
	size                  int
}

// reach is how many bytes around a time are looked at.
const reach = 96

// leadOf reads the words at the end of text. Where the time is a bare number,
// the names of fields, which have rules of their own, are no words.
func leadOf(text string, number bool) (l lead) {
	var buf [2 * reach]byte
	low := lowerInto(buf[:0], tail(text, reach))
	full := len(low)
	trim := " \u00a0:-~_(=\"'*：（「\n"
	if number {
		trim = " :"
	}
	for range 8 {
		for len(low) > 0 {
			r, size := utf8.DecodeLastRune(low)
			if !strings.ContainsRune(trim, r) {
				break
			}
			if r == ':' || r == '=' || r == '：' {
				l.preps |= prepColon
			}
			low = low[:len(low)-size]
		}
		w, ok := lastWord(low)
		if !ok {
			if number && bytes.HasSuffix(low, []byte("_wait_")) { // Telegram's FLOOD_WAIT_17
				return lead{cue: true, advice: true, takesDelay: true, bare: true, preps: prepColon, size: full - len(low) + len("wait_")}
			}
			return lead{}
		}
		if w.kind == 0 {
			l.preps |= w.prep
			low = low[:len(low)-len(w.text)]
			continue
		}
		if w.kind == cueAgain {
			l.preps |= w.prep
		}
		return l.judge(w, low, full-len(low)+len(w.text))
	}
	return lead{}
}

// judge decides whether the cue w goes with the prepositions found behind it.
func (l lead) judge(w word, low []byte, size int) lead {
	before := low[:len(low)-len(w.text)]
	delay := prepIn | prepAfter | prepColon | prepWithin
	switch w.kind {
	case cueAgain:
		l.advice, l.bare = true, w.text == "retry" || w.text == "again"
		if w.text != "available" && w.text != "allowed" && w.text != "back" {
			delay |= prepFor
		}
		l.takesDelay = l.preps&delay != 0
		l.takesDate = l.preps&anyPrep != 0 || w.cjk
		l.takesDay = true
	case cueReset:
		l.takesDelay = l.preps&delay != 0 || w.cjk
		l.takesDate, l.takesDay = true, true
	case cueWait:
		if w.text == "last" && l.preps&prepFor == 0 && !bytes.HasSuffix(before, []byte("will ")) {
			return lead{} // "in the last 10 minutes"
		}
		l.advice = true
		l.takesDelay = l.preps&(prepAt|prepUntil) == 0
		l.takesDate = l.preps&(prepUntil|prepColon) != 0 || w.text == "直到"
	case cueClosed:
		l.advice = true
		for _, threat := range threats {
			if bytes.Contains(before[max(0, len(before)-32):], threat) {
				return lead{}
			}
		}
		l.takesDelay = l.preps&prepFor != 0 || l.preps == prepColon || w.cjk && l.preps == 0
		l.takesDate = l.preps&prepUntil != 0 || strings.HasSuffix(w.text, "至")
	case cueExpire:
		l.advice = true
		before = bytes.TrimSpace(before)
		ends := func(what []byte) bool { return bytes.HasSuffix(before, what) }
		if !slices.ContainsFunc(whatExpires, ends) {
			return lead{}
		}
		l.takesDelay = l.preps&delay != 0
		l.takesDate = l.preps&anyPrep != 0
	default:
		return lead{}
	}
	l.cue, l.size = l.takesDelay || l.takesDate || l.takesDay, size
	return l
}

// threats before "blocked for" say that it has not happened yet.
var threats = bytes.Fields([]byte("if will may could would might can wenn 将 会 將 會 後"))

// whatExpires are the things whose end one waits for; a token is none.
var whatExpires = bytes.Fields([]byte("ban block lock lockout limit restriction cooldown suspension penalty throttle"))

// lastWord finds the longest word of the tables that low ends with.
func lastWord(low []byte) (word, bool) {
	if len(low) == 0 {
		return word{}, false
	}
	words := leadBy[low[len(low)-1]]
	for i := range words {
		w := &words[i]
		at := len(low) - len(w.text)
		if at < 0 || low[at] != w.text[0] || string(low[at:]) != w.text {
			continue
		}
		if !w.cjk && at > 0 && endsWithLetter(low[:at]) {
			continue
		}
		return *w, true
	}
	return word{}, false
}

func endsWithLetter(b []byte) bool {
	r, _ := utf8.DecodeLastRune(b)
	return (unicode.IsLetter(r) || unicode.IsDigit(r)) && !unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana)
}

func lowerInto(dst []byte, s string) []byte {
	for i := 0; i < len(s) && len(dst) < cap(dst)-utf8.UTFMax; {
		if n := min(len(s)-i, cap(dst)-utf8.UTFMax-len(dst)); s[i] < utf8.RuneSelf {
			part, out := s[i:i+n], dst[len(dst):len(dst)+n]
			for n = 0; n < len(part) && part[n] < utf8.RuneSelf; n++ {
				out[n] = lowers[part[n]]
			}
			dst = dst[:len(dst)+n]
			i += n
			continue
		}
		if isHan(s, i) {
			dst = append(dst, s[i], s[i+1], s[i+2])
			i += 3
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if lower := unicode.ToLower(r); utf8.RuneLen(lower) == size {
			r = lower
		}
		if r == utf8.RuneError {
			dst = append(dst, '?') // one byte for one, so that sizes agree
			i++
			continue
		}
		dst = utf8.AppendRune(dst, r)
		i += size
	}
	return dst
}

// isHan reports whether s[i:] begins with one of the common Han characters, U+5000 to U+9FFF, by the bytes alone: most of
// a Chinese text need not be decoded.
func isHan(s string, i int) bool {
	return i+2 < len(s) && s[i] >= 0xE5 && s[i] <= 0xE9 && s[i+1]&0xC0 == 0x80 && s[i+2]&0xC0 == 0x80
}

// hanAt is the character where isHan says that one begins.
func hanAt(s string, i int) rune {
	return rune(s[i]&0x0F)<<12 | rune(s[i+1]&0x3F)<<6 | rune(s[i+2]&0x3F)
}

// tail is the last n bytes of s, without a rune that is cut.
func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[len(s)-n:]
	for s != "" && !utf8.RuneStart(s[0]) {
		s = s[1:]
	}
	return s
}
