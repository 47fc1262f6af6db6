package classify

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// waitScore counts the waits that answers state by how they were read. Wrong is
// a wait other than the stated one, or one read where none is stated; a clock
// time, of which the labels say nothing, is counted apart.
type waitScore struct {
	stated, found, missed, wrong, clock, hinted int
	notes                                       []string
}

func (s waitScore) String() string {
	return fmt.Sprintf("%d stated: %d found, %d missed, %d wrong; besides %d clock times read, %d hints", s.stated, s.found, s.missed, s.wrong, s.clock, s.hinted)
}

func (s *waitScore) add(r record) {
	if wait, ok := contested[r.ID]; ok {
		r.Retry = &wait
	}
	in := r.input()
	at := AnswerTime(in.Header, time.Time{})
	if at.IsZero() {
		at = now
	}
	h := ReadHints(in, at)
	if h.Default > 0 {
		s.hinted++
	}
	note := func(what string) {
		s.notes = append(s.notes, fmt.Sprintf("%s %s: read %v (%v), label %v: %.160q", what, r.ID, h.RetryAfter, h.Source, labelled(r), r.Body))
	}
	if r.Retry != nil {
		s.stated++
	}
	switch {
	case !h.HasRetryAfter && r.Retry != nil:
		s.missed++
		note("missed")
	case !h.HasRetryAfter:
	case r.Retry == nil && h.RetryAfter == 0:
		// To the labels "Retry-After: 0 names no wait", which is what a wait of 0 is.
	case r.Retry == nil && h.RetryAfter != ReadHints(in, at.Add(-7*time.Minute)).RetryAfter:
		s.clock++
		note("clock time")
	case r.Retry == nil, math.Abs(h.RetryAfter.Seconds()-*r.Retry) > 1.5:
		s.wrong++
		note("WRONG")
	default:
		s.found++
	}
}

// contested are labels that the answers themselves contradict, with the wait
// that they state.
var contested = map[string]float64{
	"third-013": 7890, // "replenished in 02:11:30"
}

func labelled(r record) any {
	if r.Retry == nil {
		return "none"
	}
	return *r.Retry
}

// Every answer of the files, those of the held-out services apart. What is
// stated is found or not found, never wrong.
func TestWaitScore(t *testing.T) {
	for _, file := range []struct {
		path                 string
		development, heldOut int // waits found, at least
	}{
		{apiErrors, 17, 0},
		{apiErrors2, 8, 12},
		{apiErrors3, 54, 37},
		{extra, 19, 2},
	} {
		t.Run(strings.TrimSuffix(file.path[strings.LastIndexByte(file.path, '/')+1:], ".jsonl"), func(t *testing.T) {
			development, held := heldOut(load(t, file.path))
			for i, part := range [][]record{development, held} {
				var s waitScore
				for _, r := range part {
					s.add(r)
				}
				t.Logf("%s: %v", []string{"development", "held out"}[i], s)
				if i == 0 || *showHeldOut {
					t.Log("\n" + strings.Join(s.notes, "\n"))
				}
				require.Zero(t, s.wrong)
				require.GreaterOrEqual(t, s.found, []int{file.development, file.heldOut}[i])
			}
		})
	}
}
