package classify

import (
	"math/bits"
	"strings"
)

// conceptNames are the ideas in words, in the order of their constants.
var conceptNames = [...]string{
	"exceeded", "used up", "lacking", "allowance", "number of calls", "limit", "money", "card", "unpaid", "a day or longer", "an hour or shorter",
	"pace", "too many calls", "wait", "a raise is offered", "limit of zero", "temporary", "plan or purchase", "too many", "the caller's own",
	"credential", "bad", "ended", "failed", "unauthorized", "sign-in needed", "missing", "blocked", "check for robots", "no right", "refused",
	"not included", "region", "network address", "denied", "account or user", "switched off", "not active", "overload", "network", "verification keys",
	"server fault", "cancelled by the caller", "length or size", "too large", "too many tokens", "content filtered", "parameter", "resource",
	"timestamp", "kept objects", "or", "allowance used up", "limit met", "credential is bad", "credential not found", "plan has expired",
	"limit over a day or longer", "region not served", "address not allowed", "switched off", "thing not found", "invalid, but not the token",
	"number of calls exceeded",
}

// String is the set in words.
func (c concept) String() string {
	var names []string
	for rest := uint64(c); rest != 0; rest &= rest - 1 {
		names = append(names, conceptNames[bits.TrailingZeros64(rest)])
	}
	return strings.Join(names, ", ")
}
