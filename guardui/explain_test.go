package guardui_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardui"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

var spent = tokenguard.Failure{StatusCode: 429, Message: "insufficient_quota: you exceeded your current quota, request 4711"}

// inPageForm writes the instants and the length of a text as the page does.
func inPageForm(s string) string {
	return strings.ReplaceAll(regexp.MustCompile(`\d{4}-01-01T(..:..:..)Z`).ReplaceAllString(s, "1 Jan $1 UTC"), "30m0s", "30 min")
}

// text is what a page says, without its tags.
func text(body string) string {
	return strings.Join(strings.Fields(html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(body, " "))), " ")
}

// links are the relative links behind "explain this", newest event first.
func links(body string) (out []string) {
	_, log, _ := strings.Cut(body, `<div id="log"`)
	for _, m := range regexp.MustCompile(`href="\./(\?[^"]*)#explain"`).FindAllStringSubmatch(log, -1) {
		out = append(out, "/"+html.UnescapeString(m[1]))
	}
	return out
}

func TestExplainsThenAndNow(t *testing.T) {
	guard, clock := newGuard(t, tokenguardtest.Reply{Value: secret, Lifetime: 10 * time.Hour}, tokenguardtest.Reply{Value: "second", Lifetime: time.Hour})
	h := guardui.New(guard)
	_, err := guard.Token(t.Context())
	require.NoError(t, err)
	clock.Advance(time.Minute)
	_, err = guard.Acquire(t.Context(), tokenguard.Request{Caller: "billing", Failure: spent, Failing: secret})
	var refused *tokenguard.RefusedError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, tokenguard.ReasonTokenTooNew, refused.Verdict.Reason)
	link := links(ask(h, "/").Body.String())[0]
	assert.Contains(t, link, "failing="+tokenguard.TokenID(secret))

	clock.Advance(time.Hour)
	body := ask(h, link).Body.String()
	then, now, found := strings.Cut(text(body[strings.Index(body, "<h3>Then"):]), "Now,")
	require.True(t, found)
	for _, want := range []string{"It was refused", "manager: token_too_new", inPageForm(refused.Verdict.Detail), "failure's class quota_exhausted",
		"token " + tokenguard.TokenID(secret), "window 30 min", "to come again at 1 Jan 00:30:00 UTC", "this rule opens 1 Jan 00:30:00 UTC"} {
		assert.Contains(t, then, want)
	}
	assert.Contains(t, now, "It would start an acquisition", "the token is old enough by now")
	assert.NotContains(t, body, secret)

	lost := regexp.MustCompile(`event=[^&]*`).ReplaceAllString(link, "event=gone")
	assert.Contains(t, text(ask(h, lost).Body.String()), "not among the last 512")
}

// The status that the link fills in makes the text's class that of the event.
func TestExplainsTheSameClass(t *testing.T) {
	for _, f := range []tokenguard.Failure{spent, {StatusCode: 401, Message: "go away"}, {StatusCode: 403, Message: "go away"}, {StatusCode: 502, Message: "go away"}, {StatusCode: 400, Message: "go away"}, {StatusCode: 429, Message: "go away"}} {
		guard, _ := newGuard(t, tokenguardtest.Reply{Value: secret, Lifetime: 10 * time.Hour})
		_, err := guard.Token(t.Context())
		require.NoError(t, err)
		_, _ = guard.Acquire(t.Context(), tokenguard.Request{Failure: f, Failing: secret})
		h := guardui.New(guard)
		page := text(ask(h, links(ask(h, "/").Body.String())[0]).Body.String())
		class := string(tokenguard.Classify(f))
		assert.Equal(t, 2, strings.Count(page, "failure's class "+class), "%d: then and now", f.StatusCode)
	}
}

func TestFailingToken(t *testing.T) {
	guard, _ := newGuard(t, tokenguardtest.Reply{Value: secret, Lifetime: 10 * time.Hour})
	_, err := guard.Token(t.Context())
	require.NoError(t, err)
	h, id := guardui.New(guard), tokenguard.TokenID(secret)
	with := url.Values{"explain": {"1"}, "status": {"401"}, "failure": {"invalid token"}, "failing": {secret}}

	w := ask(h, "/a/?"+with.Encode())
	assert.Equal(t, http.StatusSeeOther, w.Code, "the browser forgets the address with the token")
	assert.NotContains(t, w.Header().Get("Location")+w.Body.String(), secret)
	to, err := url.Parse(w.Header().Get("Location"))
	require.NoError(t, err)
	assert.Equal(t, "./", to.Path)
	assert.Equal(t, id, to.Query().Get("failing"))
	assert.Equal(t, "401", to.Query().Get("status"))

	body := ask(h, "/a/?"+to.RawQuery).Body.String()
	assert.Contains(t, body, `name="failing" value="`+id+`"`)
	assert.NotContains(t, text(body), "It gets a token at once", "the caller says that the only token is dead")
	with.Del("failing")
	assert.Contains(t, text(ask(h, "/?"+with.Encode()).Body.String()), "It gets a token at once")
}

func TestGroupsAsTheGuardCompares(t *testing.T) {
	for similarity, groups := range map[float64]int{0.5: 1, 1: 2} {
		clock := tokenguardtest.NewClock(time.Time{})
		guard, err := tokenguard.New(tokenguardtest.NewScript(clock, tokenguardtest.Reply{Lifetime: time.Hour}).Request,
			tokenguard.WithClock(clock), tokenguard.WithDedup(tokenguard.DedupConfig{Similarity: similarity}))
		require.NoError(t, err)
		defer guard.Close()
		for _, text := range []string{"the monthly quota of the free plan is used up", "the monthly quota of the free plan is all used up"} {
			_, _ = guard.Acquire(t.Context(), tokenguard.Request{Failure: tokenguard.Failure{StatusCode: 429, Message: text}})
		}
		body := ask(guardui.New(guard), "/").Body.String()
		assert.Equal(t, groups, strings.Count(body[strings.Index(body, `<div id="groups">`):], `<th scope="row" class="text">`), "at %v", similarity)
	}
}

// A page over a state that others use says what is theirs.
func TestOnlyLooking(t *testing.T) {
	clock := tokenguardtest.NewClock(time.Time{})
	store := tokenguard.NewMemoryStore()
	open := func() *tokenguard.Guard {
		guard, err := tokenguard.New(tokenguardtest.NewScript(clock, tokenguardtest.Reply{Lifetime: 10 * time.Minute}, tokenguardtest.Reply{Err: tokenguardtest.ErrScripted}).Request,
			tokenguard.WithClock(clock), tokenguard.WithStore(store), tokenguard.WithName("shared"))
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, guard.Close()) })
		return guard
	}
	service, looker := open(), guardui.New(open())
	assert.Contains(t, text(ask(looker, "/").Body.String()), "This process has decided nothing yet")
	_, err := service.Token(t.Context())
	require.NoError(t, err)
	clock.Advance(12 * time.Minute)
	_, err = service.Token(t.Context())
	require.Error(t, err)
	body := ask(looker, "/").Body.String()
	assert.Contains(t, text(body), "This process has decided nothing yet")
	assert.Contains(t, text(body), "refusals of other processes are not known here")
	assert.Contains(t, text(body), "2 of 3", "starts are everybody's")
	assert.Contains(t, body, `<rect class="closed"`, "so is the backoff")
	assert.Contains(t, text(ask(guardui.New(service), "/").Body.String()), "events of this process, newest first; it keeps 512, since 1 Jan 00:00:00 UTC")
}
