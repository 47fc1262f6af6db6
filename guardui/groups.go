package guardui

import (
	"cmp"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/template"
)

const groupsShown = 20

// group are the failures that say the same once what varies is masked.
type group struct {
	Template   string
	Class      tokenguard.Class
	Count      int // with those that were only counted
	Started    int // acquisitions
	Duplicates int
	Last       time.Time

	form    template.Template
	callers map[string]bool
}

// Callers is how many named ones there are.
func (g *group) Callers() int { return len(g.callers) }

// groups sorts the failures that callers came with by what they say, the most frequent first. similar is the similarity
// from which the guard itself takes two for the same.
func groups(history []tokenguard.Event, similar float64) []group {
	var out []group
	for _, e := range history {
		switch e.Kind {
		case tokenguard.EventState, tokenguard.EventWarning, tokenguard.EventCandidate, // no call of its own
			tokenguard.EventRenewalFailed, tokenguard.EventIdentityEnded, tokenguard.EventIdentityDropped: // what the upstream said, and no caller
			continue
		}
		if e.Text == "" {
			continue
		}
		form := template.Of(e.Text)
		i := slices.IndexFunc(out, func(g group) bool { return template.Same(g.form, form, similar) })
		if i < 0 {
			i = len(out)
			out = append(out, group{Template: form.String(), form: form, callers: map[string]bool{}})
		}
		g := &out[i]
		g.Class = cmp.Or(e.Verdict.Class, g.Class)
		g.Last = e.At
		if e.Caller != "" {
			g.callers[e.Caller] = true
		}
		switch {
		case e.Kind == tokenguard.EventStarted:
			g.Started++ // its caller is counted when the call is answered
			continue
		case e.Verdict.Reason == tokenguard.ReasonDuplicate:
			g.Duplicates += 1 + e.Repeats
		}
		g.Count += 1 + e.Repeats
	}
	slices.SortStableFunc(out, func(a, b group) int { return cmp.Compare(b.Count, a.Count) })
	return out[:min(len(out), groupsShown)]
}
