package otelguard_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tokenguard/tokenguard"
)

// The limit is that of the processes that renew: another one's default would make alerts of the ratio wrong.
func TestRenewalLimitOfAnotherProcess(t *testing.T) {
	for renews, want := range map[bool]bool{true: true, false: false} {
		shown := points(collect(t, tokenguard.Stats{Renewals: &tokenguard.RenewalStats{Renews: renews, Hour: tokenguard.WindowStats{Used: 30, Limit: 60}}}))
		assert.Equal(t, want, shown["tokenguard.renewal.limit"] != "")
		assert.Contains(t, shown["tokenguard.renewal.used"], " 30")
	}
	assert.NotContains(t, points(collect(t, tokenguard.Stats{})), "tokenguard.renewal.used", "nothing is renewed")
}
