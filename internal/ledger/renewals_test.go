package ledger

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tokenguard/tokenguard/internal/classify"
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

// A refresh token that comes with a value that cannot be used takes the place of the one that was presented, in time or
// late, and once; not that of one that has come since.
func TestRefreshTokenOfAnUnusableAnswer(t *testing.T) {
	rest := &Token{Identity: &Identity{Hash: "rotated", Expiry: in(Day)}, Parts: Parts{Plain: []byte("rotated parts")}}
	for name, c := range map[string]struct {
		meanwhile func(d *Document, r *Token)
		hash      string
		failures  int
	}{
		"in time":  {func(*Document, *Token) {}, "rotated", 1},
		"late":     {func(d *Document, r *Token) { d.LeaseRenewal(renewalRules(), r, "another", "owner", in(minute)) }, "rotated", 1},
		"replaced": {func(d *Document, r *Token) { d.Edit(r).Identity.Hash = "newer" }, "newer", 0},
		"moved on": {func(d *Document, _ *Token) { d.AdoptSuccessor(renewalRules(), value("b"), "a", "", t0) }, "refresh of b", 0},
		"ended":    {func(d *Document, r *Token) { d.Edit(r).Identity.Ended = t0 }, "refresh of a", 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := New()
			end := &Renewal{Identity: "id", Record: "a", Lease: d.leases(account(d, "a"), "l"), End: t0, Failed: Streak{Class: classify.ClientError, At: t0}, Barred: true, Rest: rest}
			end.Rest.ID = "a"
			c.meanwhile(d, d.Tokens["a"])
			d.CompleteRenewal(renewalRules(), end)
			again, _ := d.CompleteRenewal(renewalRules(), end)
			r := d.identity("id")
			assert.False(t, again)
			assert.Equal(t, []any{c.hash, c.failures}, []any{r.Identity.Hash, r.Identity.Last.Count})
			if c.hash == "rotated" {
				assert.Equal(t, []any{"rotated parts", in(Day), uint64(1)}, []any{string(r.Parts.Plain), r.Identity.Expiry, r.Identity.From})
			}
		})
	}
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

// A value that is given again has been refused with its renewal by who refuses it.
func TestRefusedValueThatIsGivenAgain(t *testing.T) {
	d := New()
	r := account(d, "a")
	r.Identity.Refused = []string{"before"}
	r.Evidence = []Evidence{{Operation: "profile", Refused: in(-minute)}, {Operation: "before", Refused: in(-minute)}, {Operation: "chat", Success: in(-minute)}}
	assert.Equal(t, []bool{true, false}, []bool{r.WorksBeside("profile", t0), r.WorksBeside("chat", t0)})
	d.renews(d.leases(r, "l"), "a")
	assert.Equal(t, []string{"before", "profile"}, d.Tokens["a"].Identity.Refused)
	d.renews(d.leases(d.Tokens["a"], "m"), "b")
	assert.Equal(t, []string{"profile", "before"}, d.Tokens["b"].Identity.Refused)
}

// Two accounts that come to have one refresh token are one, with the lease of the one of which it is being presented: its
// answer is that of both.
func TestTwoAccountsThatComeToHaveOneRefreshToken(t *testing.T) {
	for _, id := range []string{"id", "another"} {
		d := New()
		account(d, "a")
		b := account(d, "b")
		b.Scope, b.Identity.ID, b.Identity.Generation, b.Spent, b.Reset = "other", id, 7, in(-minute), in(Day)
		d.Index()
		l := d.leases(d.Tokens["b"], "l")
		sliding := value("c")
		sliding.Identity.Hash = "refresh of b"
		adopted, _ := d.AdoptSuccessor(renewalRules(), sliding, "a", "", t0)
		assert.True(t, adopted)
		c := d.Tokens["c"]
		assert.Equal(t, []any{l, uint64(8), true, true}, []any{c.Identity.Lease, c.Identity.Generation, c.Serves("other"), c.Serves("s")})
		assert.Equal(t, []any{(*Identity)(nil), in(Day), true}, []any{d.Tokens["b"].Identity, c.Reset, c.IsSpent(t0)}, "what was said of either account")
		changed, _ := d.CompleteRenewal(renewalRules(), &Renewal{Identity: id, Record: "b", Lease: l, End: t0, Token: value("d")})
		assert.True(t, changed)
		assert.Equal(t, []any{"refresh of d", Lease{}}, []any{d.Tokens["d"].Identity.Hash, d.Tokens["d"].Identity.Lease})
		assert.True(t, d.Tokens["d"].Serves("s"))
	}
}

// Two records of one account that become one: what operations said of its quota, and what its renewals met, is that of both;
// what was said for auth stays with the value.
func TestEvidenceOfTwoAccountsThatAreOne(t *testing.T) {
	d := New()
	a, b := account(d, "a"), account(d, "b")
	b.Scope, b.Uses, b.Identity.Banned, b.Identity.Refusals = "other", 5, true, 2
	b.Identity.Closed, b.Identity.Last, b.Identity.Worked, b.Identity.Since = Pause{in(-minute), in(Hour)}, Streak{Count: 3, At: in(-minute)}, true, in(-2*Day)
	spent := Evidence{Operation: "spent", Quota: in(-5 * minute), QuotaLast: in(-3 * minute), Spent: true, Reset: in(Day), Refusals: 2, Uses: 4, Success: in(-9 * minute), Known: in(-3 * minute)}
	dead := Evidence{Operation: "dead", Refused: in(-minute), RefusedLast: in(-minute), Refusals: 1}
	again := Evidence{Operation: "works again", Quota: in(-5 * minute), QuotaLast: in(-4 * minute), Spent: true}
	b.Evidence = []Evidence{spent, dead, again}
	a.Uses, a.Evidence = 7, []Evidence{{Operation: "spent", Success: in(-4 * minute), Uses: 1}, {Operation: "works again", Success: in(-2 * minute)}, {Operation: "mine", Success: in(-minute)}}
	d.Index()
	rest := &Token{ID: "a", Identity: &Identity{Hash: "refresh of b"}, Parts: Parts{Plain: []byte("parts")}}
	l := d.leases(a, "l")
	d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Record: "a", Lease: l, End: t0, Failed: Streak{Class: classify.Transient, At: in(-2 * minute)}, Rest: rest})
	r := d.Tokens["a"]
	i := r.Identity
	assert.Equal(t, []any{12, Pause{in(-minute), in(Hour)}, 2, in(-2 * Day), true, true}, []any{r.Uses, i.Closed, i.Refusals, i.Since, i.Worked, i.Banned})
	spent.Uses, spent.Success = 5, in(-4*minute)
	spent.Heard = r.By("spent").Heard
	assert.Equal(t, spent, *r.By("spent"))
	assert.False(t, r.By("works again").Refuses(t0), "it had a success since")
	assert.False(t, r.By("dead").Refuses(t0), "that was the other value")
	assert.Equal(t, in(-minute), r.By("mine").Success)
	assert.Nil(t, d.Tokens["b"].Identity)
}

// An older answer that comes late brings the refresh token, if it rotated.
func TestALateRotationIsKept(t *testing.T) {
	d := New()
	r := account(d, "a")
	l1 := d.leases(r, "l1")
	d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Record: "a", Lease: l1, End: t0, Failed: Streak{Class: classify.Transient, At: t0}})
	l2 := d.leases(d.Tokens["a"], "l2")
	newer := value("b")
	newer.Identity.Hash = "refresh of a"
	d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Record: "a", Lease: l2, End: t0, Token: newer})
	changed, _ := d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Record: "a", Lease: l1, End: t0, Token: value("c")})
	assert.True(t, changed)
	cur := d.identity("id")
	assert.Equal(t, []any{"b", "refresh of c"}, []any{cur.ID, cur.Identity.Hash})
}

// The refresh token of an unusable answer is the account's, whatever its value is now.
func TestRestOfAValueThatMovedOn(t *testing.T) {
	d := New()
	r := account(d, "a")
	l1 := d.leases(r, "l1")
	sliding := value("s")
	sliding.Identity = nil
	sliding.Parts = Parts{}
	d.AdoptSuccessor(renewalRules(), sliding, "a", "", t0)
	rest := &Token{ID: "a", Identity: &Identity{Hash: "rotated"}, Parts: Parts{Plain: []byte("rotated parts")}}
	d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Record: "a", Lease: l1, End: t0, Failed: Streak{Class: classify.ClientError, At: t0}, Barred: true, Rest: rest})
	assert.Equal(t, "rotated", d.identity("id").Identity.Hash)
}

// The late answer of an account whose record another took over counts, also beside a new lease.
func TestLateAnswerOfAnAccountThatIsAnotherNow(t *testing.T) {
	d := New()
	account(d, "a")
	b := account(d, "b")
	b.Scope, b.Identity.ID = "other", "another"
	d.Index()
	l := d.leases(d.Tokens["b"], "l")
	sliding := value("c")
	sliding.Identity.Hash = "refresh of b"
	d.AdoptSuccessor(renewalRules(), sliding, "a", "", t0)
	d.LeaseRenewal(renewalRules(), d.Tokens["c"], "m", "owner", l.End) // after the lease of l
	changed, _ := d.CompleteRenewal(renewalRules(), &Renewal{Identity: "another", Record: "b", Lease: l, End: l.End + 1, Token: value("d")})
	assert.True(t, changed)
}

// An unusable answer with the refresh token of another record makes one of both.
func TestRestMakesNoTwins(t *testing.T) {
	d := New()
	account(d, "a")
	b := account(d, "b")
	b.Scope, b.Identity.Hash = "other", "rotated"
	d.Index()
	l1 := d.leases(d.Tokens["a"], "l1")
	rest := &Token{ID: "a", Identity: &Identity{Hash: "rotated"}, Parts: Parts{Plain: []byte("rotated parts")}}
	d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Record: "a", Lease: l1, End: t0, Failed: Streak{Class: classify.ClientError, At: t0}, Barred: true, Rest: rest})
	n := 0
	for _, r := range d.Tokens {
		if r.Identity != nil && r.Identity.Ended == 0 && r.Identity.Hash == "rotated" {
			n++
		}
	}
	assert.Equal(t, 1, n)
}

// Of two records of one account the later word on its quota stands.
func TestOneAccountIsSpentByEither(t *testing.T) {
	d := New()
	a := account(d, "a")
	a.Spent, a.Reset = in(-2*Hour), in(-Hour) // its quota is full again
	b := account(d, "b")
	b.Scope, b.Identity.ID, b.Spent, b.Reset = "other", "another", in(-minute), in(Day)
	d.Index()
	sliding := value("c")
	sliding.Identity.Hash = "refresh of b"
	d.AdoptSuccessor(renewalRules(), sliding, "a", "", t0)
	c := d.Tokens["c"]
	assert.True(t, c.IsSpent(t0), "what was said of either account")
}
