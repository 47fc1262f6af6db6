package classify

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// unit is a word for a stretch of time.
type unit struct {
	text       string
	length     time.Duration
	english    bool // a word or sign that English texts use, too
	worded     bool // a word, not a sign such as "s" or "min"
	alphabetic bool // ends where no letter follows
}

// The words of units, language by language. Months and years are left out:
// their lengths differ.
var unitWords = []struct {
	length  time.Duration
	english string
	signs   string
	others  string
	scripts string // written without blanks around them
}{
	{time.Nanosecond, "nanoseconds nanosecond nanos", "ns", "", "纳秒"},
	{time.Microsecond, "microseconds microsecond micros", "us µs μs usec", "", "微秒"},
	{time.Millisecond, "milliseconds millisecond millis msecs", "msec ms", "millisekunden millisekunde millisecondes milliseconde milisegundos milisegundo millisecondi millisecondo миллисекунд миллисекунды миллисекунду мс milisekund milisaniye milidetik", "毫秒 ミリ秒 밀리초"},
	{time.Second, "seconds second secs", "sec s",
		"sekunden sekunde sek secondes seconde segundos segundo seg secondi secondo секунд секунды секунду секунда сек с sekund sekundy sekundę saniye saniyede sn detik giây seconden ثانية ثانيه ثوان ثواني", "秒钟 秒鐘 秒間 秒 초 วินาที"},
	{time.Minute, "minutes minute mins", "min m",
		"minuten minutos minuto minuti минут минуты минуту минута мин minut minuty minutę dakika dk menit phút minuut دقيقة دقيقه دقائق", "分钟 分鐘 分間 分 분 นาที"},
	{time.Hour, "hours hour hrs", "hr h",
		"stunden stunde std heures heure horas hora ore ora часов часа час ч godzin godziny godzinę godz saat jam giờ tiếng uren uur ساعة ساعه ساعات", "个小时 個小時 小时 小時 時間 个钟头 시간 ชั่วโมง"},
	{day, "days day", "d",
		"tagen tage tag jours jour días dias día dia giorni giorno дней дня день сутки суток dni dzień gün hari ngày dagen dag يوم يوما أيام ايام", "天 日間 日 일 วัน"},
	{7 * day, "weeks week", "w wk",
		"wochen woche semaines semaine semanas semana settimane settimana недель недели неделю неделя tygodni tygodnie tydzień hafta minggu tuần", "个星期 個星期 星期 周间 週間 周 週 주일 주"},
}

var unitsBy = sortUnits()

// sortUnits orders the units by their first byte, the longer before those they
// start with.
func sortUnits() (by [256][]unit) {
	add := func(words string, u unit) {
		for text := range strings.FieldsSeq(words) {
			u.text = text
			by[text[0]] = append(by[text[0]], u)
			if r, size := utf8.DecodeRuneInString(text); size > 1 {
				if upper := strings.ToUpper(string(r)); upper[0] != text[0] {
					by[upper[0]] = append(by[upper[0]], u)
				}
			}
		}
	}
	for _, w := range unitWords {
		add(w.english, unit{length: w.length, english: true, worded: true, alphabetic: true})
		add(w.signs, unit{length: w.length, english: true, alphabetic: true})
		add(w.others, unit{length: w.length, worded: true, alphabetic: true})
		add(w.scripts, unit{length: w.length, worded: true, english: true})
	}
	for i := range by {
		slices.SortStableFunc(by[i], func(a, b unit) int { return cmp.Compare(len(b.text), len(a.text)) })
	}
	return by
}

// few is what a vague count stands for: "a few minutes".
const few = 5

// numerals are counts in words. That "einer" is one and "через" without a
// number means one, too, is how a singular is said.
var numeralWords = []struct {
	value float64
	text  string
}{
	{1, "a|an|one|ein|eine|einer|einem|un|une|una|uno|um|uma|один|одну|одна|bir|satu|một|jedną|jedna|jeden"},
	{2, "two|a couple of|zwei|deux|dos|dois|duas|due|два|две|iki|dua|hai|dwa|dwie"},
	{3, "three|drei|trois|tres|três|tre|три|üç|tiga|ba|trzy"},
	{4, "four|vier|quatre|cuatro|quatro|quattro|четыре|dört|empat|cztery"},
	{5, "five|fünf|cinq|cinco|cinque|пять|beş|lima|năm|pięć"},
	{6, "six|sechs|seis|sei|шесть"}, {7, "seven|sieben|sept|siete|sete|sette|семь"}, {8, "eight|acht|huit|ocho|oito|otto|восемь"},
	{9, "nine|neun|neuf|nueve|nove|девять"}, {10, "ten|zehn|dix|diez|dez|dieci|десять|on|sepuluh|mười|dziesięć"},
	{11, "eleven"}, {12, "twelve|zwölf|douze|doce|doze|dodici|двенадцать"}, {15, "fifteen|fünfzehn|quinze|quince|quindici|пятнадцать|piętnaście"},
	{20, "twenty|zwanzig|vingt|veinte|vinte|venti|двадцать"}, {24, "twenty-four|twenty four"}, {30, "thirty|dreißig|trente|treinta|trinta|trenta|тридцать"},
	{45, "forty-five"}, {60, "sixty|sechzig|soixante|sesenta|sessenta|sessanta"}, {0.5, "half an|half a|eine halbe|einer halben|une demi|media|meia|mezz'|полчаса|yarım|setengah|nửa|pół"},
	{-few, "a few|few|several|some|ein paar|einige|einigen|wenigen|wenige|quelques|unos|unas|algunos|algunas|unos pocos|alguns|algumas|poucos|qualche|alcuni|pochi|несколько|kilka|birkaç|beberapa|vài|ít"},
}

// cjkNumeral is the value of a digit of Chinese, Japanese or Korean, 0 for any
// other rune.
func cjkNumeral(r rune) float64 {
	switch r {
	case '半':
		return 0.5
	case '一', '한':
		return 1
	case '二', '两', '兩', '두':
		return 2
	case '三', '세':
		return 3
	case '四', '네':
		return 4
	case '五':
		return 5
	case '六':
		return 6
	case '七':
		return 7
	case '八':
		return 8
	case '九':
		return 9
	case '十':
		return 10
	case '几', '幾', '数', '몇':
		return -few
	}
	return 0
}

type numeral struct {
	text  string
	value float64
}

var numeralsBy = sortNumerals()

func sortNumerals() (by [256][]numeral) {
	for _, w := range numeralWords {
		for text := range strings.SplitSeq(w.text, "|") {
			by[text[0]] = append(by[text[0]], numeral{text, w.value})
			if r, _ := utf8.DecodeRuneInString(text); r >= utf8.RuneSelf {
				if upper := strings.ToUpper(string(r)); upper[0] != text[0] {
					by[upper[0]] = append(by[upper[0]], numeral{text, w.value})
				}
			}
		}
	}
	for i := range by {
		slices.SortStableFunc(by[i], func(a, b numeral) int { return cmp.Compare(len(b.text), len(a.text)) })
	}
	return by
}

// cutNumeral reads the number in words that s starts with.
func cutNumeral(s string) (number, string, bool) {
	for _, n := range numeralsBy[lowerByte(s[0])] {
		size, ok := prefixFold(s, n.text)
		if !ok || startsWithLetter(s[size:]) && n.text != "mezz'" {
			continue
		}
		rest := s[size:]
		if n.text == "полчаса" { // one word, "half an hour": the unit is in it
			rest = "час" + rest
		}
		return number{value: max(n.value, -n.value), vague: n.value < 0, word: true}, rest, true
	}
	if s[0] < utf8.RuneSelf {
		return number{}, s, false
	}
	return cutCJKNumeral(s)
}

// cutCJKNumeral reads 三, 十五, 二十四 and 半.
func cutCJKNumeral(s string) (number, string, bool) {
	n := number{word: true}
	rest := s
	for rest != "" {
		r, size := utf8.DecodeRuneInString(rest)
		v := cjkNumeral(r)
		switch {
		case v == 0:
			return n, rest, rest != s
		case v < 0:
			return number{value: few, vague: true, word: true}, rest[size:], rest == s
		case v == 10:
			n.value = max(n.value, 1) * 10
		default:
			n.value += v
		}
		rest = rest[size:]
		if len(s)-len(rest) > 12 {
			return number{}, s, false
		}
	}
	return n, rest, true
}
