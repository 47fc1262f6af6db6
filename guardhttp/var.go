package guardhttp

import (
	"encoding/json"

	"github.com/tokenguard/tokenguard"
)

// Var shows a guard's Stats as JSON: it is an expvar.Var, for expvar.Publish.
type Var struct{ Guard *tokenguard.Guard }

// String returns the Stats as JSON, "null" without a Guard.
func (v Var) String() string {
	if v.Guard == nil {
		return "null"
	}
	b, err := json.Marshal(v.Guard.Stats())
	if err != nil {
		return "null"
	}
	return string(b)
}
