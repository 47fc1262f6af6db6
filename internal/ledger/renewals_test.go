package ledger

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A copy counts for itself, and what it counted survives the store.
func TestRenewalFailuresByClass(t *testing.T) {
	d := New()
	d.Renewals.failed("transient")
	c := d.Clone()
	c.Renewals.failed("transient")
	c.Renewals.failed("unknown")
	assert.Equal(t, map[string]uint64{"transient": 1}, d.Renewals.Failures)
	data, err := c.Encode()
	assert.NoError(t, err)
	back, err := Decode(data)
	assert.NoError(t, err)
	assert.Equal(t, uint64(3), back.Renewals.Failed)
	assert.Equal(t, map[string]uint64{"transient": 2, "unknown": 1}, back.Renewals.Failures)
}

// An account lives while it is renewed, for no longer than the lease, though its refresh token has expired meanwhile.
func TestAccountLivesWhileItIsRenewed(t *testing.T) {
	d := New()
	r := account(d, "a")
	r.Identity.Expiry = in(second)
	l := d.leases(r, "l")
	assert.True(t, r.Living(l.End-1))
	d.Prune(renewalRules(), l.End-1)
	assert.Zero(t, d.Tokens["a"].Identity.Ended)
	assert.False(t, d.Tokens["a"].Living(l.End))
	d.Swept = 0
	d.Prune(renewalRules(), l.End)
	assert.NotZero(t, d.Tokens["a"].Identity.Ended)
}
