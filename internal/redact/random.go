package redact

// A word shorter than this is never called random: too few letters to tell.
const (
	minRandom = 20
	minAlnum  = 16 // of these; the rest may be the signs of base64
)

// followers lists for each letter those that follow it in ordinary words: the
// 240 commonest pairs over the 6,800 words of Go's own documentation. They make
// up 95 % of the pairs in words and 36 % of those in random letters.
var followers = [26]string{
	"bcdgiklmnprstuvy", "aeilorsu", "acehiklorstu", "adeilorsu", "acdefgilmnpqrstuvwx", "aefiloru",
	"aehinorsu", "aeiort", "abcdefglmnoprstvz", "", "eis", "adeilostuy", "abeimopsu", "acdefgiknostuv",
	"bcdfgilmnoprstuvw", "aehiloprstu", "u", "acdefgiklmnorstuvy", "acehilopstuy", "acehiloprstuy",
	"abcefgilmnprst", "aei", "aeior", "ipt", "ps", "e",
}

var common = func() (set [26]uint32) {
	for i, row := range followers {
		for _, c := range row {
			set[i] |= 1 << (c - 'a')
		}
	}
	return set
}()

// Random reports whether an ASCII word looks drawn at random (a key, a hash, an
// encoded blob) and not written by a person. It needs at least 20 bytes, 16 of
// them letters and digits. Three signs tell: all are hex digits; letters and digits, or lower and upper case, change places at
// least every fourth character, where CamelCase and snake_case need a change
// for a word; or the pairs of adjacent letters are not those of ordinary words.
// CamelCase of very short words (getUserByIdV2OfX) is taken for random, too.
func Random(word string) bool {
	if len(word) < minRandom {
		return false
	}
	const (
		other = iota
		lower
		upper
		digit
	)
	var alnum, letters, switches, pairs, known int
	last, lastLetter, hex := other, byte(0), true
	for i := range len(word) {
		c, kind := word[i], other
		switch {
		case c >= 'a' && c <= 'z':
			kind = lower
		case c >= 'A' && c <= 'Z':
			kind, c = upper, c|0x20
		case c >= '0' && c <= '9':
			kind = digit
		}
		if kind == other {
			last = other
			continue
		}
		alnum++
		if last != other && kind != last && !(last == upper && kind == lower) {
			switches++
		}
		if kind != digit {
			letters++
			hex = hex && c <= 'f'
			if last == lower || last == upper {
				pairs++
				if common[lastLetter-'a']>>(c-'a')&1 == 1 {
					known++
				}
			}
			lastLetter = c
		}
		last = kind
	}
	switch {
	case alnum < minAlnum:
		return false
	case hex && (letters > 0 || alnum >= minRandom), switches*4 >= alnum:
		return true
	}
	return pairs >= 8 && known*100 < pairs*65
}
