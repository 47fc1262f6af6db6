package template

import "strings"

// maxGap bounds the words of one difference. A longer one is a veto of its own.
const maxGap = 64

// vetoed reports whether a difference between a and b tells two failures apart.
func vetoed(a, b *words) bool {
	if otherStatus(a, b) {
		return true
	}
	i, j := 0, 0
	for i < a.n || j < b.n {
		if i < a.n && j < b.n && a.hash[i] == b.hash[j] {
			i++
			j++
			continue
		}
		endA, endB, ok := resync(a, b, i, j)
		if !ok || telling(a, i, endA, b, j, endB) {
			return true
		}
		i, j = endA, endB
	}
	return false
}

// resync returns where a and b agree again after a[i] and b[j] differ, with the
// fewest words between. Two words must agree, or both texts be at their end: a
// single one that both happen to hold would split a replaced phrase into two
// harmless insertions.
func resync(a, b *words, i, j int) (endA, endB int, ok bool) {
	for gap := 1; gap <= maxGap; gap++ {
		for da := 0; da <= gap; da++ {
			x, y := i+da, j+gap-da
			if x <= a.n && y <= b.n && agree(a, b, x, y) {
				return x, y, true
			}
		}
	}
	return 0, 0, false
}

func agree(a, b *words, x, y int) bool {
	if x == a.n || y == b.n {
		return x == a.n && y == b.n
	}
	if a.hash[x] != b.hash[y] {
		return false
	}
	if x+1 == a.n || y+1 == b.n {
		return x+1 == a.n && y+1 == b.n
	}
	return a.hash[x+1] == b.hash[y+1]
}

// telling reports whether the difference a[i:endA], b[j:endB] changes what is
// said.
func telling(a *words, i, endA int, b *words, j, endB int) bool {
	if ordinary(a, i, endA) && ordinary(b, j, endB) {
		return true
	}
	return decisive(a, i, endA) || decisive(b, j, endB)
}

// ordinary reports whether w[i:end] holds a word that is neither a mask nor a
// particle.
func ordinary(w *words, i, end int) bool {
	for ; i < end; i++ {
		switch w.word(i) {
		case "#", "a", "an", "the", "is", "are", "was", "were", "be", "been", "has", "have", "had", "of", "for",
			"please", "your", "you", "this", "that", "it", "its", "and", "so", "的", "了", "您", "你", "请", "請", "该", "此", "已":
		default:
			return true
		}
	}
	return false
}

// decisive reports whether w[i:end], which the other text lacks, may not be
// lacking: a negation, a period, a cause.
func decisive(w *words, i, end int) bool {
	for k := i; k < end; k++ {
		word := w.word(k)
		switch word {
		case "no", "not", "never", "none", "nothing", "neither", "nor", "without", "cannot", "unable",
			"不", "没", "沒", "未", "无", "無", "非", "否", "勿", "莫", "别", "別", "않", "못", "없",
			"per", "daily", "hourly", "weekly", "monthly", "yearly", "permanently", "temporarily", "每",
			"quota", "rate", "concurrent", "concurrency", "credit", "credits", "balance", "billing", "payment",
			"expired", "invalid", "revoked", "missing", "denied", "suspended", "banned", "blocked", "disabled", "forbidden",
			"permission", "region", "country", "model", "timeout", "overloaded", "unavailable", "maintenance":
			return true
		}
		if strings.HasSuffix(word, "n't") || strings.HasPrefix(word, "code") && len(word) > 4 && isDigit(word[4]) {
			return true
		}
	}
	if i == end {
		return false
	}
	gap := w.text[w.at[i]:w.at[end]]
	if isASCII(gap) {
		return false
	}
	for _, cause := range []string{
		"配额", "额度", "余额", "欠费", "充值", "频率", "速率", "限流", "并发", "过期", "失效", "封禁", "封停", "禁用", "禁止",
		"锁定", "冻结", "拒绝", "权限", "地区", "区域", "超时", "维护", "实名", "模型", "今日", "当日", "当月", "本月", "永久", "暂时",
	} {
		if strings.Contains(gap, cause) {
			return true
		}
	}
	return false
}

// otherStatus reports whether both texts name HTTP statuses and not the same.
func otherStatus(a, b *words) bool {
	sa, sb := statuses(a), statuses(b)
	var none statusSet
	return sa != sb && sa != none && sb != none
}

// statusSet has a bit for each of 0 to 599.
type statusSet [10]uint64

func statuses(w *words) (set statusSet) {
	for i := range w.n {
		word := w.word(i)
		if len(word) != len("http429") || !strings.HasPrefix(word, "http") || !isStatus(word[4:]) || !isDigit(word[5]) || !isDigit(word[6]) {
			continue
		}
		n := int(word[4]-'0')*100 + int(word[5]-'0')*10 + int(word[6]-'0')
		set[n/64] |= 1 << (n % 64)
	}
	return set
}
