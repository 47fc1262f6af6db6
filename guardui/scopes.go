package guardui

import (
	"context"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/ledger"
)

// elsewhere is what callers of another scope are told. A page that answers for one scope alone says "the next call
// acquires a token" above the table of a scope that has one.
type elsewhere struct {
	Scope string
	headline
}

// Query leads to the page of the scope.
func (e elsewhere) Query() string { return query(e.Scope) }

// elsewhereShown bounds what one look costs: each scope is another question to the guard.
const elsewhereShown = 5

func (h *handler) elsewhere(ctx context.Context, v *view) (out []elsewhere) {
	for _, u := range v.Usage.Scopes {
		if u.Rest || u.Name == v.Scope || ledger.IsHashed(u.Name) || len(out) == elsewhereShown {
			continue // a hashed one is known to its callers by another name
		}
		e, err := h.guard.Explain(ctx, tokenguard.Request{Scope: u.Name})
		if err != nil {
			return nil // the verdict says so
		}
		out = append(out, elsewhere{u.Name, aboutToken(e, v.Store.Error)})
	}
	return out
}
