package secrets

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"mime/quotedprintable"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func keeper(t testing.TB) *Keeper {
	k, err := NewKeeper("x", nil, 0, func(string) {})
	require.NoError(t, err)
	return k
}

// shapes are secrets as upstreams make them, all without the looks of one.
var shapes = []string{
	"guestone", "guest-session", "guest-session-alpha-bravo", "guest session alpha bravo", "guest+session+alpha+bravo", "guest/session/alpha=bravo==",
	`guest"session\alpha`, "<guest>&session%41alpha", "gäste-sitzung-älteste", "GuestSessionAlphaBravo", "guest%2Fsession", "guest_session.alpha~bravo",
}

var forms = map[string]func(string) string{
	"as it is":           func(s string) string { return s },
	"query-escaped":      url.QueryEscape,
	"path-escaped":       url.PathEscape,
	"JSON":               func(s string) string { b, _ := json.Marshal(s); return string(b) },
	"Go-quoted":          strconv.Quote,
	"Go-quoted in ASCII": strconv.QuoteToASCII,
	"slashes escaped":    func(s string) string { return strings.ReplaceAll(s, "/", `\/`) },
	"base64":             func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"raw URL base64":     func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"basic auth":         func(s string) string { return base64.StdEncoding.EncodeToString([]byte("user:" + s)) },
	"basic auth, longer": func(s string) string { return base64.StdEncoding.EncodeToString([]byte("users:" + s + ":x")) },
	"base64 in JSON": func(s string) string {
		return strings.ReplaceAll(base64.StdEncoding.EncodeToString([]byte(s)), "/", `\/`)
	},
	"upper case":          strings.ToUpper,
	"base64 in a path":    func(s string) string { return "v1/" + base64.StdEncoding.EncodeToString([]byte(s)) },
	"lower case":          strings.ToLower,
	"first 16":            func(s string) string { return s[:min(len(s), 16)] },
	"first 20":            func(s string) string { return s[:min(len(s), 20)] + "..." },
	"HTML":                html.EscapeString,
	"HTML in numbers":     func(s string) string { return eachSign(s, func(c byte) string { return fmt.Sprintf("&#%d;", c) }) },
	"HTML in hex":         func(s string) string { return eachSign(s, func(c byte) string { return fmt.Sprintf("&#x%X;", c) }) },
	"HTML by name":        strings.NewReplacer("&", "&amp;", "/", "&sol;", "=", "&equals;", "+", "&plus;", "<", "&lt;", ">", "&gt;", "_", "&lowbar;").Replace,
	"query-escaped twice": func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
	"JSON in JSON": func(s string) string {
		b, _ := json.Marshal(s)
		b, _ = json.Marshal(string(b))
		return string(b)
	},
	"JSON, query-escaped": func(s string) string { b, _ := json.Marshal(s); return url.QueryEscape(string(b)) },
	"every byte in JSON":  func(s string) string { return eachByte(s, `\u%04X`) },
	"every byte in C":     func(s string) string { return eachByte(s, `\%03o`) },
	"every byte in a URL": func(s string) string { return eachByte(s, "%%%02x") },
	"signs in JavaScript": func(s string) string { return eachSign(s, func(c byte) string { return fmt.Sprintf(`\u{%x}`, c) }) },
	"signs in Python":     func(s string) string { return eachSign(s, func(c byte) string { return fmt.Sprintf(`\U%08x`, c) }) },
	"hex":                 func(s string) string { return hex.EncodeToString([]byte(s)) },
	"upper hex":           func(s string) string { return fmt.Sprintf("%X", s) },
	"hex of the header":   func(s string) string { return fmt.Sprintf("%x", "bearer "+s) },
	"base64 twice": func(s string) string {
		inner := base64.StdEncoding.EncodeToString([]byte("user:" + s))
		return base64.StdEncoding.EncodeToString([]byte(`{"auths":{"r":{"auth":"` + inner + `"}}}`))
	},
	"base64 of JSON":          func(s string) string { b, _ := json.Marshal(s); return base64.StdEncoding.EncodeToString(b) },
	"base64 of a query":       func(s string) string { return base64.StdEncoding.EncodeToString([]byte("a=" + url.QueryEscape(s))) },
	"base64 of UTF-16":        func(s string) string { return base64.StdEncoding.EncodeToString(utf16le(s)) },
	"base64, query-escaped":   func(s string) string { return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(s))) },
	"base64 in lines":         func(s string) string { return inLines(s, "\r\n") },
	"base64 in lines in JSON": func(s string) string { return inLines(s, `\n`) },
	"first 20 in HTML": func(s string) string {
		return eachSign(s[:min(len(s), 20)], func(c byte) string { return fmt.Sprintf("&#x%X;", c) }) + "..."
	},
	"a mail": func(s string) string {
		var out strings.Builder
		w := quotedprintable.NewWriter(&out)
		_, _ = w.Write([]byte(s))
		_ = w.Close()
		return out.String()
	},
	"a header of a mail": func(s string) string {
		return eachSign(s, func(c byte) string {
			if quoted(fmt.Appendf(nil, "=%02X", c)) == 0 {
				return string(c)
			}
			return fmt.Sprintf("=%02X", c)
		})
	},
	"a mail, soft wrap": func(s string) string { return s[:len(s)/2] + "=\r\n" + s[len(s)/2:] },
	"base64, soft wrap": func(s string) string {
		b := base64.StdEncoding.EncodeToString([]byte("user:" + s))
		return b[:9] + "=\r\n" + b[9:]
	},
	"signs in an old server": func(s string) string { return eachSign(s, func(c byte) string { return fmt.Sprintf("%%u%04x", c) }) },
	"where it may break":     func(s string) string { return s[:5] + "\u00AD" + s[5:7] + "\u200B" + s[7:] },
	"where HTML may break":   func(s string) string { return s[:5] + "&shy;" + s[5:7] + "&#8203;" + s[7:] },
	"words":                  func(s string) string { return strings.NewReplacer("-", " ", "+", " ", "/", " ", "_", " ").Replace(s) },
}

// eachSign replaces what is neither letter nor digit.
func eachSign(s string, as func(byte) string) string {
	var out strings.Builder
	for _, c := range []byte(s) {
		if c >= 0x80 || folding[c] != 0 {
			out.WriteByte(c)
		} else {
			out.WriteString(as(c))
		}
	}
	return out.String()
}

func eachByte(s, format string) string {
	var out strings.Builder
	for _, c := range []byte(s) {
		if c >= 0x80 && strings.Contains(format, "u") {
			out.WriteByte(c) // half a rune
		} else {
			fmt.Fprintf(&out, format, c)
		}
	}
	return out.String()
}

func utf16le(s string) (out []byte) {
	for _, c := range []byte(s) {
		out = append(out, c, 0)
	}
	return out
}

// inLines is base64 of a mail with s somewhere in it.
func inLines(s, end string) string {
	text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("a word ", 7) + s + strings.Repeat(" and more", 9)))
	var out strings.Builder
	for len(text) > 76 {
		out.WriteString(text[:76] + end)
		text = text[76:]
	}
	return out.String() + text
}

func TestHideInEveryForm(t *testing.T) {
	for _, value := range shapes {
		k := keeper(t)
		k.Register(New(value))
		for i := range 3000 { // it was long ago
			k.Register(New(fmt.Sprintf("other value %d of a later time", i)))
		}
		for name, form := range forms {
			echo := form(value)
			text := "the upstream dislikes token=" + echo + " of yours, " + echo
			if name == "upper case" && strings.Contains(value, "ä") {
				continue // other letters than those of ASCII are not folded
			}
			hidden := k.Hide(text)
			assert.Equal(t, 2, strings.Count(hidden, ID(value)), "%s of %q: %s", name, value, hidden)
			assert.NotContains(t, hidden, echo)
			assert.True(t, strings.HasPrefix(hidden, "the upstream dislikes token="), hidden)
			assert.Contains(t, hidden, " of yours, ")
		}
	}
}

// What is no secret stays.
func TestHideLeavesTheRest(t *testing.T) {
	k := keeper(t)
	for _, value := range shapes {
		k.Register(New(value))
	}
	k.Register(New("short"))
	for _, text := range []string{
		"", "a=b=C limit=20&status=404 guest=3 é’s “x” \u200b=\n=", "guest sess", "the session of a guest", "shortcut", "the quota of model gpt-4 is exceeded, retry in 20s", "aGVsbG8gd29ybGQsIGhvdyBhcmUgeW91", "100% of \\u00zz %zz \\", "gäste",
	} {
		assert.Equal(t, text, k.Hide(text))
	}
	assert.Equal(t, "a "+ID("short")+" word", k.Hide("a short word"))
}

// The end of a secret that was cut short is that of its word: an escape within it is none, one that stands for a quote is.
func TestHideWhatIsCutShort(t *testing.T) {
	const value = "guest session/alpha bravo/charlie"
	k := keeper(t)
	k.Register(New(value))
	for _, cut := range []string{
		url.PathEscape(value[:28]), url.QueryEscape(value[:28]), "guest session&#x2F;alpha&#32;bravo&#x2F;char", `guest session\/alpha\u0020bravo\/char`, base64.RawStdEncoding.EncodeToString([]byte(value[:28])),
	} {
		for _, after := range []string{` of yours`, `\" of yours`, `&quot; of yours`, `", of yours`} {
			hidden := k.Hide("a=" + cut + after)
			assert.Equal(t, "a="+ID(value)+" of yours", strings.NewReplacer(`\"`, "", `"`, "", "&quot;", "", ",", "").Replace(hidden), "%s", cut+after)
		}
	}
}

// Many secrets begin alike, as all JWTs do: each is found, with its own end as far as that is kept.
func TestHideSharedBeginnings(t *testing.T) {
	k := keeper(t)
	const header = "eyJhbGciOiJSUzI1NiJ9."
	for i := range 50 {
		k.Register(New(fmt.Sprint(header, "payload", i)))
	}
	assert.Equal(t, "a "+ID(header+"payload49")+" b", k.Hide("a "+header+"payload49 b"))
	assert.NotContains(t, k.Hide("a "+header+"payload7 b"), "payload7")
	assert.NotContains(t, k.Hide("a "+header+"unknown b"), "unknown")
}

func TestWindowsStayBounded(t *testing.T) {
	w := newWindows()
	for i := range 3 * windowsKept {
		value := fmt.Sprintf("%d is the beginning", i)
		assert.True(t, w.add(value, ID(value)))
		assert.False(t, w.add(value, ID(value)))
	}
	assert.Len(t, w.heads, windowsKept)
	assert.Len(t, w.order, windowsKept)
	n := 0
	for _, l := range w.lengths {
		n += l
	}
	assert.Equal(t, windowsKept, n)
	assert.LessOrEqual(t, len(w.starts.slots), 4*windowsKept)
	assert.LessOrEqual(t, 2*w.starts.n, len(w.starts.slots))
	first, last := "0 is the beginning", fmt.Sprintf("%d is the beginning", 3*windowsKept-1)
	assert.Equal(t, first, w.hide(first))
	assert.Equal(t, ID(last), w.hide(last))
}

// What a text is looked through with first passes none of those in which a secret is, and few others.
func TestWhatIsSuspected(t *testing.T) {
	w, r := newWindows(), new(scratch)
	for i := range windowsKept {
		value := fmt.Sprintf("%d is the beginning", i)
		w.add(value, ID(value))
	}
	for _, value := range shapes {
		w.add(value, ID(value))
	}
	for _, value := range shapes {
		for name, form := range forms {
			for _, text := range []string{form(value), "a" + form(value) + "b", "%41" + form(value), `\u00e4 ` + form(value) + ` \`} {
				if w.replace(text) != text {
					assert.True(t, w.suspects([]byte(text), r, mostEncodings), "%s: %q", name, text)
				}
			}
		}
	}
	suspected := 0
	for i := range 1000 {
		if w.suspects(fmt.Appendf(nil, "request %d of the day has failed: try again in %d seconds, or tell us of request_id=%x", i, i, ID(fmt.Sprint(i))), r, mostEncodings) {
			suspected++
		}
	}
	assert.LessOrEqual(t, suspected, 1, "of 1000")
}

// Of what is given any number of others may be known: a text is not searched for each of them.
func TestGrams(t *testing.T) {
	var g grams
	text := "a text in which some of all values stand, café"
	g.of(text)
	for from := range text {
		for to := from; to <= len(text); to++ {
			require.True(t, g.mayHold(text[from:to]), text[from:to])
		}
	}
	held := 0
	for i := range 1000 {
		if g.mayHold(fmt.Sprintf("some other value %d", i)) {
			held++
		}
	}
	assert.LessOrEqual(t, held, 10, "of 1000")
}

// Secrets that were given but never served count, too.
func TestHideRefreshTokens(t *testing.T) {
	k := keeper(t)
	s := New("value of a token")
	s.Refresh, s.Further = "refresh-of-a-token", map[string]string{"id": "further secret of a token"}
	k.Register(s)
	for _, value := range []string{s.Value, s.Refresh, s.Further["id"]} {
		assert.Equal(t, "x "+ID(value), k.Hide("x "+url.QueryEscape(value)))
	}
}

func FuzzHide(f *testing.F) {
	for _, value := range shapes {
		f.Add("text "+url.QueryEscape(value)+` and \u00e4 %41 \`, value)
		f.Add(hex.EncodeToString([]byte(value))+" &amp;&#x41; "+inLines(value, `\n`), value)
		f.Add(`\/`+base64.StdEncoding.EncodeToString([]byte("ab"+value))+"\\n"+value, value)
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		if value == "" {
			return
		}
		w := newWindows()
		w.add(value, "ID")
		if w.replace(text) != text && !w.suspects([]byte(text), new(scratch), mostEncodings) {
			t.Fatalf("%q is not looked for in %q", value, text)
		}
		hidden := Without(text, value, "ID")
		if len(folded(value)) >= windowMost && strings.Contains(strings.ReplaceAll(hidden, "ID", "\x00"), value) {
			t.Fatalf("%q in %q", value, hidden)
		}
	})
}

// BenchmarkHideHostile hides in 4 KB that were made to take long: what is read of a text, and how often, is bounded.
func BenchmarkHideHostile(b *testing.B) {
	k := keeper(b)
	k.Register(New("guest session/alpha bravo/charlie"))
	long := func(s string) string { return strings.Repeat(s, 4096/len(s)+1)[:4096] }
	for name, text := range map[string]string{
		"zeros": long("0"), "percents": long("%25"), "backslashes": long(`\`), "entities": long("&amp;#38;"), "base64 twice": long(base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(`%25%25%25\u0025`))))),
		"cut short": long("guest-session-alpha-"), "cut short in base64": long(base64.RawStdEncoding.EncodeToString([]byte("guest-session-alpha-al"))), "one word": long("guestsessionalphab"),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				k.Hide(text)
			}
		})
	}
}

func BenchmarkHide(b *testing.B) {
	k := keeper(b)
	for i := range 256 {
		k.Register(New(fmt.Sprintf("value %d of a token", i)))
	}
	for name, text := range map[string]string{"300 B": strings.Repeat("the quota of this token is used up. ", 8), "4 KB": strings.Repeat("the quota of this token is used up. ", 110)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k.Hide(text)
			}
		})
	}
}
