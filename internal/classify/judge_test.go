package classify

import (
	"flag"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	explainText   = flag.String("text", "", "the body that TestExplain explains")
	explainStatus = flag.Int("status", 0, "its status")
)

// TestExplain prints how one answer is read and the rule that decided:
//
//	go test ./internal/classify -run TestExplain -v -args -status 429 -text '...'
func TestExplain(t *testing.T) {
	in := Input{StatusCode: *explainStatus, Text: *explainText}
	if in.isZero() {
		in = Input{StatusCode: 429, Text: `{"error":"You have used 50 of 50 requests per day."}`}
	}
	c := Judge(in)
	t.Logf("%s, confidence %.2f\nrule: %s\nperiod %q, whose: %s, wait %v (%v) from %q", c.Class, c.Confidence, c.Rule, c.Period, c.Whose, c.Wait, c.HasWait, c.WaitSource)
	for _, e := range c.Evidence {
		t.Logf("  %s: %q in %s", e.Idea, e.Words, e.Where)
	}
	require.NotEmpty(t, c.Rule)
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name                 string
		in                   Input
		class, period, whose string
		evidence             Evidence
	}{
		{"a day's requests", Input{StatusCode: 429, Text: `{"error":"Your daily limit of requests is exceeded"}`}, QuotaExhausted, "day", WhoseAccount,
			Evidence{"limit over a day or longer", "daily limit", "body"}},
		{"a month", Input{StatusCode: 403, Text: "monthly quota exceeded"}, QuotaExhausted, "month", WhoseUnknown, Evidence{"limit over a day or longer", "monthly quota", "body"}},
		{"a counter at its maximum", Input{StatusCode: 429, Text: "You have used 50 of 50 requests per day."}, QuotaExhausted, "day", WhoseAccount,
			Evidence{"limit over a day or longer", "requests per day", "body"}},
		{"a minute", Input{StatusCode: 429, Text: "more than 5 requests per minute: rate limit exceeded"}, RateLimited, "minute", WhoseUnknown,
			Evidence{"an hour or shorter", "per minute", "body"}},
		{"an address", Input{StatusCode: 403, Text: "Your IP address is banned"}, Forbidden, "", WhoseAddress, Evidence{"blocked", "banned", "body"}},
		{"a device", Input{StatusCode: 403, Text: "This device has been blocked"}, Forbidden, "", WhoseDevice, Evidence{"blocked", "blocked", "body"}},
		{"a captcha on any status", Input{StatusCode: 200, Text: "Sign in to confirm you're not a bot"}, Forbidden, "", WhoseUnknown,
			Evidence{"check for robots", "confirm youre not a bot", "body"}},
		{"a token", Input{StatusCode: 401, Text: "Your access token has expired"}, AuthInvalid, "", WhoseCredential, Evidence{"credential is bad", "access token has expired", "body"}},
		{"the application's own key", Input{StatusCode: 400, Text: "API key not valid"}, AuthInvalid, "", WhoseApp, Evidence{"credential is bad", "api key not valid", "body"}},
		{"a header", Input{StatusCode: 401, Header: http.Header{"Www-Authenticate": {`Bearer error="invalid_token"`}}}, AuthInvalid, "", WhoseCredential,
			Evidence{"sign-in needed", "invalid token", "Www-Authenticate"}},
		{"a bare status", Input{StatusCode: 404}, ClientError, "", WhoseRequest, Evidence{"status", "404", "status"}},
		{"Japanese", Input{StatusCode: 429, Text: "本日の利用上限に達しました"}, QuotaExhausted, "day", WhoseUnknown, Evidence{"limit over a day or longer", "本日の利用上限", "body"}},
	} {
		got := Judge(c.in)
		require.Equal(t, c.class, got.Class, c.name)
		require.Equal(t, c.period, got.Period, c.name)
		require.Equal(t, c.whose, got.Whose, c.name)
		require.Contains(t, got.Evidence, c.evidence, c.name)
	}
	require.Equal(t, Classification{}, Judge(Input{}))
}

func TestJudgeReadsTheWait(t *testing.T) {
	c := Judge(Input{StatusCode: 429, Header: http.Header{"Retry-After": {"30"}}, Text: "retry in 5 seconds"})
	require.True(t, c.HasWait)
	require.Equal(t, 30*time.Second, c.Wait)
	require.Equal(t, "Retry-After", c.WaitSource)
	c = Judge(Input{StatusCode: 429, Text: "retry in 5 seconds"})
	require.Equal(t, 5*time.Second, c.Wait)
	require.Equal(t, "body", c.WaitSource)
}

// Judge and Classify are one judgement.
func TestJudgeAgreesWithClassify(t *testing.T) {
	for _, r := range append(loadRecorded(t), load(t, extra)...) {
		c := Judge(r.input())
		require.Equal(t, Classify(r.input()), c.Class, r.ID)
		require.Equal(t, c.Class == "", c.Rule == "", r.ID)
		require.Equal(t, c, Judge(r.input()), r.ID)
	}
}

func TestConceptsHaveNames(t *testing.T) {
	require.Equal(t, countOver, concept(1)<<(len(conceptNames)-1), "one name for each idea, in their order")
	require.Equal(t, "exceeded, blocked", (exceeded | barred).String())
}

// TestCalibration compares the confidence with the share that is right, on the
// services held out. Their mistakes have been read since the confidences were
// taken, so that it may be right more often than it says, but not less.
func TestCalibration(t *testing.T) {
	type bucket struct{ n, right int }
	buckets := map[float64]*bucket{}
	gap, n := 0.0, 0
	leftOut(t, func(r record, w string) {
		n++
		c := judge(w, r.input())
		if buckets[c.Confidence] == nil {
			buckets[c.Confidence] = &bucket{}
		}
		b := buckets[c.Confidence]
		b.n++
		if c.Class == r.Class {
			b.right++
		}
	})
	for confidence, b := range buckets {
		share := float64(b.right) / float64(b.n)
		t.Logf("confidence %.2f: %.3f of %d right", confidence, share, b.n)
		gap += max(0, confidence-share) * float64(b.n) / float64(n)
	}
	t.Logf("mean overconfidence %.3f", gap)
	require.Less(t, gap, 0.01)
}
