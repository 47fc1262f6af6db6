package replay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// read returns the calls of files given as NAME, TEXT, NAME, TEXT, ... and the lines that are wrong.
func read(t *testing.T, opts Options, texts ...string) (calls []Call, wrong []string) {
	t.Helper()
	var files []File
	for i := 0; i < len(texts); i += 2 {
		files = append(files, File{texts[i], strings.NewReader(texts[i+1])})
	}
	log, err := Open(files, opts, func(m Mistake) { wrong = append(wrong, fmt.Sprintf("%s:%d", m.File, m.Line)) })
	require.NoError(t, err)
	for c, err := range log.Calls() {
		require.NoError(t, err)
		calls = append(calls, c)
	}
	assert.Equal(t, len(wrong), log.Wrong)
	return calls, wrong
}

func TestFormatIsFoundOut(t *testing.T) {
	for text, want := range map[string]Format{
		`{"at":1}`:                JSON,
		"\n\n{\"at\":1}":          JSON,
		`a=b c="d e"`:             Logfmt,
		"at,caller\n1,a=b":        CSV,
		"at\tcaller":              CSV,
		"at;caller":               CSV,
		"nonsense":                JSON,
		"":                        JSON,
		"starting up\n{}\n{}\n{}": JSON,
		`h - - [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1`: Access,
		"{\"at\":1}\n" + strings.Repeat("non,sense\n", 30):          JSON,
	} {
		log, err := Open([]File{{"log", strings.NewReader(text)}}, Options{}, nil)
		require.NoError(t, err)
		assert.Equal(t, want, log.sources[0].format, "%q", text)
	}
}

// A line that is too long is left out like any wrong one, and the next is read whole.
func TestLongLine(t *testing.T) {
	long := `{"at":1767225600,"body":"` + strings.Repeat("x", maxLine) + `"}`
	calls, wrong := read(t, Options{}, "a", `{"at":1767225600}`+"\n"+long+"\n"+`{"at":1767225601}`)
	assert.Equal(t, []string{"a:2"}, wrong)
	require.Len(t, calls, 2)
	assert.Equal(t, 3, calls[1].Line)
	fits := `{"at":1767225600,"body":"` + strings.Repeat("x", 2<<20) + `"}`
	calls, wrong = read(t, Options{}, "a", fits)
	assert.Empty(t, wrong)
	assert.Len(t, calls[0].Body, 2<<20)
}

func TestMergedByTime(t *testing.T) {
	line := func(s int, caller string) string {
		return fmt.Sprintf(`{"at":%d,"caller":%q}`+"\n", 1767225600+s, caller)
	}
	a := line(0, "a0") + line(2, "a2") + line(2, "a2'") + line(9, "a9")
	b := line(1, "b1") + line(2, "b2") + line(10, "b10") + "wrong\n"
	calls, wrong := read(t, Options{}, "b", b, "a", a)
	var callers []string
	for _, c := range calls {
		callers = append(callers, c.Caller)
	}
	assert.Equal(t, []string{"a0", "b1", "b2", "a2", "a2'", "a9", "b10"}, callers)
	assert.Equal(t, []string{"b:4"}, wrong)
	assert.Equal(t, "a:3", calls[4].Place())
}

// A status below 400 is no failure, unless the body says what failed.
func TestFailureOfACall(t *testing.T) {
	for _, tc := range []struct {
		call Call
		want tokenguard.Class
	}{
		{Call{}, ""},
		{Call{Status: 200}, ""},
		{Call{Status: 304}, ""},
		{Call{Status: 200, Body: "fine"}, ""},
		{Call{Status: 200, Body: "No remaining quota: No AI requests remaining"}, tokenguard.ClassQuotaExhausted},
		{Call{Body: "Too many requests"}, tokenguard.ClassRateLimited},
		{Call{Status: 503}, tokenguard.ClassTransient},
		{Call{Status: 200, Class: tokenguard.ClassForbidden}, tokenguard.ClassForbidden},
	} {
		f := tc.call.failure()
		assert.Equal(t, tc.want == "", f.IsZero(), "%+v", tc.call)
		if tc.want != "" {
			assert.Equal(t, tc.want, classify(f), "%+v", tc.call)
		}
	}
}

// A name of the log stands for one token of the replay, and the newer name for the newer token.
func TestNamesOfTokens(t *testing.T) {
	r, err := New("x", Setup{Upstream: Upstream{Lifetime: time.Hour}}, false)
	require.NoError(t, err)
	assert.Equal(t, "theirs", r.token("", "theirs"), "before any token was handed out")
	r.current[""] = "tk_1"
	assert.Equal(t, "tk_1", r.token("", "theirs"))
	r.current[""] = "tk_2"
	assert.Equal(t, "tk_1", r.token("", "theirs"))
	assert.Equal(t, "tk_2", r.token("", "newer"))
	assert.Equal(t, "tk_2", r.token("", Current))
	assert.Equal(t, Personal, r.token("", Personal))
	assert.Empty(t, r.token("", ""))
	r.current["other"] = "tk_3"
	assert.Equal(t, "tk_3", r.token("other", "theirs"), "another scope has other tokens")
	for i := range 2 * maxNames {
		r.token("", fmt.Sprint("flood-", i))
	}
	assert.LessOrEqual(t, r.names.Len(), maxNames)
}

func TestWhatIfChangesOneSetting(t *testing.T) {
	base := Setup{Config: tokenguard.Moderate()}
	for _, setting := range []string{"replace_spent_early=false", "manager.replace_spent_early=false"} {
		variants, err := ParseWhatIf(setting, base)
		require.NoError(t, err)
		want := base.Config
		want.Manager.ReplaceSpentEarly = false
		assert.Equal(t, want, variants[0].Config)
	}
	variants, err := ParseWhatIf("lifetime=90,5m,0", base)
	require.NoError(t, err)
	assert.Equal(t, []time.Duration{90 * time.Second, 5 * time.Minute, 0},
		[]time.Duration{variants[0].Upstream.Lifetime, variants[1].Upstream.Lifetime, variants[2].Upstream.Lifetime})
	for _, wrong := range []string{"max_requests_per_hour=0", "min_interval=0", "min_interval=0ms", `cache_ttl="0s"`, "similarity_threshold=0", "uses=x",
		"lifetime=-1s", "refresh_ahead=0", "refresh_ahead=25h", "nonsense=1", "rate_limit=3", "cache.=1", ".=1", "consecutive_failure_backoff=false"} {
		_, err := ParseWhatIf(wrong, base)
		assert.Error(t, err, wrong)
	}
}
