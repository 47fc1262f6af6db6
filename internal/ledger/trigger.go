package ledger

import (
	"github.com/tokenguard/tokenguard/internal/template"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Trigger remembers the failure for which an acquisition was started.
type Trigger struct {
	Seq      uint64           `json:"seq"` // the attempt
	Start    timeline.Instant `json:"start"`
	Scope    string           `json:"scope,omitempty"`
	Class    string           `json:"class"`
	Template string           `json:"template"` // masked caller and failure text
}

func (r *Trigger) Parsed() template.Template {
	return template.Parse(r.Template)
}
