package tokenguard

import (
	"context"
	"errors"
)

// ErrReentrant is a call that a user-supplied function (RequestFunc or RenewalFunc) makes to the very guard that runs
// it, on the context that it was given, and that only an acquisition could answer. It comes at once. Calls that a cached
// token or a refusal answers are answered, but Wait does not sleep in such a function: its error is ErrReentrant and the
// refusal. A call to another guard is like any other.
var ErrReentrant = errors.New("tokenguard: the function that fetches a token asked its own guard for one")

// runningFor is who runs the function that a context was given to, and those whose functions led to it.
type runningFor struct {
	owner any // *flights or *personal
	outer *runningFor
}

type runningKey struct{}

// runningIn is the context of a user-supplied function that owner runs.
func runningIn(ctx context.Context, owner any) context.Context {
	outer, _ := ctx.Value(runningKey{}).(*runningFor)
	return context.WithValue(ctx, runningKey{}, &runningFor{owner, outer})
}

// runs reports whether the call comes from a function that owner runs.
func runs(ctx context.Context, owner any) bool {
	r, _ := ctx.Value(runningKey{}).(*runningFor)
	for ; r != nil; r = r.outer {
		if r.owner == owner {
			return true
		}
	}
	return false
}
