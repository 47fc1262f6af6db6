package guardui

import (
	"fmt"
	"time"

	"github.com/tokenguard/tokenguard"
)

// headline is the answer to one question. Every question has one answer, and all of them are of one explanation: a page that
// asks twice can contradict itself.
type headline struct {
	Question, Answer string
	Mood             string // good, warn or bad
	Rule             string // the rule behind it, step and reason
	Detail           string
	At               time.Time // part of the answer, where it names an instant
	Until            time.Time // what is counted down to; zero: nothing
	Then             string    // what can be then
}

// headlines answer the questions of somebody on call: two, and one more where accounts are renewed.
func headlines(e tokenguard.Explanation, v *view) []headline {
	out := []headline{aboutToken(e, v.Store.Error), aboutAcquisition(e)}
	if h, ok := aboutAccount(v.Accounts, e.Verdict, v.Scope, v.At); ok && v.Store.Error == "" && e.Verdict.Reason != tokenguard.ReasonClosed {
		out = append(out, h)
	}
	return out
}

// aboutToken says whether a caller has a token now, and if not, which rule opens last.
func aboutToken(e tokenguard.Explanation, store string) headline {
	v := e.Verdict
	h := headline{Question: "Can a caller have a token now?", Mood: "bad", Rule: rule(v), Detail: v.Detail}
	switch {
	case v.Reason == tokenguard.ReasonClosed:
		h.Answer = "No: this guard is closed"
	case v.Reason == tokenguard.ReasonStoreUnavailable:
		h.Answer = "No: the state cannot be read"
	case v.Answer == tokenguard.AnswerServe:
		h.Answer, h.Mood = "Yes, at once", "good"
		if store != "" {
			h.Answer, h.Mood = "Yes, from the cache", "warn"
		}
	case v.Answer == tokenguard.AnswerRenew:
		h.Answer, h.Mood = "Yes: the next call renews the account's token", "good"
	case v.Answer == tokenguard.AnswerStart:
		h.Answer, h.Mood = "Yes: the next call acquires one", "good"
	case v.Answer == tokenguard.AnswerWait:
		h.Answer, h.Mood = "In a moment: an acquisition is in progress", "warn"
		h.Until, h.Then = v.Until, "The acquisition ends"
	case v.RetryAt.IsZero():
		h.Answer = "No, and waiting alone does not help"
	default:
		h.Answer, h.At, h.Until, h.Then = "No, not before", v.RetryAt, v.RetryAt, "A token can be had"
		if o := e.Opening; o.Answer == tokenguard.AnswerRefuse && !o.Until.After(v.RetryAt) { // of several the rule that opens last
			h.Rule, h.Detail = rule(o), o.Detail
		} else {
			h.Detail += "; before that a token that is known serves again"
		}
	}
	if v.Answer == tokenguard.AnswerServe {
		barred := 0
		for _, said := range e.Evidence {
			if said.Withheld && said.TokenID == v.Evidence.TokenID && said.Operation != "" {
				barred++
			}
		}
		switch barred {
		case 0:
		case 1:
			h.Detail += "; it is barred from 1 operation that refuses it, whose calls are answered otherwise"
		default:
			h.Detail += fmt.Sprintf("; it is barred from %d operations that refuse it, whose calls are answered otherwise", barred)
		}
	}
	return h
}

// aboutAcquisition says whether an acquisition could start.
func aboutAcquisition(e tokenguard.Explanation) headline {
	v, o := e.Verdict, e.Opening
	h := headline{Question: "Could a new acquisition start?", Mood: "bad", Rule: rule(o), Detail: o.Detail}
	served := v.Answer == tokenguard.AnswerServe || v.Answer == tokenguard.AnswerRenew
	switch {
	case o.Reason == tokenguard.ReasonClosed:
		h.Answer = "No: this guard is closed"
	case o.Reason == tokenguard.ReasonStoreUnavailable:
		h.Answer = "No: the state cannot be read"
	case o.Answer == tokenguard.AnswerPass && served:
		h.Answer, h.Mood, h.Rule = "Yes, but none is needed", "good", ""
	case o.Answer == tokenguard.AnswerPass:
		h.Answer, h.Mood, h.Rule = "Yes, now", "good", ""
	case o.Answer == tokenguard.AnswerWait:
		h.Answer, h.Mood = "One is in progress", "warn"
	case o.Until.IsZero():
		h.Answer = "No, and waiting alone does not help"
	default:
		h.Answer, h.At = "No, not before", o.Until
		if served { // nobody waits for it
			h.Mood = "warn"
		}
		if !h.At.Equal(v.RetryAt) {
			h.Until, h.Then = h.At, "An acquisition could start"
		}
	}
	return h
}

// rule names the rule behind a verdict.
func rule(v tokenguard.Verdict) string {
	if v.Reason == "" {
		return string(v.Step)
	}
	return string(v.Step) + ": " + string(v.Reason)
}
