// Package answer finds a guard's own answer in an error that adapters turn into a status, a problem or a span.
package answer

import (
	"errors"

	"github.com/tokenguard/tokenguard"
)

// Of returns the outermost answer in an error; at most one of the two is not nil. A RequestFunc may ask another guard, whose
// answer is then within the failure, and the failure that a refusal follows is its cause: errors.As finds both.
func Of(err error) (refused *tokenguard.RefusedError, failed *tokenguard.RequestError) {
	var within *tokenguard.RefusedError
	switch isRefused, isFailed := errors.As(err, &refused), errors.As(err, &failed); {
	case !isRefused || !isFailed:
		return refused, failed
	case errors.As(failed.Err, &within) && within == refused:
		return nil, failed
	}
	return refused, nil
}
