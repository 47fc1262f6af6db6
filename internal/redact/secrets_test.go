package redact

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// planted returns a key of n random characters. Nothing here is a real one.
func planted(rng *rand.Rand, n int, alphabet string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return string(b)
}

const (
	hexDigits = "0123456789abcdef"
	base36    = "0123456789abcdefghijklmnopqrstuvwxyz"
	base62    = base36 + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	base64    = base62 + "+/"
	base64url = base62 + "-_"
)

func TestSecrets(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln failed", "Bearer [secret] failed"},
		{"requires a valid Bearer token", "requires a valid Bearer token"},
		{"Authorization: Bearer abc, x\nnext", "Authorization: [secret] next"},
		{`{"Authorization":"Basic dXNlcg==","x":1}`, `{"Authorization":"[secret]","x":1}`},
		{"Set-Cookie: sid=a; Path=/\r\nok", "Set-Cookie: [secret]  ok"},
		{"key sk-proj-a1b2c3d4, AKIAIOSFODNN7EXAMPLE", "key [secret], [secret]"},
		{"https://user:pw@host/path/6d0dc41bc70a49c0a8f1/x?token=1#a", "https://[secret]@host/path/[secret]/x?[secret]"},
		{"see https://host.example/cb#access_token=abc.", "see https://host.example/cb#[secret]."},
		{"see https://host.example/doc?tab=1: retry", "see https://host.example/doc?[secret]: retry"},
		{"root:pw@tcp(10.0.0.1:3306)", "root:[secret]@tcp(10.0.0.1:3306)"},
		{"write to bob.smith@example.com.", "write to [secret]."},
		{`"access_token":"abc123def"`, `"access_token":"[secret]"`},
		{"x-api-key=Qx7abc", "x-api-key=[secret]"},
		{"token: expired", "token: expired"},
		{"Invalid Refresh Token: Already Used", "Invalid Refresh Token: Already Used"},
		{"grant_type=x&code=abcdef&client_secret=hunter", "grant_type=x&code=[secret]&client_secret=[secret]"},
		{"code=429", "code=429"},
		{"password=hunter", "password=[secret]"},
		{"Zm9vYmFyYmF6cXV4Zm9v/YmFyMTIzNDU2Nzg5MA== tail", "[secret] tail"},
		{"accessdeniedexception no_remaining_quota_for_anonymous_user", "accessdeniedexception no_remaining_quota_for_anonymous_user"},
		{"a\nb\x00c\u2028d\u202ee\x7f\u0085", "a b c d e  "},
		{"\xff配额\xe4", "\ufffd配额\ufffd"},
	} {
		require.Equal(t, c.want, Secrets(c.in, 200), "%q", c.in)
	}
}

func TestSecretsCuts(t *testing.T) {
	require.Equal(t, "配…", Secrets("配额已用尽", 8))
	require.Equal(t, "", Secrets("配额", 2))
	require.Equal(t, "", Secrets("x", -1))
	require.Equal(t, "abc", Secrets("abc", 3))
	require.Equal(t, "…", Secrets("abcd", 3))

	// A key that lies across the end of what is looked at leaves no half behind.
	text := strings.Repeat(" ", 4*8+4096-25) + "Zx81Qm" + strings.Repeat("k3J", 20)
	require.NotContains(t, Secrets(text, 4096), "Zx81")
}

// TestRandomTells measures Random on keys of every alphabet and on identifiers.
func TestRandomTells(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for name, alphabet := range map[string]string{"hex": hexDigits, "base36": base36, "base62": base62, "base64": base64, "base64url": base64url} {
		for _, n := range []int{20, 24, 32, 64} {
			missed := 0
			for range 2000 {
				key := planted(rng, n, alphabet)
				if len(strings.Trim(key, "+/-_")) == n && !Random(key) && !hasRandomPart(key) {
					missed++
				}
			}
			t.Logf("%s of %d: %d of 2000 missed", name, n, missed)
			require.LessOrEqual(t, missed, 60, "%s of %d", name, n)
		}
	}
	for _, word := range []string{
		"accessdeniedexception", "no_remaining_quota_for_anonymous_user", "ORG_TELEGRAM_RATE_LIMIT_EXCEEDED", "TelegramApiRequestException",
		"getUserFromHttpRequestContext", "resources-in-the-rest-api", "2024-05-01-preview-release-2", "internationalization", "gpt-4o-mini-2024-07-18",
		"claude-3-5-sonnet-20241022", "text-embedding-3-large", "com.example.tokens.V3DataSearchService.List", "API_KEY_SERVICE_BLOCKED",
	} {
		require.False(t, Random(word), word)
	}
}

// TestBodiesSurvive runs over real answers: only addresses, query strings and
// the placeholders of ids may go.
func TestBodiesSurvive(t *testing.T) {
	f, err := os.Open("../../testdata/api-errors.jsonl")
	require.NoError(t, err)
	defer f.Close()
	bodies, changed := 0, 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r struct{ Body string }
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r))
		bodies++
		got := Secrets(r.Body, 1<<20)
		if got == strings.Map(func(c rune) rune {
			if unicode.IsControl(c) {
				return ' '
			}
			return c
		}, r.Body) {
			continue
		}
		changed++
		due := strings.Contains(r.Body, "XXXXXXXXXXXX") || strings.Contains(got, "?[secret]") || strings.Contains(r.Body, "support@") || strings.Contains(r.Body, "appeals@")
		require.True(t, due, "%s\n%s", r.Body, got)
	}
	t.Logf("%d of %d bodies hold something to mask", changed, bodies)
	require.Positive(t, changed)
}

func TestSecretsBounded(t *testing.T) {
	for name, unit := range map[string]string{"letters": "a", "digits": "7", "spaces": " ", "Han": "额", "invalid": "\xff", "brackets": "[{(", "names": "key=code=", "queries": "a?b=c ", "at": "a@", "key": "k3J"} {
		text := strings.Repeat(unit, 1<<20/len(unit))
		require.LessOrEqual(t, len(Secrets(text, 512)), 512, name)
		require.LessOrEqual(t, testing.AllocsPerRun(5, func() { Secrets(text, 512) }), 12.0, name)
	}
}

func FuzzSecrets(f *testing.F) {
	f.Add("Authorization: ", " tail", 100, uint64(1))
	f.Add("https://u:p@h/?a=", "&b#c", 40, uint64(2))
	f.Add(`{"code":"`, "\xff\n配额", 7, uint64(3))
	f.Add("a@", "=@b.example", 1000, uint64(4))
	f.Fuzz(func(t *testing.T, before, after string, max int, seed uint64) {
		max %= 5000
		got := Secrets(before+after, max)
		if len(got) > max && got != "" {
			t.Fatalf("%d bytes of at most %d: %q", len(got), max, got)
		}
		if !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Fatalf("not one clean line: %q", got)
		}
		rng := rand.New(rand.NewPCG(seed, 0))
		body := planted(rng, 32, base62)
		jwt := "eyJ" + planted(rng, 20, base62) + ".eyJ" + planted(rng, 24, base62) + "." + planted(rng, 43, base64url)
		for _, c := range []struct{ key, visible string }{{"sk-" + body, body}, {jwt, jwt[:40]}} {
			// Apart from its neighbours: a key that text runs into is another word.
			if got := Secrets(before+" "+c.key+" "+after, 1<<16); strings.Contains(got, c.visible) {
				t.Fatalf("%q shows the key in %q", got, before+" "+c.key+" "+after)
			}
		}
	})
}

func BenchmarkSecrets(b *testing.B) {
	text := strings.Repeat(`Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln: {"error":"No remaining quota","request_id":"d4404a93"} `, 10)[:1024]
	b.ReportAllocs()
	for b.Loop() {
		Secrets(text, 512)
	}
}
