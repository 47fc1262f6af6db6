package guardui

import (
	"fmt"

	"github.com/tokenguard/tokenguard"
)

// beside is a candidate configuration against the one in force.
type beside struct {
	*tokenguard.CandidateStats
	Rows     []comparison
	Settings []change
}

// comparison is a figure of both.
type comparison struct{ Name, InForce, Candidate string }

// change is a setting in which they differ.
type change struct{ Section, Name, InForce, Candidate string }

// compare is nil where nothing is judged.
func compare(s tokenguard.Stats, config tokenguard.Config) *beside {
	if s.Candidate == nil {
		return nil
	}
	b := &beside{CandidateStats: s.Candidate}
	own := s.Candidate.Stats
	row := func(name string, figure func(tokenguard.Stats) string) {
		b.Rows = append(b.Rows, comparison{name, figure(s), figure(own)})
	}
	row("calls served", func(s tokenguard.Stats) string { return fmt.Sprintf("%d of %d", s.Calls.Served, s.Calls.Total) })
	row("calls refused", func(s tokenguard.Stats) string { return fmt.Sprint(s.Calls.Refused) })
	row("starts of this hour", func(s tokenguard.Stats) string { return used(s.Acquisitions.Hour) })
	row("starts of this day", func(s tokenguard.Stats) string { return used(s.Acquisitions.Day) })
	theirs := settings(s.Candidate.Config)
	for i, own := range settings(config) {
		if own.Value != theirs[i].Value {
			b.Settings = append(b.Settings, change{own.Section, own.Name, own.Value, theirs[i].Value})
		}
	}
	return b
}

func used(w tokenguard.WindowStats) string { return fmt.Sprintf("%d of %d", w.Used, w.Limit) }
