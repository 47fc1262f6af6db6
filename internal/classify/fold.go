package classify

import "unicode/utf8"

// Letters that mean the same are read as one, so that a lexicon needs one
// spelling: Latin letters lose their marks, Cyrillic is written in Latin
// letters, and traditional Chinese characters become the simplified ones
// (Japanese ones that look like them, too). The lexicons are folded likewise.

const (
	firstHan, lastHan         = 0x4E00, 0x9FFF
	firstLatin, lastLatin     = 0x00C0, 0x01B0 // from À to ư
	firstCyrillic             = 0x0400
	lastCyrillic              = 0x0491
	firstVietnam, lastVietnam = 0x1EA0, 0x1EF9
	firstMark, lastMark       = 0x0300, 0x036F // combining marks

	firstUnfolded, lastUnfolded = 0x0590, 0x0E80 // from Hebrew to Thai
)

var (
	han      [lastHan - firstHan + 1]uint16 // 0: stays as it is
	latin    [lastLatin - firstLatin + 1]string
	cyrillic [lastCyrillic - firstCyrillic + 1]string
	vietnam  [lastVietnam - firstVietnam + 1]string
)

// traditional holds pairs of a traditional character and its simplified form.
const traditional = "額额數数點点餘余請请試试錯错誤误過过頻频訪访問问權权無无證证認认驗验碼码號号帳账賬账戶户鎖锁凍冻結结區区國国網网絡络連连線线斷断時时間间" +
	"內内務务維维護护達达購购買买續续費费會会員员訂订閱阅級级鑰钥憑凭據据簽签籤签狀状態态異异檢检測测機机類类動动為为爲为從从單单週周個个這这該该還还盡尽儘尽計计劃划" +
	"畫画關关閉闭開开啟启啓启註注銷销冊册發发並并許许當当處处載载壓压擁拥擠挤資资負负標标須须絕绝聯联繫系係系確确傳传輸输體体長长檔档項项尋寻應应經经滿满隊队執执響响" +
	"協协議议對对稱称約约詢询統统總总觸触僅仅讓让變变進进條条遠远選选擇择錄录陸陆幣币儲储歸归別别擋挡減减緩缓後后復复複复匯汇審审違违規规則则範范圍围飽饱實实庫库雲云" +
	"廣广圖图視视報报贈赠遊游導导優优參参屬属偽伪佔占緊紧擊击貴贵質质說说話话語语讀读調调證证請请謝谢譯译講讲負负責责賴赖贊赞輯辑轉转較较輕轻辦办運运適适邊边郵邮鄰邻" +
	"釋释針针鐘钟門门雙双雖虽離离難难電电靈灵預预頁页願愿顯显風风飛飞餐餐馬马驅驱騎骑體体鬧闹魚鱼鳥鸟麗丽黃黄齊齐龍龙東东車车見见貝贝辭辞過过麼么們们來来兩两創创剛刚" +
	"劇剧勞劳勢势華华衛卫術术衝冲補补製制複复親亲覺觉觀观計计記记設设評评詳详誰谁課课談谈識识警警護护讓让豐丰貨货販贩貼贴賣卖賬账"

// Latin letters with marks, each with what it is read as.
const marked = "àaáaâaãaäaåaæaeçcèeéeêeëeìiíiîiïiðdñnòoóoôoõoöoøoùuúuûuüuýyþthÿyßssāaăaąaćcĉcċcčcďdđdēeĕeėeęeěeĝgğgġgģgĥhħhĩiīiĭiįiıiĵjķkĺlļlľlłl" +
	"ńnņnňnōoŏoőoœoeŕrŗrřrśsŝsşsšsţtťtũuūuŭuůuűuųuŵwŷyźzżzžzơoưu" +
	"ạaảaấaầaẩaẫaậaắaằaẳaẵaặaẹeẻeẽeếeềeểeễeệeỉiịiọoỏoốoồoổoỗoộoớoờoởoỡoợoụuủuứuừuửuữuựuỳyỵyỷyỹy"

// Cyrillic letters, each with what it is read as.
const romanised = "аaбbвvгgдdеeёeжzhзzиiйjкkлlмmнnоoпpрrсsтtуuфfхhцcчchшshщshchъыyьэeюyuяyaіiїiєeґg"

func init() {
	for runes := []rune(traditional); len(runes) > 0; runes = runes[2:] {
		han[runes[0]-firstHan] = uint16(runes[1])
	}
	eachPair(marked, func(r rune, as string) {
		if r >= firstVietnam {
			vietnam[r-firstVietnam] = as
		} else if r <= lastLatin {
			latin[r-firstLatin] = as
		}
	})
	eachPair(romanised, func(r rune, as string) { cyrillic[r-firstCyrillic] = as })
}

// eachPair calls f with each letter of list beyond ASCII and the ASCII letters
// that follow it.
func eachPair(list string, f func(r rune, as string)) {
	var letter rune
	start := 0
	for i, r := range list {
		if r < 0x80 {
			continue
		}
		if letter != 0 {
			f(letter, list[start:i])
		}
		letter, start = r, i+len(string(r))
	}
	f(letter, list[start:])
}

// fold returns what the letter r is read as in ASCII, whether it is a capital,
// and whether it is such a letter at all. A letter may be read as nothing.
func fold(r rune) (as string, capital, ok bool) {
	switch {
	case r >= firstLatin && r <= lastLatin:
		if as = latin[r-firstLatin]; as == "" {
			as, capital = latin[min(lowerOf(r), lastLatin)-firstLatin], true
		}
		return as, capital, as != ""
	case r >= firstCyrillic && r <= lastCyrillic:
		lower := lowerOf(r)
		return cyrillic[lower-firstCyrillic], lower != r, true
	case r >= firstVietnam && r <= lastVietnam:
		if as = vietnam[r-firstVietnam]; as == "" {
			as, capital = vietnam[r+1-firstVietnam], true
		}
		return as, capital, true
	case r >= firstMark && r <= lastMark, r == 0xAD: // a soft hyphen
		return "", false, true
	}
	return "", false, false
}

// lowerOf is the small letter of r, a letter of Latin-1, Latin Extended-A or
// Cyrillic.
func lowerOf(r rune) rune {
	switch {
	case r >= 0xC0 && r <= 0xDE && r != 0xD7, r >= 0x410 && r <= 0x42F:
		return r + 0x20
	case r >= 0x400 && r <= 0x40F:
		return r + 0x50
	case r == 0x130: // İ
		return 'ı'
	case r == 0x178: // Ÿ
		return 'ÿ'
	case r >= 0x139 && r <= 0x148, r >= 0x179 && r <= 0x17E, r == 0x1AF:
		return r + r&1 // capitals are odd there
	case r >= 0x100 && r <= 0x177, r == 0x1A0, r == 0x490:
		return r | 1
	}
	return r
}

// simplified is the simplified form of a Chinese character.
func simplified(r rune) rune {
	if r >= firstHan && r <= lastHan && han[r-firstHan] != 0 {
		return rune(han[r-firstHan])
	}
	return r
}

// arabicForm is the letter that r is read as.
func arabicForm(r rune) rune {
	switch r {
	case 'أ', 'إ', 'آ':
		return 'ا'
	case 'ى', 'ی':
		return 'ي'
	case 'ة':
		return 'ه'
	case 'ک':
		return 'ك'
	}
	return r
}

// digitOf is the ASCII digit that an Arabic, Persian, Indian or Thai digit
// stands for, 0 if r is none.
func digitOf(r rune) byte {
	for _, zero := range [...]rune{0x660, 0x6F0, 0x966, 0xE50} {
		if r >= zero && r <= zero+9 {
			return '0' + byte(r-zero)
		}
	}
	return 0
}

// wide writes a character beyond ASCII.
func (n *normaliser) wide(r rune) {
	switch {
	case r >= 0xFF01 && r <= 0xFF5E: // full-width forms of ASCII
		n.ascii(byte(r - 0xFF01 + '!'))
	case r == '。' || r == '…':
		n.separate(clauseEnd)
	case r == '’':
		if !n.apostrophe() {
			n.separate(' ')
		}
	case r < firstUnfolded:
		n.folded(r)
	case r < lastUnfolded:
		n.unfolded(r)
	case r < 0x2E80:
		n.folded(r)
	case r == '、' || r == '・' || r == 0x3000 || r == utf8.RuneError:
		n.dot = false
		n.separate(' ')
	default:
		n.joined(simplified(r))
	}
}

// joined writes a letter of a script that is read without word boundaries.
func (n *normaliser) joined(r rune) {
	last := len(n.out) - 1
	switch {
	case n.prev == 0 && n.wideBefore && n.out[last] == ' ':
		n.out = n.out[:last] // blanks part no words here
	case n.prev != 'c' && n.prev != 0:
		n.separate(' ')
	}
	n.dot = false
	n.out, n.prev = utf8.AppendRune(n.out, r), 'c'
	n.wideBefore = true
}

// unfolded writes a letter of Hebrew, Arabic, the scripts of India or Thai, of
// which Arabic ones that are mixed up in writing are read as one.
func (n *normaliser) unfolded(r rune) {
	switch {
	case digitOf(r) != 0:
		n.ascii(digitOf(r))
	case r >= 0x64B && r <= 0x652 || r == 0x640: // vowel marks, and what only stretches a word
	case r == '؟' || r == '؛' || r == '۔':
		n.separate(clauseEnd)
	case r == '،':
		n.separate(' ')
	default:
		n.joined(arabicForm(r))
	}
}

// folded writes a letter beyond ASCII in ASCII letters; what is none parts
// words.
func (n *normaliser) folded(r rune) {
	as, capital, ok := fold(r)
	if !ok {
		n.dot = false
		n.separate(' ')
		return
	}
	kind := byte('a')
	if capital {
		kind = 'A'
	}
	for i := range len(as) {
		n.letter(as[i], kind)
	}
}
