package main

import (
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
)

type answered = classify.Input

// judged is what the library reads of an answer, and why.
type judged struct {
	Class      string  `json:"class"`
	Meaning    string  `json:"meaning"`
	Confidence float64 `json:"confidence"` // the share of answers judged like this one that are right, in [0,1]
	Rule       string  `json:"rule"`
	Evidence   []cue   `json:"evidence"`
	Period     string  `json:"period,omitempty"` // of the limit
	Whose      string  `json:"whose"`            // limit, ban or fault it is
	// Wait in seconds, as the answer asks in WaitSource; nil: it does not.
	Wait       *float64   `json:"wait_s,omitempty"`
	WaitSource string     `json:"wait_source,omitempty"`
	ResetAt    *time.Time `json:"reset_at,omitempty"`
	Limit      int64      `json:"limit,omitempty"`
	Remaining  int64      `json:"remaining,omitempty"`
}

// cue is an idea and the words that gave it.
type cue struct {
	Idea  string `json:"idea"`
	Words string `json:"words"`
	Where string `json:"where"` // status, body, or a header's name
}

// meanings are what follows of each class.
var meanings = map[string]string{
	classify.QuotaExhausted: "the token's allowance is used up; another token may be fetched, when the rules allow it",
	classify.RateLimited:    "too much in too little time; wait, another token does not help",
	classify.AuthInvalid:    "the token is missing, expired or revoked; another token may be fetched, when the rules allow it",
	classify.Forbidden:      "a ban, a permission or a policy; stop, another token does not help",
	classify.Transient:      "the server or the network failed; try again later with the same token",
	classify.ClientError:    "the request itself is wrong; do not repeat it",
	classify.Unknown:        "the answer does not say; nothing is fetched for it",
}

// judge reads an answer by the very rules that a guard reads failures by.
func judge(in answered) judged {
	c := classify.Judge(in)
	j := judged{Class: c.Class, Meaning: meanings[c.Class], Confidence: c.Confidence, Rule: c.Rule, Evidence: []cue{}, Period: c.Period, Whose: c.Whose}
	for _, e := range c.Evidence {
		j.Evidence = append(j.Evidence, cue{e.Idea, e.Words, e.Where})
	}
	if c.HasWait {
		seconds := c.Wait.Seconds()
		j.Wait, j.WaitSource = &seconds, c.WaitSource
	}
	h := classify.ReadHints(in, time.Now())
	if j.Limit, j.Remaining = h.Limit, h.Remaining; !h.ResetAt.IsZero() {
		j.ResetAt = &h.ResetAt
	}
	return j
}
