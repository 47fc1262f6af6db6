package classify

import "strings"

// periods are the parts of words by which the length of a limit's window is
// known, in normalised text; the longest window that is named counts.
var periods = []struct{ name, parts string }{
	{"plan", "billing|subscription period|lifetime|plan limit|周期|永久|usage period|5 hour|5h"},
	{"month", "month|月|월|mesyach|mesyats|monat|mois|mensu|mes|mese|ayl|ayda|miesi|bulan|thang|ヶ月"},
	{"week", "week|周|週|주간|주별|nedel|woche|hebdo|semaine|seman|settiman|hafta|tygod|tydzien|minggu|tuan"},
	{"day", "day|daily|today|tomorrow|midnight|24 h|24h|rpd|tpd|86400|日|天|하루|오늘|일일|일별|금일|당일|내일|자정|1 일|sutok|sutki|sutoch|dnev|den|dnya|segodn|zavtra|" +
		"poln|tag|heute|morgen|jour|quotid|minuit|dia|hoy|manana|hoje|amanha|giorn|oggi|domani|gun|yarin|dzien|dzis|jutro|dob|hari|besok|ngay|hom nay"},
	{"hour", "hour|/ h|小时|시간|時間|时间|chas|stund|heure|hora|ora|saat|godzin|jam|gio"},
	{"minute", "minute|/ min|min|rpm|tpm|qpm|分|분|dakika|menit|phut"},
	{"second", "second|/ s|rps|qps|tps|秒|초|sekund|segund|saniye|detik|giay"},
}

// period is the window of the limit that the answer names.
func (ev *evidence) period(sources []source) string {
	best := len(periods)
	for i := range ev.n {
		h := &ev.hits[i]
		if h.says&(long|short) == 0 {
			continue
		}
		words := wordsAt(h.start, h.end, sources)
		for k := range min(best, len(periods)) {
			if holdsAny(words, periods[k].parts) {
				best = k
				break
			}
		}
	}
	switch {
	case best < len(periods):
		return periods[best].name
	case ev.usedLong:
		return "plan"
	}
	return ""
}

// owners are the parts of words that say whose a limit or ban is, the more
// particular first.
var owners = []struct {
	whose string
	says  concept
	parts string
}{
	{WhoseDevice, 0, "device|设备|端末|기기|ustroistv|gerat|appareil|dispositiv|cihaz|urzadzeni|perangkat|thiet bi"},
	{WhoseAddress, address, "ip|address|地址|アドレス|주소|아이피|接続元|adres|adresse|direccion|endereco|indirizzo|dia chi|alamat"},
	{WhoseProject, party, "project|项目|プロジェクト|프로젝트|proje|proyecto|projekt|progetto|proyek|du an|tenant|workspace|租户"},
	{WhoseAccount, party, "account|user|organi|org|customer|member|team|company|konto|benutzer|nutzer|kunde|compte|utilisateur|cuenta|usuario|conta|utente|" +
		"akkaunt|polzovat|hesa|kullan|uzytkown|akun|pengguna|tai khoan|nguoi dung|账|帐|用户|企业|アカウント|ユーザ|계정|사용자|회원"},
	{WhoseAccount, arrears | money, ""},
}

// appKeys are the credentials of the application itself.
const appKeys = "api key|apikey|client id|client secret|app key|appkey|app id|appid|app secret|appsecret|oauth client|o auth client|client|access key|secret key|subscription key|api 키|인증키|서비스키"

// whose says whose the limit, ban or fault is.
func (ev *evidence) whose(class string, sources []source) string {
	switch class {
	case Transient:
		return WhoseServer
	case ClientError:
		return WhoseRequest
	case AuthInvalid:
		return ev.whoseKey(sources)
	case Unknown:
		return WhoseUnknown
	}
	for _, o := range owners {
		for i := range ev.n {
			h := &ev.hits[i]
			if o.parts == "" && h.says&o.says != 0 {
				return o.whose
			}
			if o.says != 0 && h.says&o.says == 0 {
				continue
			}
			if o.parts != "" && holdsAny(wordsAt(h.start, h.end, sources), o.parts) {
				return o.whose
			}
		}
		if o.whose == WhoseDevice {
			for _, s := range sources {
				if holdsAny(s.text, o.parts) {
					return o.whose
				}
			}
		}
	}
	if ev.says(yours) && class != Forbidden {
		return WhoseAccount
	}
	if ev.says(cred) && class != RateLimited && !ev.says(wall) {
		return ev.whoseKey(sources)
	}
	return WhoseUnknown
}

// whoseKey tells a token from the application's own key, which no new token
// replaces.
func (ev *evidence) whoseKey(sources []source) string {
	whose := WhoseCredential
	for i := range ev.n {
		h := &ev.hits[i]
		if h.says&cred == 0 {
			continue
		}
		if words := wordsAt(h.start, h.end, sources); isOneOf(words, appKeys) {
			whose = WhoseApp
		} else if strings.Contains(words, "token") {
			return WhoseCredential
		}
	}
	return whose
}

func holdsAny(words, parts string) bool {
	for part := range strings.SplitSeq(parts, "|") {
		if i := strings.Index(words, part); i >= 0 && (i == 0 || words[i-1] == ' ' || words[i-1] == clauseEnd || part[0] >= 0x80 || words[i-1] >= 0x80) {
			return true
		}
	}
	return false
}

func isOneOf(words, list string) bool {
	for one := range strings.SplitSeq(list, "|") {
		if words == one {
			return true
		}
	}
	return false
}
