package tokenguard

import "github.com/tokenguard/tokenguard/internal/template"

// dedupRecord remembers the failure for which an acquisition was started.
type dedupRecord struct {
	Seq      uint64  `json:"seq"` // the attempt
	Start    instant `json:"start"`
	Scope    string  `json:"scope,omitempty"`
	Class    string  `json:"class"`
	Template string  `json:"template"` // masked caller and failure text
}

func (r *dedupRecord) template() template.Template {
	return template.Parse(r.Template)
}
