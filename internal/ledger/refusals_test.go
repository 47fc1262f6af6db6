package ledger

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tokenguard/tokenguard/internal/classify"
)

// What the upstream says of an account in an answer that comes after its renewal was given up counts once, unless the account
// has been renewed since. The end of the account counts only as the answer to the last presentation.
func TestRenewalsThatAreRefusedLate(t *testing.T) {
	again := func(d *Document, class string) { // the account is presented once more, and that fails as well
		l := d.leases(d.identity("id"), "l2")
		d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Record: "a", Lease: l, End: in(20 * second), Failed: Streak{Class: class, At: in(20 * second)}, Barred: class != classify.Transient})
	}
	renewed := func(hash string) func(d *Document) {
		return func(d *Document) {
			next := value("b")
			next.Identity.Hash = hash
			l := d.leases(d.identity("id"), "l2")
			d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Record: "a", Lease: l, End: in(20 * second), Token: next})
		}
	}
	nothing := func(*Document) {}
	type said struct {
		ended, banned bool
		refusals      int
		until         Pause
		failures      int
		hash          string
	}
	closed := Pause{in(45 * second), in(45*second + Hour)}
	for name, c := range map[string]struct {
		class     string
		meanwhile func(*Document)
		want      said
	}{
		"a ban":                        {classify.Forbidden, nothing, said{false, true, 1, closed, 1, "refresh of a"}},
		"a ban, presented again":       {classify.Forbidden, func(d *Document) { again(d, classify.Transient) }, said{false, true, 1, closed, 2, "refresh of a"}},
		"a ban, being presented again": {classify.Forbidden, func(d *Document) { d.leases(d.identity("id"), "l2") }, said{false, true, 1, closed, 1, "refresh of a"}},
		"a ban, refused again":         {classify.Forbidden, func(d *Document) { again(d, classify.Forbidden) }, said{false, true, 2, Pause{in(45 * second), in(45*second + 2*Hour)}, 2, "refresh of a"}},
		"a ban, renewed since":         {classify.Forbidden, renewed("rotated"), said{hash: "rotated"}},
		"a ban, renewed with the same": {classify.Forbidden, renewed("refresh of a"), said{hash: "refresh of a"}},
		"a mistake of ours":            {classify.ClientError, nothing, said{false, false, 1, closed, 1, "refresh of a"}},
		"gone":                         {classify.AuthInvalid, nothing, said{true, false, 0, Pause{}, 1, "refresh of a"}},
		"gone, presented again":        {classify.AuthInvalid, func(d *Document) { again(d, classify.Transient) }, said{false, false, 0, Pause{}, 2, "refresh of a"}},
		"gone, being presented again":  {classify.AuthInvalid, func(d *Document) { d.leases(d.identity("id"), "l2") }, said{false, false, 0, Pause{}, 1, "refresh of a"}},
		"gone, renewed since":          {classify.AuthInvalid, renewed("rotated"), said{hash: "rotated"}},
		"gone, renewed with the same":  {classify.AuthInvalid, renewed("refresh of a"), said{hash: "refresh of a"}},
		"gone, with a spare":           {classify.AuthInvalid, func(d *Document) { d.Edit(d.identity("id")).Identity.SpareHash = "spare" }, said{false, false, 0, Pause{}, 1, "spare"}},
		"an outage":                    {classify.Transient, nothing, said{false, false, 0, Pause{}, 1, "refresh of a"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := New()
			l := d.leases(account(d, "a"), "l1")
			d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Record: "a", Lease: l, End: in(12 * second), Failed: Streak{ID: "l1", Class: classify.Transient, At: in(12 * second)}})
			c.meanwhile(d)
			late := &Renewal{Identity: "id", Record: "a", Lease: l, End: in(45 * second), Failed: Streak{ID: "l1", Class: c.class, At: in(45 * second)},
				Gone: c.class == classify.AuthInvalid, Barred: c.class == classify.Forbidden || c.class == classify.ClientError}
			_, ended := d.CompleteRenewal(renewalRules(), late)
			i := d.identity("id").Identity
			assert.Equal(t, c.want, said{i.Ended != 0, i.Banned, i.Refusals, i.Closed, i.Last.Count, i.Hash})
			assert.Equal(t, c.want.ended, ended)
			if c.want.banned {
				assert.Equal(t, c.want.until, d.Scope("s").Closed, "no other account answers a ban")
			}
			changed, ended := d.CompleteRenewal(renewalRules(), late)
			assert.False(t, changed || ended, "once")
		})
	}
}

// A refresh token that is adopted with a known value may be older than the one that it replaces, which is kept as a spare.
func TestAnAdoptedRefreshTokenLeavesTheReplacedOne(t *testing.T) {
	d := New()
	r := account(d, "a")
	before := r.Parts
	adopt := func(hash string) {
		whole := value("a")
		whole.Identity.Hash, whole.Parts = hash, Parts{Plain: []byte(hash)}
		changed, stale := d.Enrich(renewalRules(), &Extras{Whole: whole, Beside: &r.Parts, Hash: r.Identity.Hash, New: true})
		assert.True(t, changed && !stale)
		r = d.Tokens["a"]
	}
	adopt("adopted")
	i := r.Identity
	assert.Equal(t, []any{"adopted", "refresh of a", before}, []any{i.Hash, i.SpareHash, i.Spare})
	adopt("refresh of a")
	assert.Equal(t, []string{"refresh of a", "adopted"}, []string{r.Identity.Hash, r.Identity.SpareHash})
	adopt("refresh of a")
	assert.Equal(t, []string{"refresh of a", "adopted"}, []string{r.Identity.Hash, r.Identity.SpareHash}, "the same again replaces nothing")
}
