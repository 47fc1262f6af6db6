package redact

import "strings"

func isAlnum(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
}

// isWord reports whether c can be part of a key: base64 in both alphabets, the
// dots of a JWT. The padding '=' is looked at apart, for it also ends a name.
func isWord(c byte) bool {
	return isAlnum(c) || c == '_' || c == '-' || c == '.' || c == '+' || c == '/' || c == '~'
}

// urlEnd returns the end of the URL that covers i, without the punctuation of
// the sentence around it.
func urlEnd(s string, i int) int {
	start := i
	for i < len(s) && s[i] > ' ' && s[i] < 0x7F && strings.IndexByte("\"'`<>()[]{}|\\", s[i]) < 0 {
		i++
	}
	for i > start && strings.IndexByte(".,;:!?", s[i-1]) >= 0 {
		i--
	}
	return i
}

// maxValue bounds the look ahead for a value, so that names in a row cost no more
// than their length; what follows is read as a word of its own.
const maxValue = 512

// valueEnd returns the end of the single value at i.
func valueEnd(s string, i int) int {
	s = s[:min(len(s), i+maxValue)]
	for i < len(s) && s[i] > ' ' && strings.IndexByte("\"'`,;&<>()[]{}|\\", s[i]) < 0 {
		i++
	}
	return i
}

// headerEnd returns the end of a header's value at i: its closing quote, or the
// end of the line.
func headerEnd(s string, i int, quote byte) int {
	for i < len(s) && s[i] != '\n' && s[i] != '\r' && (quote == 0 || s[i] != quote && s[i] != '\\') {
		i++
	}
	return i
}

// What a name says of the value after it.
const (
	plainName    = iota
	schemeName   // Bearer xyz: a secret if it looks like one
	headerName   // Cookie: all of the line
	passwordName // password=xyz: always
	tokenName    // token: xyz, a secret if it looks like one, for "token: expired" is prose
	codeName     // code=xyz: in a form only, for elsewhere it is an error code
)

const maxName = 40

// names are the names that say something of the value after them, and endings what a name of more words may end in.
var (
	names = map[int][]string{
		schemeName:   {"bearer", "basic"},
		headerName:   {"authorization", "proxyauthorization", "cookie", "setcookie"},
		passwordName: {"password", "passwd", "pwd", "secret", "clientsecret", "passphrase"},
		tokenName: {"key", "apikey", "xapikey", "secretkey", "accesskey", "privatekey", "signature", "sig", "session", "sessionid", "sid",
			"credential", "credentials", "jwt", "assertion", "auth", "xauth", "otp", "nonce"},
		codeName: {"code"},
	}
	endings = []string{"token", "apikey", "accesskeyid"}
)

// kinds are the kinds by name.
var kinds = func() map[string]int {
	kinds := map[string]int{}
	for kind, list := range names {
		for _, name := range list {
			kinds[name] = kind
		}
	}
	return kinds
}()

// lastTwo are the letters in which the names end, by which nearly all other words are told apart.
var lastTwo = func() (ends [32]uint32) {
	add := func(name string) { ends[name[len(name)-2]&31] |= 1 << (name[len(name)-1] & 31) }
	for name := range kinds {
		add(name)
	}
	for _, name := range endings {
		add(name)
	}
	return ends
}()

// mayName reports false only if nameKind finds nothing in a name that ends as w does.
func mayName(w string) bool {
	if len(w) < 3 {
		return false
	}
	a, b := w[len(w)-2], w[len(w)-1]
	return a == '-' || a == '_' || b == '-' || b == '_' || lastTwo[a&31]>>(b&31)&1 != 0
}

func nameKind(name string) int {
	if len(name) > maxName || !mayName(name) {
		return plainName
	}
	var buf [maxName]byte
	n := 0
	for i := range len(name) {
		switch c := name[i]; {
		case c == '-' || c == '_':
		case c >= 'A' && c <= 'Z':
			buf[n] = c | 0x20
			n++
		default:
			buf[n] = c
			n++
		}
	}
	if kind, ok := kinds[string(buf[:n])]; ok {
		return kind
	}
	for _, end := range endings {
		if strings.HasSuffix(string(buf[:n]), end) {
			return tokenName
		}
	}
	return plainName
}

// looksSecret reports whether a value after a name is a secret and not a word of
// prose: it holds a digit, changes case inside a word, or is random.
func looksSecret(v string) bool {
	if len(v) < 6 {
		return false
	}
	for i := range len(v) {
		switch c := v[i]; {
		case c >= '0' && c <= '9':
			return true
		case i > 0 && c >= 'A' && c <= 'Z' && v[i-1] >= 'a' && v[i-1] <= 'z':
			return true
		}
	}
	return Random(v)
}

// keyPrefixes are the beginnings by which issuers make their keys known.
var keyPrefixes = []string{
	"eyJ", "sk-", "sk_", "pk_", "rk_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "xoxa-",
	"xoxr-", "xoxs-", "xapp-", "AKIA", "ASIA", "AIza", "ya29.", "npm_", "pypi-", "hf_", "shpat_", "SG.", "dop_v1_",
}

// shortestKey is the shortest prefix with the fewest bytes after it.
const shortestKey = 3 + 8

// keyStarts are the first letters of the prefixes.
var keyStarts = func() (starts [256]bool) {
	for _, prefix := range keyPrefixes {
		starts[prefix[0]] = true
	}
	return starts
}()

// isKey reports whether w begins as an issuer's keys do and goes on as a key: at
// least eight bytes that are not all lower case letters.
func isKey(w string) bool {
	if len(w) < shortestKey || !keyStarts[w[0]] {
		return false
	}
	for _, prefix := range keyPrefixes {
		if prefix[1] != w[1] {
			continue
		}
		if tail, ok := strings.CutPrefix(w, prefix); ok && len(tail) >= 8 {
			return strings.ContainsAny(tail, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") || Random(w)
		}
	}
	return false
}
