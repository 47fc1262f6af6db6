package main

import (
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
)

type answered = classify.Input

// judged is what the library reads of an answer.
type judged struct {
	Class   string `json:"class"`
	Meaning string `json:"meaning"`
	// Wait in seconds, as the answer asks; nil: it does not.
	Wait      *float64   `json:"wait_s,omitempty"`
	ResetAt   *time.Time `json:"reset_at,omitempty"`
	Limit     int64      `json:"limit,omitempty"`
	Remaining int64      `json:"remaining,omitempty"`
}

// meanings are what follows of each class.
var meanings = map[string]string{
	classify.QuotaExhausted: "the token's allowance is used up; another token may be fetched, when the rules allow it",
	classify.RateLimited:    "too much in too little time; wait, another token does not help",
	classify.AuthInvalid:    "the token is missing, expired or revoked; another token may be fetched, when the rules allow it",
	classify.Forbidden:      "a ban, a permission or a policy; stop, another token does not help",
	classify.Transient:      "the server or the network failed; try again later with the same token",
	classify.ClientError:    "the request itself is wrong; do not repeat it",
	classify.Unknown:        "the answer does not tell; nothing is fetched for it",
}

// judge reads an answer by the very rules that a guard reads failures by.
func judge(in answered) judged {
	h := classify.ReadHints(in, time.Now())
	j := judged{Class: classify.Classify(in), Limit: h.Limit, Remaining: h.Remaining}
	j.Meaning = meanings[j.Class]
	if h.HasRetryAfter {
		seconds := h.RetryAfter.Seconds()
		j.Wait = &seconds
	}
	if !h.ResetAt.IsZero() {
		j.ResetAt = &h.ResetAt
	}
	return j
}
