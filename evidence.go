package tokenguard

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// OperationEvidence is what one operation has said of one token: the names in Request.Caller and Outcome.Caller, masked,
// are operations. What its last word disproved is gone, but for the successes. docs/evidence.md says what follows from it.
type OperationEvidence struct {
	TokenID   string `json:"token_id"`
	Operation string `json:"operation"` // empty: callers without a name

	Success time.Time `json:"success,omitzero"` // when its last successful call began; zero: none was reported
	Uses    int       `json:"uses,omitempty"`   // successes

	Auth     Refusals  `json:"auth,omitzero"`      // that stand, for auth
	Quota    Refusals  `json:"quota,omitzero"`     // that stand, for quota
	Count    int       `json:"count,omitempty"`    // of both, at most one a minute of each
	Early    bool      `json:"early,omitempty"`    // refused in the token's first 10 s, when it may not have spread
	Spent    bool      `json:"spent,omitempty"`    // the refusal for quota is confirmed
	Reset    time.Time `json:"reset,omitzero"`     // when the quota is full again
	Assumed  bool      `json:"assumed,omitempty"`  // Reset follows from the quota period; the upstream has stated none
	LastWord time.Time `json:"last_word,omitzero"` // its last report
}

// Refusals are those of one sort that stand. Zero: none does.
type Refusals struct {
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
}

func (r Refusals) String() string {
	if r.First.Equal(r.Last) || r.Last.IsZero() {
		return r.First.Format(time.RFC3339)
	}
	return r.First.Format(time.RFC3339) + " to " + r.Last.Format(time.RFC3339)
}

// String says it in a line, without the token.
func (e OperationEvidence) String() string {
	var said []string
	add := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	if !e.Success.IsZero() {
		add("successes: %d, the last began at %s", e.Uses, e.Success.Format(time.RFC3339))
	}
	if e.Early {
		add("refused in its first 10 s")
	}
	if !e.Auth.First.IsZero() {
		add("refused for auth, %s", e.Auth)
	}
	if !e.Quota.First.IsZero() {
		sort := "in doubt"
		if e.Spent {
			sort = "spent"
		}
		add("quota %s, refused %s", sort, e.Quota)
	}
	if e.Count > 1 {
		add("refusals: %d", e.Count)
	}
	if !e.Reset.IsZero() {
		sort := "stated"
		if e.Assumed {
			sort = "assumed"
		}
		add("%s reset %s", sort, e.Reset.Format(time.RFC3339))
	}
	if said == nil {
		add("nothing that stands")
	}
	name := "callers without a name"
	if e.Operation != "" {
		name = fmt.Sprintf("%q", e.Operation)
	}
	return name + ": " + strings.Join(said, "; ")
}

// evidence is what was said of the tokens that a request could be about: those of its scope, the newest first.
func evidence(in *decide.Input, r timeline.Reading) (all []OperationEvidence) {
	for _, rec := range in.Doc.ByScope[in.Request.Scope] {
		all = append(all, evidenceOf(rec, r)...)
	}
	return all
}

// evidenceOf is what was said of one token, the last word first.
func evidenceOf(rec *ledger.Token, r timeline.Reading) (all []OperationEvidence) {
	for i := range rec.Evidence {
		e := &rec.Evidence[i]
		all = append(all, OperationEvidence{
			TokenID: rec.ID, Operation: e.Operation, Success: r.Time(e.Success), Uses: e.Uses,
			Auth:  Refusals{r.Time(e.Refused), r.Time(e.RefusedLast)},
			Quota: Refusals{r.Time(e.Quota), r.Time(e.QuotaLast)},
			Count: e.Refusals, Early: e.Early, Spent: e.Spent, Reset: r.Time(e.Reset), Assumed: e.Assumed, LastWord: r.Time(e.Heard),
		})
	}
	slices.SortStableFunc(all, func(a, b OperationEvidence) int { return b.LastWord.Compare(a.LastWord) })
	return all
}
