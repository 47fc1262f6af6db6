package tokenguard

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/statefile"
	"github.com/tokenguard/tokenguard/internal/striped"
)

// figure is what a page says, with a group around each figure, and what the code has there.
type figure struct {
	page, says string
	is         []any // a number, a time.Duration, or a constant of another package
}

// constantOf is a constant that this package cannot see: its file and its name.
type constantOf struct{ file, name string }

const retryAfterMost = ledger.MaxRetryAfter

// figures are the bounds and defaults that the pages state.
func figures() []figure {
	usual, moderate := Conservative(), Moderate()
	hour, day, apart := usual.RateLimit.MaxRequestsPerHour, usual.RateLimit.MaxRequestsPerDay, usual.RateLimit.MinInterval
	renewals := ledger.DefaultRenewals()
	even := 24 * time.Hour / time.Duration(day)
	lent := []any{lendCheck, striped.Stripes}
	return []figure{
		{"README.md", `more than (\d+) starts in any 60 minutes, (\d+) in any 24 hours, and never two within (\d+ s)`, []any{hour, day, apart}},
		{"docs/promises.md", `In any 60 minutes at most (\d+) acquisitions start, in any 24 hours at most (\d+), and none within (\d+ s)`, []any{hour, day, apart}},
		{"docs/promises.md", `min\((\d+ s) \* 2\^\(n-1\), (\d+ h)\)`, []any{usual.RateLimit.FailureBackoffBase, usual.RateLimit.MaxBackoff}},
		{"docs/promises.md", `at most (\d+ days)`, []any{retryAfterMost}},
		{"docs/promises.md", `of more than (\d+ days)`, []any{retryAfterMost}},
		{"docs/promises.md", `at most (\d+) calls for a scope on each of (\d+) stripes`, lent},
		{"docs/promises.md", `\(request timeout and (\d+ s)\)`, []any{ledger.LeaseMargin}},
		{"docs/promises.md", `next commit, at most (\d+ s) of them`, []any{replica.FlushInterval}},
		{"docs/promises.md", `(\d+) operations a token, (\d+) in all; (\d+) tokens by default`, []any{constantOf{"internal/ledger/evidence.go", "maxEvidence"}, constantOf{"internal/ledger/evidence.go", "maxEvidenceTotal"}, usual.Cache.MaxTokens}},
		{"docs/promises.md", `A token in its last (\d+ s)`, []any{constantOf{"internal/ledger/policy.go", "lastStretch"}}},
		{"docs/state.md", `\(request timeout \+ (\d+ s)\)`, []any{ledger.LeaseMargin}},
		{"docs/state.md", `at most (\d+) for a scope on each of (\d+) stripes`, lent},
		{"docs/state.md", `So each (\d+)th call`, []any{lendCheck}},
		{"docs/state.md", `at most\s+(\d+)\s+calls for a scope`, []any{lendCheck}},
		{"docs/state.md", `lasts at least (\d+ s) longer`, []any{time.Duration(lendMargin)}},
		{"docs/state.md", `waits (\d+ s) for it, of at most (\d+) that hang`, []any{classifierPatience, maxClassifiers}},
		{"docs/state.md", `look at it together and wait at most (\d+ s)\. .*? within ([0-9.]+ s) with`, []any{replica.LookTimeout, replica.SlowLook}},
		{"docs/state.md", `waits for itself, at most (\d+ s)`, []any{replica.StoreTimeout}},
		{"docs/state.md", `one start in each 24 h/(\d+)`, []any{day}},
		{"docs/state.md", `No acquisition for up to (\d+ min) with the defaults`, []any{even}},
		{"docs/state.md", `\| scopes without a token \| ([0-9,]+), and (\d+) KB`, []any{ledger.MaxScopes, 256}},
		{"docs/state.md", `a scope's name \| (\d+) bytes`, []any{constantOf{"internal/ledger/bounds.go", "maxScope"}}},
		{"docs/state.md", `cut short after (\d+) characters`, []any{constantOf{"internal/secrets/windows.go", "windowMost"}}},
		{"docs/state.md", `of the last ([0-9,]+) secrets, and no values. Only a secret with fewer than (\d+) letters`, []any{constantOf{"internal/secrets/windows.go", "windowsKept"}, constantOf{"internal/secrets/windows.go", "windowLeast"}}},
		{"docs/statefile.md", `at most (\d+ MiB)`, []any{statefile.MaxData}},
		{"docs/reasons.md", `started in the last (\d+ min), and no token`, []any{usual.Dedup.Window}},
		{"docs/reasons.md", `the end of the (\d+ min), or later`, []any{usual.Dedup.Window}},
		{"docs/reasons.md", "`DedupConfig.MaxWaiters` allows, ([0-9,]+) by default", []any{usual.Dedup.MaxWaiters}},
		{"docs/reasons.md", `a 401 in its first (\d+ s)`, []any{ledger.Spreading}},
		{"docs/reasons.md", `a token younger than (\d+ min) is`, []any{usual.Manager.MinTokenAge}},
		{"docs/reasons.md", "in the last (\\d+ min) \\(`recent_window`; (\\d+ s) in `Moderate\\(\\)`\\)", []any{usual.Manager.RecentWindow, moderate.Manager.RecentWindow}},
		{"docs/reasons.md", `the last attempt ended less than (\d+ s) ago`, []any{apart}},
		{"docs/reasons.md", `the end of that, at most (\d+ days)`, []any{retryAfterMost}},
		{"docs/evidence.md", `in full, up to (\d+ days)`, []any{retryAfterMost}},
		{"docs/evidence.md", `In a token's first (\d+ s)`, []any{ledger.Spreading}},
		{"docs/evidence.md", `is given to me again after (\d+ s)`, []any{constantOf{"internal/decide/belief.go", "retryAfterAuth"}}},
		{"docs/evidence.md", `long enough ago: (\d+ s) doubling to (\d+ h), with a spent quota (\d+ min)`, []any{constantOf{"internal/decide/belief.go", "holdAuth"}, constantOf{"internal/decide/belief.go", "mostHold"}, constantOf{"internal/decide/belief.go", "holdQuota"}}},
		{"docs/evidence.md", "start nothing for (\\d+ min), then `key_backoff_base` \\((\\d+ h)\\), doubling to `max_key_backoff` \\((\\d+ h)\\)", []any{constantOf{"internal/decide/belief.go", "firstClosing"}, usual.RateLimit.KeyBackoffBase, usual.RateLimit.MaxKeyBackoff}},
		{"docs/evidence.md", `another operation was refused (\d+ s) before me`, []any{constantOf{"internal/ledger/evidence.go", "corroboration"}}},
		{"docs/evidence.md", `(\d+) operations a token and (\d+) in all`, []any{constantOf{"internal/ledger/evidence.go", "maxEvidence"}, constantOf{"internal/ledger/evidence.go", "maxEvidenceTotal"}}},
		{"docs/renewal.md", `From .min\((\d+ min), lifetime/(\d+)\)`, []any{constantOf{"internal/ledger/policy.go", "renewalAhead"}, constantOf{"internal/ledger/policy.go", "renewalAheadN"}}},
		{"docs/renewal.md", `backoff \((\d+ s) doubling to (\d+ min)\)`, []any{renewals.BackoffBase, renewals.MaxBackoff}},
		{"docs/renewal.md", `the key is closed for (\d+ h), doubling to (\d+ h)`, []any{usual.RateLimit.KeyBackoffBase, usual.RateLimit.MaxKeyBackoff}},
		{"docs/renewal.md", "`ReplaceAfter` \\((\\d+ h)\\)", []any{renewals.ReplaceAfter}},
		{"docs/renewal.md", "`MinInterval` \\((\\d+ s)\\) .*? `MaxPerHour` \\((\\d+)\\)", []any{renewals.MinInterval, renewals.MaxPerHour}},
		{"docs/renewal.md", `Together they have at most (\d+ KiB)`, []any{maxTokenSize}},
		{"docs/guide.md", `in the last (\d+ min) \|`, []any{usual.Dedup.Window}},
		{"docs/guide.md", `until the token is (\d+) minutes old; .Moderate\(\). replaces it as soon as (\d+ s) have`, []any{int(usual.Manager.MinTokenAge / time.Minute), moderate.RateLimit.MinInterval}},
		{"docs/guide.md", "Moderate\\(\\)\\)`: (\\d+)/h, (\\d+)/day, (\\d+ s)", []any{moderate.RateLimit.MaxRequestsPerHour, moderate.RateLimit.MaxRequestsPerDay, moderate.RateLimit.MinInterval}},
		{"docs/guide.md", `With tokens of one hour and (\d+) a day, a busy service has none in the last (\d+) hours`, []any{day, 24 - day}},
		{"docs/operators.md", "`Moderate\\(\\)` is (\\d+) an hour, (\\d+) a day and (\\d+ s) apart", []any{moderate.RateLimit.MaxRequestsPerHour, moderate.RateLimit.MaxRequestsPerDay, moderate.RateLimit.MinInterval}},
		{"docs/operators.md", `the defaults \((\d+) a day\) leave about (\d+) hours`, []any{day, 24 - day}},
		{"docs/operators.md", "`key_backoff_base` \\((\\d+ h)\\) after the first, doubled by each further one, to `max_key_backoff` \\((\\d+ h)\\)", []any{usual.RateLimit.KeyBackoffBase, usual.RateLimit.MaxKeyBackoff}},
		{"docs/operators.md", `at most (\d+) browsers, (\d+) of them from one address`, []any{constantOf{"guardui/places.go", "maxLive"}, constantOf{"guardui/places.go", "maxLivePerPeer"}}},
		{"docs/operators.md", `the answers of up to (five) others`, []any{constantOf{"guardui/scopes.go", "elsewhereShown"}}},
		{"docs/operators.md", `The (ten) scopes and the (ten) operations`, []any{usageShown, usageShown}},
		{"docs/transport.md", `at most (\d+ KiB) of the body`, []any{constantOf{"guardhttp/peek.go", "maxPeek"}}},
		{"docs/transport.md", `up to (\d+ days) are kept`, []any{constantOf{"guardhttp/pause.go", "maxPause"}}},
		{"docs/transport.md", `kept in the Transport, at most ([0-9,]+)\.`, []any{constantOf{"guardhttp/pause.go", "maxPauses"}}},
	}
}

// What the pages say of bounds and defaults is what the code has, wherever they say it.
func TestFiguresAreThoseOfTheCode(t *testing.T) {
	pages := map[string]string{}
	for _, f := range figures() {
		if pages[f.page] == "" {
			text, err := os.ReadFile(f.page)
			require.NoError(t, err)
			pages[f.page] = string(text)
		}
		found := regexp.MustCompile(`(?s)`+f.says).FindAllStringSubmatch(pages[f.page], -1)
		assert.NotEmpty(t, found, "%s does not say %s: move the figure with the sentence", f.page, f.says)
		for _, m := range found {
			require.Len(t, m[1:], len(f.is), f.says)
			for i, said := range m[1:] {
				assert.Equal(t, inTheCode(t, f.is[i]), inWords(t, said), "%s: %q", f.page, m[0])
			}
		}
	}
}

// inWords is a figure of a page: a number, or in nanoseconds or bytes where it has a unit.
func inWords(t *testing.T, said string) float64 {
	t.Helper()
	words := map[string]float64{"five": 5, "ten": 10}
	units := map[string]float64{"": 1, "s": float64(time.Second), "min": float64(time.Minute), "h": float64(time.Hour), "days": 24 * float64(time.Hour), "KiB": 1 << 10, "MiB": 1 << 20}
	number, unit, _ := strings.Cut(said, " ")
	if n, ok := words[number]; ok {
		return n
	}
	n, err := strconv.ParseFloat(strings.ReplaceAll(number, ",", ""), 64)
	require.NoError(t, err)
	require.Contains(t, units, unit)
	return n * units[unit]
}

func inTheCode(t *testing.T, is any) float64 {
	t.Helper()
	switch is := is.(type) {
	case int:
		return float64(is)
	case time.Duration:
		return float64(is)
	case constantOf:
		return is.value(t)
	}
	t.Fatalf("%T", is)
	return 0
}

// value evaluates the constant, which may name those of package time and no others.
func (c constantOf) value(t *testing.T) float64 {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), c.file, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	value := -1.0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != c.name || len(spec.Values) != 1 {
			return true
		}
		expr := types.ExprString(spec.Values[0])
		for name, d := range map[string]time.Duration{"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour, "Millisecond": time.Millisecond} {
			expr = regexp.MustCompile(`\btime\.`+name+`\b`).ReplaceAllString(expr, strconv.FormatInt(int64(d), 10))
		}
		tv, err := types.Eval(token.NewFileSet(), nil, token.NoPos, expr)
		require.NoError(t, err, "%s: %s = %s", c.file, c.name, expr)
		value, _ = constant.Float64Val(tv.Value)
		return false
	})
	require.NotEqual(t, -1.0, value, "%s has no constant %s", c.file, c.name)
	return value
}

// The README and the cookbook say of the incident what its replay prints, which docs/incident.txt is held to.
func TestFiguresOfTheIncident(t *testing.T) {
	printed, err := os.ReadFile("docs/incident.txt")
	require.NoError(t, err)
	type row struct{ calls, acquisitions, working string }
	rows := map[string][]row{} // by what stood in front, in order: plenty of uses, then 40
	name := ""
	for line := range strings.Lines(string(printed)) {
		if m := regexp.MustCompile(`^(no guard|cache per process|tokenguard(?:, Moderate\(\))?) {2,}`).FindStringSubmatch(line); m != nil {
			name = m[1]
		}
		if f := strings.Fields(line); len(f) > 4 && f[0] == "total" {
			rows[name] = append(rows[name], row{f[1], f[2], f[3]})
		}
	}
	require.Len(t, rows["tokenguard"], 2)
	require.Len(t, rows["tokenguard, Moderate()"], 1)

	page := func(name string) string {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		return strings.ReplaceAll(string(text), "*", "")
	}
	readme := page("README.md")
	for said, r := range map[string]row{"no guard": rows["no guard"][0], "a token cache in each process": rows["cache per process"][0], "tokenguard": rows["tokenguard"][0]} {
		assert.Contains(t, readme, "| "+said+" | "+r.calls+" | "+r.acquisitions+" | "+r.working+" |")
	}
	scarce, moderate := rows["tokenguard"][1], rows["tokenguard, Moderate()"][0]
	assert.Contains(t, readme, "the defaults serve "+scarce.working+" of "+scarce.calls+" with "+scarce.acquisitions+" acquisitions, `Moderate()` "+moderate.working+" with "+moderate.acquisitions+".")
	assert.Contains(t, page("docs/cookbook/shadow.md"), "the defaults serve "+scarce.working+" of "+scarce.calls+" calls and `Moderate()` "+moderate.working+".")
}

// A figure that is measured, and that no test can measure alike on every machine, is at least one and the same everywhere.
func TestMeasuredFiguresAgree(t *testing.T) {
	for _, c := range []struct {
		name, says string
		pages      []string
	}{
		{"Token beside its floor", "(?:allocates nothing: |`Token` |`Token`\\*\\* \\| \\*\\*)(0\\.\\d+)", []string{"README.md", "docs/guide.md", "docs/performance.md"}},
		{"otter", `otter (?:takes |\| )?(\d\.\d)\b`, []string{"README.md", "docs/guide.md", "docs/performance.md"}},
		{"x/oauth2", `x/oauth2 (\d\.\d)\b`, []string{"README.md", "docs/guide.md"}},
	} {
		said := map[string]string{}
		for _, page := range c.pages {
			text, err := os.ReadFile(page)
			require.NoError(t, err)
			m := regexp.MustCompile(c.says).FindStringSubmatch(string(text))
			if assert.NotNil(t, m, "%s: no figure of %s", page, c.name) {
				said[m[1]] = page
			}
		}
		assert.Len(t, said, 1, "%s: %v", c.name, said)
	}
}
