package answer_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/answer"
)

// The outermost answer counts, however it is wrapped, and whatever is within it.
func TestOf(t *testing.T) {
	inner := &tokenguard.RefusedError{Verdict: tokenguard.Verdict{Reason: tokenguard.ReasonHourLimit}}
	failed := &tokenguard.RequestError{Err: fmt.Errorf("other guard: %w", inner), Class: tokenguard.ClassTransient}
	plain := &tokenguard.RequestError{Err: errors.New("down")}
	after := &tokenguard.RefusedError{Verdict: tokenguard.Verdict{Reason: tokenguard.ReasonBackoff}, Cause: failed}
	for _, c := range []struct {
		err     error
		refused *tokenguard.RefusedError
		failed  *tokenguard.RequestError
	}{
		{nil, nil, nil},
		{errors.New("x"), nil, nil},
		{inner, inner, nil},
		{plain, nil, plain},
		{failed, nil, failed},
		{fmt.Errorf("get: %w", failed), nil, failed},
		{errors.Join(errors.New("close"), failed), nil, failed},
		{after, after, nil},
		{fmt.Errorf("get: %w", after), after, nil},
	} {
		refused, failed := answer.Of(c.err)
		assert.Same(t, c.refused, refused, "%v", c.err)
		assert.Same(t, c.failed, failed, "%v", c.err)
	}
}
