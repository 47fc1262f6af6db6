package guardui

import (
	"fmt"
	"html/template"
	"net/url"
	"time"

	"github.com/tokenguard/tokenguard"
)

// account is an identity in plain words.
type account struct {
	tokenguard.IdentityStats
	Mood  string // good, warn or bad
	Word  string // the state
	Why   string // of the state
	Dead  bool
	InUse bool // the one that the scope's calls go by
}

func newAccount(i tokenguard.IdentityStats) account {
	a := account{IdentityStats: i}
	say := func(mood, word, format string, args ...any) {
		a.Mood, a.Word, a.Why = mood, word, fmt.Sprintf(format, args...)
	}
	failed := fmt.Sprintf("%s failed in a row, the last at %s: %s", counted(i.Failures, "renewal", "renewals"), stamp(i.StateSince), i.Failure)
	if i.Failures == 1 {
		failed = fmt.Sprintf("the last renewal failed at %s: %s", stamp(i.StateSince), i.Failure)
	}
	switch i.State {
	case "renewing":
		say("good", "living, being renewed", "a renewal is in progress since %s", stamp(i.StateSince))
	case "failing":
		say("warn", "living, its renewal fails", "%s; the next call tries again", failed)
	case "backing_off":
		say("warn", "renewal backing off", "%s", failed)
	case "closed":
		say("bad", "renewal closed", "the renewal was refused at %s and is not repeated soon (%s): %s", stamp(i.StateSince), i.Class, i.Failure)
	case "spent":
		say("warn", "spent", "its quota has been spent since %s; it is not renewed before its reset", stamp(i.StateSince))
	case "expired":
		say("bad", "dead", "its refresh token expired at %s", stamp(i.StateSince))
		a.Dead = true
	case "ended":
		say("bad", "dead", "at %s the upstream no longer knew it: %s", stamp(i.StateSince), i.Failure)
		if i.Cleared {
			a.Why = "an operator cleared it at " + stamp(i.StateSince)
		}
		a.Dead = true
	default:
		say("good", "living", "")
	}
	return a
}

// accounts are the identities in plain words. In use is the newest living one of each scope; where none lives, the newest.
func accounts(s *tokenguard.RenewalStats) (out []account) {
	if s == nil {
		return nil
	}
	used := map[string]int{}
	for n, i := range s.Identities {
		a := newAccount(i)
		if at, ok := used[i.Scope]; !ok || out[at].Dead && !a.Dead {
			used[i.Scope] = n
		}
		out = append(out, a)
	}
	for _, n := range used {
		out[n].InUse = true
	}
	return out
}

// aboutAccount says whether the account behind the scope's tokens lives. ok is false if there is none.
func aboutAccount(all []account, v tokenguard.Verdict, scope string, now time.Time) (h headline, ok bool) {
	for _, a := range all {
		if a.InUse && a.Scope == scope {
			return a.headline(v, now), true
		}
	}
	return headline{}, false
}

func (a account) headline(v tokenguard.Verdict, now time.Time) headline {
	h := headline{Question: "Is the account alive?", Mood: a.Mood, Rule: "renewal: " + a.State, Detail: a.ID + " is " + span(now.Sub(a.Since)) + " old"}
	if a.Why != "" {
		h.Detail += "; " + a.Why
	}
	switch {
	case a.Dead:
		h.Answer, h.At = "No: dead since", a.StateSince
		if v.Answer == tokenguard.AnswerServe && v.Evidence.TokenID == a.TokenID {
			h.Detail += "; its token serves until " + stamp(a.Expiry) + "; after that another account is acquired, as soon as an acquisition may start"
		} else {
			h.Detail += "; another account is acquired as soon as an acquisition may start"
		}
	case a.State == "renewing":
		h.Answer = "Yes: its renewal is in progress"
	case a.State == "closed" || a.State == "backing_off":
		h.Answer, h.At = "Not known: it cannot be renewed before", a.Next
		if a.Next.IsZero() {
			h.Answer = "Not known: it cannot be renewed"
		}
		if !a.Next.IsZero() && !a.Next.Equal(v.RetryAt) {
			h.Until, h.Then = a.Next, "The next renewal may start"
		}
	case a.State == "spent" && a.Next.IsZero():
		h.Answer = "Yes, but its quota is spent"
	case a.State == "spent":
		h.Answer, h.At = "Yes, but its quota is spent until", a.Next
	case a.State == "failing":
		h.Answer = "Not known: its last renewal failed"
	case a.Next.IsZero():
		h.Answer = "Yes; its refresh token ends before the next renewal"
	case !a.Next.After(now):
		h.Answer = "Yes; its renewal is due"
	default:
		h.Answer, h.At = "Yes; its next renewal is due", a.Next
	}
	return h
}

const evidenceShown = 60

// word is what an operation has said of a token, in plain words.
type word struct {
	tokenguard.OperationEvidence
	Token tokenguard.TokenStats // zero: it is not among the newest
	Scope string
}

// evidenceWords are those of the scope's tokens, the newest token first.
func evidenceWords(all []tokenguard.OperationEvidence, tokens []tokenguard.TokenStats, scope string) (out []word) {
	known := map[string]tokenguard.TokenStats{}
	for _, t := range tokens {
		known[t.ID] = t
	}
	for _, e := range all[:min(len(all), evidenceShown)] {
		out = append(out, word{e, known[e.TokenID], scope})
	}
	return out
}

// Mood and Now say whether the operation is handed the token.
func (w word) Mood() string {
	switch {
	case w.Withheld:
		return "bad"
	case w.Ended() != "":
		return "dim"
	}
	return "good"
}

// Ended says why nobody gets the token; "": somebody may.
func (w word) Ended() string {
	if w.Token.State == "expired" {
		return w.Token.State
	}
	return ""
}

// Query asks what the operation would be told now.
func (w word) Query() template.URL {
	q := url.Values{"explain": {"1"}}
	if w.Scope != "" {
		q.Set("scope", w.Scope)
	}
	if w.Operation != "" {
		q.Set("caller", w.Operation)
	}
	return template.URL(q.Encode()) // nothing is left to escape
}
