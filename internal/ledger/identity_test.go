package ledger

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/classify"
)

func renewalRules() *Policy {
	p := rules()
	p.Renews = true
	p.Renewal = RenewalPolicy{MinInterval: minute, MaxPerHour: 60, BackoffBase: 5 * second, MaxBackoff: 10 * minute, Timeout: 10 * second, ReplaceAfter: Day}
	return p
}

// account adds a token with an identity.
func account(d *Document, id string) *Token {
	r := held(d, id, in(-50*minute))
	r.Expiry, r.Parts = in(10*minute), Parts{Plain: []byte("parts of " + id)}
	r.Identity = &Identity{ID: "id", Since: in(-Day), Hash: "refresh of " + id}
	return r
}

func value(id string) *Token {
	return &Token{ID: id, Kind: Anonymous, Scope: "s", Acquired: t0, Used: t0, Expiry: in(Hour), Value: "value of " + id, Parts: Parts{Plain: []byte("parts of " + id)},
		Identity: &Identity{Hash: "refresh of " + id}}
}

// renews leases and completes a renewal.
func (d *Document) renews(l Lease, id string) (changed, ended bool) {
	return d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Lease: l, End: t0, Token: value(id)})
}

func (d *Document) leases(r *Token, id string) Lease {
	return d.LeaseRenewal(renewalRules(), r, id, "owner", t0)
}

func TestSucceed(t *testing.T) {
	d := New()
	r := account(d, "a")
	r.Evidence = []Evidence{{Operation: "x", Refused: in(-minute), RefusedLast: in(-minute), Refusals: 1, Early: true, Success: in(-2 * minute)},
		{Operation: "y", Quota: in(-minute), QuotaLast: in(-minute), Spent: true, Reset: in(Hour), Refusals: 1}}
	r.Uses, r.Also = 7, []string{"other"}
	d.Renewals.Replaced = true
	l := d.leases(r, "l1")
	changed, ended := d.renews(l, "b")
	require.True(t, changed)
	require.False(t, ended)
	b := d.Tokens["b"]
	require.NotNil(t, b)
	assert.False(t, d.Renewals.Replaced)
	assert.Nil(t, d.Tokens["a"].Identity)
	assert.False(t, d.Tokens["a"].HasSecret())
	assert.Equal(t, "b", d.Tokens["a"].Successor)
	assert.Equal(t, b, d.Current(d.Tokens["a"]))
	assert.Equal(t, []any{"id", in(-Day), "refresh of b", t0, 1, Lease{}}, []any{b.Identity.ID, b.Born(), b.Identity.Hash, b.Identity.Renewed, b.Identity.Renewals, b.Identity.Lease})
	assert.Equal(t, []any{7, []string{"other"}, "s"}, []any{b.Uses, b.Also, b.Scope})
	x, y := b.By("x"), b.By("y")
	assert.Zero(t, x.Refused+x.RefusedLast)
	assert.False(t, x.Early)
	assert.NotZero(t, x.Success, "the account works for it")
	assert.Equal(t, []any{true, in(Hour), 1}, []any{y.Spent, y.Reset, y.Refusals}, "a quota is the account's")
	assert.Equal(t, []string{"x"}, b.Identity.Refused)
	assert.Equal(t, b, d.Newest("s"))
	assert.Equal(t, b, d.Newest("other"))

	changed, _ = d.renews(l, "b")
	assert.False(t, changed, "an end counts once")

	d.Report(renewalRules(), &Report{Class: classify.QuotaExhausted, Failing: "a", Operation: "z", At: in(second)}, "s", nil, in(second))
	assert.NotNil(t, b.By("z"), "a report of the old value's quota is one of the account")
	d.Report(renewalRules(), &Report{Class: classify.AuthInvalid, Failing: "a", Operation: "w", At: in(second)}, "s", nil, in(second))
	assert.Nil(t, b.By("w"), "one of its auth is not")
}

func TestRenewalLeavesOut(t *testing.T) {
	d := New()
	r := account(d, "a")
	r.Identity.Expiry = in(Day)
	l := d.leases(r, "l1")
	next := value("b")
	next.Identity.Hash = r.Identity.Hash // no rotation, and no expiry stated
	d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Lease: l, End: t0, Token: next})
	assert.Equal(t, in(Day), d.Tokens["b"].Identity.Expiry)
}

// Of two answers to one refresh token the later intent's stays, and the other is the spare, whichever comes first.
func TestTwoAnswers(t *testing.T) {
	for name, order := range map[string][2]int{"in order": {0, 1}, "late": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			d := New()
			r := account(d, "a")
			leases := [2]Lease{d.leases(r, "l1")}
			r.Identity.Lease.End = t0 // its process was stopped
			leases[1] = d.leases(r, "l2")
			for _, n := range order {
				changed, _ := d.renews(leases[n], []string{"first", "second"}[n])
				require.True(t, changed)
			}
			newest := d.identity("id")
			assert.Equal(t, "second", newest.ID)
			assert.Equal(t, "refresh of first", newest.Identity.SpareHash)
			l := d.leases(newest, "l3")
			gone := &Renewal{Identity: "id", Lease: l, End: in(minute), Gone: true, Failed: Streak{Class: classify.AuthInvalid, At: in(minute)}}
			_, ended := d.CompleteRenewal(renewalRules(), gone)
			assert.False(t, ended, "the spare is tried first")
			assert.Equal(t, []any{"refresh of first", "", []byte("parts of first")}, []any{newest.Identity.Hash, newest.Identity.SpareHash, newest.Parts.Plain})
			gone.Lease = d.leases(newest, "l4")
			_, ended = d.CompleteRenewal(renewalRules(), gone)
			assert.True(t, ended)
			assert.False(t, newest.Living(in(minute)))
			assert.True(t, newest.HasValue(), "its value serves on")
		})
	}
}

// A failure that comes after another answer has replaced what it presented ends nothing.
// An account is replaced by an attempt that brings another one, not by one that fails or never ends.
func TestReplaced(t *testing.T) {
	for name, c := range map[string]struct {
		token    *Token
		lands    bool
		replaced bool
	}{"another account": {&Token{ID: "b", Scope: "s", Value: "b"}, true, true}, "a failure": {nil, true, false}, "no end": {nil, false, false}} {
		t.Run(name, func(t *testing.T) {
			d := New()
			account(d, "a")
			d.Index()
			a := d.Charge(renewalRules(), &Start{ID: "start", Scope: "s", Replaces: true}, t0)
			assert.True(t, d.Replaced(a.End-1), "meanwhile nobody else replaces it")
			if c.lands {
				d.Complete(renewalRules(), &Completion{Attempt: a, End: t0 + 1, Token: c.token})
			}
			assert.Equal(t, c.replaced, d.Replaced(a.End))
			assert.Equal(t, c.replaced, d.Tokens["a"].Identity.Replaced)
			merged := New()
			merged.mergeRenewals(d)
			assert.Equal(t, d.Renewals.Replaced, merged.Renewals.Replaced)
			assert.Equal(t, d.Renewals.Replacing, merged.Renewals.Replacing)
			d.renews(d.leases(d.Tokens["a"], "l"), "c")
			assert.False(t, d.Replaced(a.End))
			assert.False(t, d.Tokens["c"].Identity.Replaced)
		})
	}
}

// A ban is remembered until a renewal succeeds, whatever comes in between.
func TestBanned(t *testing.T) {
	d := New()
	r := account(d, "a")
	for n, class := range []string{classify.Forbidden, classify.Transient, classify.ClientError} {
		l := d.leases(r, strconv.Itoa(n))
		d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Lease: l, End: t0, Failed: Streak{Class: class}, Barred: class != classify.Transient})
		r = d.Tokens["a"]
		assert.True(t, r.Identity.Banned, class)
	}
	other := New()
	account(other, "a")
	other.mergeRenewals(d)
	assert.True(t, other.Tokens["a"].Identity.Banned)
	d.renews(d.leases(r, "last"), "b")
	assert.False(t, d.Tokens["b"].Identity.Banned)
}

func TestFailureOfAReplacedRefreshToken(t *testing.T) {
	d := New()
	r := account(d, "a")
	first := d.leases(r, "l1")
	r.Identity.Lease.End = t0
	second := d.leases(r, "l2")
	d.renews(first, "late")
	_, ended := d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Lease: second, End: t0, Gone: true})
	assert.False(t, ended)
	assert.True(t, d.identity("id").Living(t0))
	assert.Empty(t, d.identity("id").Identity.Lease.ID)
}

func TestRenewalFailures(t *testing.T) {
	d := New()
	r := account(d, "a")
	fail := func(f Renewal) (ended bool) {
		f.Identity, f.Lease = "id", d.leases(r, "l")
		f.End = t0
		f.Failed.At = t0
		_, ended = d.CompleteRenewal(renewalRules(), &f)
		return ended
	}
	fail(Renewal{Failed: Streak{Class: classify.Transient}})
	fail(Renewal{Failed: Streak{Class: classify.Transient}})
	n, at := r.Identity.Failures(t0)
	assert.Equal(t, []any{2, t0}, []any{n, at})

	fail(Renewal{Failed: Streak{Class: classify.RateLimited}, Pause: Pause{From: t0, Until: in(Hour)}})
	assert.Equal(t, in(Hour), d.Renewals.Pause.Until)
	assert.Equal(t, in(Hour), d.Pause.Until, "the endpoint wants no acquisition either")

	fail(Renewal{Failed: Streak{Class: classify.ClientError}, Barred: true})
	assert.Equal(t, in(Hour), r.Identity.Closed.Until)
	assert.Zero(t, d.Scope("s").Closed.Until)
	fail(Renewal{Failed: Streak{Class: classify.Forbidden}, Barred: true})
	assert.Equal(t, in(2*Hour), r.Identity.Closed.Until)
	assert.Equal(t, in(2*Hour), d.Scope("s").Closed.Until, "no other account answers a ban")

	d.Clear(Clearing{Backoff: true, RetryAfter: true}, t0)
	n, _ = r.Identity.Failures(t0)
	assert.Equal(t, []any{0, Pause{}, Pause{}, Pause{}}, []any{n, r.Identity.Closed, d.Renewals.Pause, d.Pause})

	assert.True(t, fail(Renewal{Failed: Streak{Class: classify.AuthInvalid}, Gone: true}))
	assert.Equal(t, in(Hour), d.Scope("s").Closed.Until, "it never worked: a failed acquisition of its key")
}

// An account that counted as ended while its renewal was under way, and was adopted anew with the refresh token in use, is
// one account once the renewal has succeeded: the used refresh token is never presented again.
func TestRenewalOfAnAccountThatWasAdoptedAnew(t *testing.T) {
	d := New()
	r := account(d, "a")
	l := d.leases(r, "l")
	d.Edit(d.Tokens["a"]).Identity.Ended = t0
	again := held(d, "again", t0)
	again.Scope, again.Identity = "other", &Identity{ID: "id2", Hash: l.Hash}
	d.Index()
	changed, _ := d.renews(l, "b")
	require.True(t, changed)
	assert.Zero(t, d.Tokens["b"].Identity.Ended)
	assert.True(t, d.Tokens["b"].Serves("other"), "its scopes are served on")
	assert.Nil(t, d.Tokens["again"].Identity)
	assert.Equal(t, "b", d.Tokens["again"].Successor)
	assert.Nil(t, d.holding(l.Hash))
}

// What the token endpoint was told to say holds whatever has become of the account since.
func TestRetryAfterOfARenewalWhoseAccountHasEnded(t *testing.T) {
	for name, end := range map[string]func(d *Document, r *Token){
		"ended":     func(d *Document, r *Token) { d.Edit(r).Identity.Ended = t0 },
		"cleared":   func(d *Document, _ *Token) { d.Clear(Clearing{Identity: "id"}, t0) },
		"forgotten": func(d *Document, r *Token) { delete(d.Tokens, r.ID) },
		"overtaken": func(d *Document, r *Token) { d.leases(r, "another") },
	} {
		d := New()
		r := account(d, "a")
		told := &Renewal{Identity: "id", Lease: d.leases(r, "l"), End: t0, Failed: Streak{Class: classify.RateLimited, At: t0}, Pause: Pause{From: t0, Until: in(Hour)}}
		end(d, r)
		changed, ended := d.CompleteRenewal(renewalRules(), told)
		assert.Equal(t, []any{true, false}, []any{changed, ended}, name)
		assert.Equal(t, []any{in(Hour), in(Hour)}, []any{d.Renewals.Pause.Until, d.Pause.Until}, name)
		changed, _ = d.CompleteRenewal(renewalRules(), told)
		assert.False(t, changed, name)
	}
}

// A killed process' renewal failed at the end of its lease.
func TestLapse(t *testing.T) {
	d := New()
	r := account(d, "a")
	l := d.leases(r, "l1")
	assert.Equal(t, in(15*second), l.End)
	n, _ := r.Identity.Failures(l.End - 1)
	assert.Zero(t, n)
	n, at := r.Identity.Failures(l.End)
	assert.Equal(t, []any{1, l.End}, []any{n, at})
	d.LeaseRenewal(renewalRules(), r, "l2", "owner", in(minute))
	n, at = r.Identity.Failures(in(minute))
	assert.Equal(t, []any{1, l.End}, []any{n, at}, "it is entered with the next")
	assert.Equal(t, uint64(2), r.Identity.Generation)
	assert.Len(t, d.Renewals.Starts, 2)
	d.pruneRenewals(renewalRules(), in(Hour))
	assert.Len(t, d.Renewals.Starts, 1, "an hour ago is an hour ago")
}

// A renewed value that is refused before it ever worked ends the account, unless others have lately had success with it.
func TestRefusedRenewed(t *testing.T) {
	for name, c := range map[string]struct {
		seen  []Evidence
		ended bool
	}{
		"nobody else":             {nil, true},
		"it had success before":   {[]Evidence{{Operation: "op", Success: in(-minute)}}, true},
		"another has":             {[]Evidence{{Operation: "x", Success: in(-Hour+minute) + 1}}, false},
		"another had, long ago":   {[]Evidence{{Operation: "x", Success: in(-Hour + minute)}}, true},
		"another was refused too": {[]Evidence{{Operation: "x", Success: in(-minute), Refused: in(-second)}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := New()
			r := account(d, "a")
			r.Identity.Renewals, r.Evidence = 1, c.seen
			d.Report(renewalRules(), refusal("op", in(minute)), "s", nil, in(minute))
			assert.Equal(t, c.ended, r.Identity.Ended != 0)
		})
	}
	d := New()
	r := account(d, "a")
	d.Report(renewalRules(), refusal("op", t0), "s", nil, t0)
	assert.Zero(t, r.Identity.Ended, "the first value is renewed")
	r.Identity.Renewals = 1
	d.Report(renewalRules(), success("op", in(second)), "s", nil, in(second))
	d.Report(renewalRules(), refusal("op", in(minute)), "s", nil, in(minute))
	assert.Zero(t, r.Identity.Ended, "it worked")
	assert.True(t, r.Identity.Worked)
}

// A value that ends leaves the account; one that ended, was cleared or cannot be renewed any more leaves nothing.
func TestAccountOutlivesItsValue(t *testing.T) {
	d, policy := New(), renewalRules()
	r := account(d, "a")
	d.Prune(policy, in(30*minute))
	assert.False(t, r.HasValue())
	assert.True(t, r.HasSecret())
	assert.NotNil(t, d.Tokens["a"])
	d.Prune(policy, in(30*Day))
	assert.NotNil(t, d.Tokens["a"])
	assert.True(t, d.Clear(Clearing{Identity: "id"}, in(30*Day)))
	assert.False(t, r.HasSecret())
	d.Prune(policy, in(40*Day))
	assert.Nil(t, d.Tokens["a"])

	r = account(d, "a")
	r.Identity.Expiry = in(20 * minute)
	d.Swept = 0
	d.Prune(policy, in(20*minute))
	assert.NotZero(t, r.Identity.Ended)
	assert.False(t, r.HasSecret())
}

func TestAdoptSuccessor(t *testing.T) {
	d, policy := New(), renewalRules()
	adopts := func(next *Token, predecessor string) bool {
		adopted, stale := d.AdoptSuccessor(policy, next, predecessor, "", t0)
		assert.False(t, stale)
		return adopted
	}
	account(d, "a")
	next := value("b")
	next.Identity, next.Parts = nil, Parts{}
	assert.False(t, adopts(next, "unknown"))
	other := value("c")
	other.Scope = "another"
	assert.False(t, adopts(other, "a"), "of another key")
	assert.True(t, adopts(next, "a"))
	b := d.Tokens["b"]
	assert.Equal(t, []any{"refresh of a", []byte("parts of a")}, []any{b.Identity.Hash, b.Parts.Plain})
	b.Identity.Account = "one"
	foreign := value("d")
	foreign.Identity.Account = "two"
	assert.False(t, adopts(foreign, "b"), "of another account")
	assert.True(t, adopts(value("e"), "a"), "any value of the account names it")
	assert.Empty(t, d.Attempts)
}

// Two keys whose upstream gives the same refresh token share one account.
func TestOneAccountForTwoKeys(t *testing.T) {
	d := New()
	account(d, "a")
	twin := value("b")
	twin.Scope, twin.Identity.Hash, twin.Identity.ID = "other", "refresh of a", "another id"
	d.Insert(renewalRules(), twin)
	assert.Equal(t, d.Newest("s"), d.Newest("other"))
	assert.Equal(t, "id", d.Newest("other").Identity.ID)
}

// After a loss the later refresh token stays.
func TestMergeRenewals(t *testing.T) {
	lost, known := New(), New()
	account(lost, "a")
	r := account(known, "a")
	l := known.leases(r, "l1")
	known.renews(l, "b")
	lost.merge(known)
	require.NotNil(t, lost.identity("id"))
	assert.Equal(t, "b", lost.identity("id").ID)
	assert.Equal(t, "b", lost.Tokens["a"].Successor)
	assert.Len(t, lost.Renewals.Starts, 1)
}

// Where values and accounts do not fit together, values go first, also those of accounts used more lately.
func TestEvictionDropsValuesBeforeAccounts(t *testing.T) {
	d, policy := New(), renewalRules()
	policy.Cache.MaxTokens = 100
	const accounts, size = 60, 14 << 10
	for n := range accounts {
		id := strconv.Itoa(n)
		r := value(id)
		r.Scope, r.Used = id, in(time.Duration(n)*second)
		r.Value, r.Parts.Plain = strings.Repeat("v", 2*size), []byte(strings.Repeat("p", size))
		r.Identity.ID = id
		d.Insert(policy, r)
	}
	living, values := 0, 0
	for _, r := range d.Tokens {
		if r.Living(t0) && r.HasSecret() {
			living++
		}
		if r.HasValue() {
			values++
		}
	}
	assert.Equal(t, accounts, living)
	assert.Greater(t, values, 0)
	assert.Less(t, values, accounts)
	assert.True(t, d.Tokens[strconv.Itoa(accounts-1)].HasValue(), "the newest")
}

// An operator may name an account by any of its values.
func TestClearIdentityByAnOlderValue(t *testing.T) {
	d := New()
	r := account(d, "a")
	d.renews(d.leases(r, "l1"), "b")
	d.renews(d.leases(d.Tokens["b"], "l2"), "c")
	assert.False(t, d.Clear(Clearing{Identity: "unknown"}, t0))
	assert.True(t, d.Clear(Clearing{Identity: "a"}, t0))
	assert.Equal(t, t0, d.Tokens["c"].Identity.Ended)
}

// An operator's word that an account is gone holds against an answer that is still on its way.
func TestClearedIdentityStaysGone(t *testing.T) {
	d := New()
	r := account(d, "a")
	l := d.leases(r, "l1")
	require.True(t, d.Clear(Clearing{Identity: "id"}, t0))
	changed, _ := d.renews(l, "b")
	assert.False(t, changed)
	assert.Nil(t, d.Tokens["b"])
}

// A value that was refused and is given again later is the one that was refused.
func TestValueThatIsGivenAgain(t *testing.T) {
	d := New()
	r := account(d, "a")
	r.Evidence = []Evidence{{Operation: "op", Refused: in(-minute), RefusedLast: in(-minute), Refusals: 2, Known: in(-minute)}}
	d.renews(d.leases(r, "l1"), "b")
	require.Zero(t, d.Tokens["b"].By("op").Refused)
	d.renews(d.leases(d.Tokens["b"], "l2"), "a")
	e := d.Tokens["a"].By("op")
	assert.Equal(t, []any{in(-minute), 2}, []any{e.Refused, e.Refusals})
	assert.NotNil(t, d.Tokens["a"].Identity)
	assert.Empty(t, d.Tokens["a"].Successor)
}

// What a value left out was taken from a refresh token that is not the newest any more: it is taken again.
func TestAdoptSuccessorThatIsStale(t *testing.T) {
	d := New()
	r := account(d, "a")
	d.renews(d.leases(r, "l1"), "b")
	adopted, stale := d.AdoptSuccessor(renewalRules(), value("c"), "a", "refresh of a", t0)
	assert.Equal(t, []bool{false, true}, []bool{adopted, stale})
	assert.Equal(t, "refresh of b", d.identity("id").Identity.Hash)
}

// A renewal that brought no refresh token leaves the one that came meanwhile.
func TestRenewalWithoutARefreshTokenIsOvertaken(t *testing.T) {
	d := New()
	r := account(d, "a")
	l := d.leases(r, "l1")
	adopted, _ := d.AdoptSuccessor(renewalRules(), value("b"), "a", "", t0)
	require.True(t, adopted)
	next := value("c")
	next.Identity.Hash = "refresh of a"
	d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Lease: l, End: t0, Token: next})
	c := d.Tokens["c"]
	assert.Equal(t, []any{"refresh of b", "", []byte("parts of b")}, []any{c.Identity.Hash, c.Identity.SpareHash, c.Parts.Plain})
}

// One value for two keys is one account, also while it is renewed.
func TestSameValueKeepsItsIdentity(t *testing.T) {
	d := New()
	r := account(d, "a")
	l := d.leases(r, "l1")
	twin := value("a")
	twin.Scope, twin.Identity.ID, twin.Identity.Hash = "other", "another id", "refresh of a"
	d.Insert(renewalRules(), twin)
	i := d.Tokens["a"].Identity
	assert.Equal(t, []any{"id", l, in(-Day)}, []any{i.ID, i.Lease, i.Since})
	assert.True(t, d.Tokens["a"].Serves("other") && d.Tokens["a"].Serves("s"))
	changed, _ := d.renews(l, "b")
	assert.True(t, changed)

	d.Tokens["b"].Identity.Ended = t0
	again := value("b")
	again.Identity.ID = "new"
	d.Insert(renewalRules(), again)
	assert.Equal(t, "new", d.Tokens["b"].Identity.ID, "what has ended does not come back")
}

// An acquisition in place of an account that could not be renewed may bring that very account again: then it was not
// replaced, and the next acquisition in its place waits as long as the first.
func TestAccountThatWasToBeReplacedIsGivenAgain(t *testing.T) {
	for name, given := range map[string]*Token{"with a refresh token": value("a"), "without one": {ID: "a", Kind: Anonymous, Scope: "s", Acquired: t0, Expiry: in(Hour), Value: "value of a"}} {
		t.Run(name, func(t *testing.T) {
			d := New()
			account(d, "a")
			a := d.Charge(renewalRules(), &Start{ID: "start", Scope: "s", Replaces: true}, t0)
			d.Complete(renewalRules(), &Completion{Attempt: a, End: t0 + 1, Token: given})
			assert.Equal(t, "id", d.Tokens["a"].Identity.ID)
			assert.False(t, d.Tokens["a"].Identity.Replaced)
			assert.True(t, d.Replaced(in(Hour)), "once until a renewal succeeds")
		})
	}
}

// An account that is met again by its refresh token alone keeps its value.
func TestAccountMetAgainKeepsItsValue(t *testing.T) {
	d := New()
	account(d, "a")
	twin := value("r")
	twin.Value, twin.Dropped, twin.Scope, twin.Identity.Hash = "", true, "other", "refresh of a"
	d.Insert(renewalRules(), twin)
	assert.True(t, d.Newest("other").HasValue())
	assert.Zero(t, d.Newest("other").Identity.Renewed)
}

// An answer that comes after its lease counts, rotated or not; one that is entered again changes nothing.
func TestLateAnswers(t *testing.T) {
	d := New()
	r := account(d, "a")
	l := d.leases(r, "l1")
	d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Lease: l, End: t0, Failed: Streak{Class: classify.Transient, At: t0}})
	late := value("b")
	late.Identity.Hash = "refresh of a"
	changed, _ := d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Lease: l, End: t0, Token: late})
	assert.True(t, changed, "without rotation")
	assert.NotNil(t, d.Tokens["b"].Identity)

	d = New()
	r = account(d, "a")
	l = d.leases(r, "l1")
	newer := value("b")
	newer.Identity.Hash = "refresh of a"
	d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Lease: d.leases(r, "l2"), End: t0, Token: newer})
	older := value("c")
	older.Identity.Hash = "refresh of a"
	changed, _ = d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Lease: l, End: t0, Token: older})
	assert.False(t, changed, "without rotation, and another value is newer")
	assert.NotNil(t, d.Tokens["b"].Identity)

	d = New()
	r = account(d, "a")
	l = d.leases(r, "l1")
	d.renews(l, "b")
	d.renews(d.leases(d.Tokens["b"], "l2"), "c")
	changed, _ = d.renews(l, "b")
	assert.False(t, changed)
	assert.Empty(t, d.Tokens["c"].Identity.SpareHash)
}

// What a process knew of an account outlives a document of a lost lineage that holds the same value.
func TestMergeIdentity(t *testing.T) {
	lost, known := New(), New()
	account(lost, "a")
	r := account(known, "a")
	l := known.leases(r, "l1")
	i := *r.Identity
	i.From, i.Hash, i.Cleared, i.Closed.Until = 1, "refresh 2", true, in(Hour)
	r.Identity, r.Parts = &i, Parts{Plain: []byte("parts 2")}
	lost.merge(known)
	got := lost.Tokens["a"]
	assert.Equal(t, []any{"refresh 2", []byte("parts 2"), l, true, in(Hour)},
		[]any{got.Identity.Hash, got.Parts.Plain, got.Identity.Lease, got.Identity.Cleared, got.Identity.Closed.Until})
	older := account(known, "a")
	older.Identity.Cleared = false
	lost.merge(known)
	assert.True(t, lost.Tokens["a"].Identity.Cleared, "nothing comes back")
	assert.Equal(t, "refresh 2", lost.Tokens["a"].Identity.Hash)
}

// A refresh token that merely expires closes no key.
func TestExpiredRefreshTokenClosesNothing(t *testing.T) {
	d := New()
	r := account(d, "a")
	r.Identity.Expiry = in(minute)
	d.Prune(renewalRules(), in(minute))
	assert.NotZero(t, r.Identity.Ended)
	assert.Zero(t, d.Scope("s").Closed.Until)
}

// A value of another account is no successor.
func TestAdoptSuccessorOfAnotherAccount(t *testing.T) {
	d := New()
	account(d, "a")
	other := account(d, "b")
	other.Identity.ID, other.Scope = "another", "other"
	adopted, _ := d.AdoptSuccessor(renewalRules(), value("b"), "a", "", t0)
	assert.False(t, adopted)
	assert.Equal(t, "another", d.Tokens["b"].Identity.ID)
}

// One account may be renewed for two scopes with a refresh token each, or stand beside the same account as a replacement
// brought it again: an answer is of the record that was leased, whichever the document has first.
func TestTwoRecordsOfOneAccount(t *testing.T) {
	for range 20 { // the order of a map
		d := New()
		account(d, "a")
		b := account(d, "b")
		b.Scope = "other"
		d.Index()
		l := d.leases(d.Tokens["b"], "l")
		changed, _ := d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Record: "b", Lease: l, End: t0, Failed: Streak{Class: classify.Transient}})
		require.True(t, changed)
		assert.Equal(t, 1, d.Tokens["b"].Identity.Last.Count)
		assert.Empty(t, d.Tokens["b"].Identity.Lease.ID)

		l = d.leases(d.Tokens["b"], "m")
		changed, _ = d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Record: "b", Lease: l, End: t0, Token: value("c")})
		require.True(t, changed)
		assert.Equal(t, "other", d.Tokens["c"].Scope)
		assert.Equal(t, "c", d.Tokens["b"].Successor)
		assert.Equal(t, "refresh of a", d.Tokens["a"].Identity.Hash)

		l = d.leases(d.Tokens["c"], "n")
		d.renewed("c", l, "d")
		late := l
		late.ID = "late"
		changed, _ = d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Record: "c", Lease: late, End: t0, Token: value("e")})
		require.True(t, changed, "an answer that comes late is of the value that came after")
		assert.Equal(t, "refresh of a", d.Tokens["a"].Identity.Hash)
		assert.Empty(t, d.Tokens["a"].Identity.SpareHash)
	}
}

// A lost state takes no account away from a scope because another has it, too.
func TestMergeKeepsAnAccountOfTwoScopes(t *testing.T) {
	known := New()
	account(known, "a")
	account(known, "b").Scope = "other"
	d := New()
	d.merge(known)
	require.NotNil(t, d.Tokens["a"].Identity)
	require.NotNil(t, d.Tokens["b"].Identity)
	assert.Equal(t, "refresh of b", d.Tokens["b"].Identity.Hash)
}

// The end of a renewal whose account has ended meanwhile is that of the same account as it was acquired again.
func TestRenewalOfAnAccountThatWasAcquiredAgain(t *testing.T) {
	d := New()
	l := d.leases(account(d, "a"), "l")
	ended := *d.Tokens["a"].Identity
	ended.Ended, ended.Lease = t0, Lease{}
	d.Tokens["a"].Identity = &ended
	d.Index()
	assert.Equal(t, "a", d.RenewedBy(&Renewal{Identity: "id", Record: "a", Lease: l}).ID)
	account(d, "b").Scope = "other"
	d.Index()
	assert.Equal(t, "a", d.RenewedBy(&Renewal{Identity: "id", Record: "a", Lease: l}).ID, "of another scope it is another matter")
	account(d, "c")
	d.Index()
	assert.Equal(t, "c", d.RenewedBy(&Renewal{Identity: "id", Record: "a", Lease: l}).ID)
	assert.NotNil(t, d.RenewedBy(&Renewal{Identity: "id", Record: "forgotten", Lease: l}))
	assert.Nil(t, d.RenewedBy(&Renewal{Identity: "another", Record: "a", Lease: l}))
}

func (d *Document) renewed(record string, l Lease, id string) {
	d.CompleteRenewal(renewalRules(), &Renewal{Identity: "id", Record: record, Lease: l, End: t0, Token: value(id)})
}

// Each account for which there is no room is named, until the document is stored.
func TestDroppedIdentitiesAreNamed(t *testing.T) {
	d, policy := New(), renewalRules()
	const accounts = 30
	for n := range accounts {
		id := strconv.Itoa(n)
		r := value(id)
		r.Scope, r.Used = id, in(time.Duration(n)*second)
		r.Parts.Plain = []byte(strings.Repeat("p", 60<<10))
		r.Identity.ID = "identity " + id
		d.Insert(policy, r)
	}
	next := d.Clone()
	named := next.TakeDropped()
	assert.Empty(t, next.TakeDropped())
	require.NotEmpty(t, named)
	assert.EqualValues(t, len(named), d.Renewals.Dropped)
	for n, gone := range named {
		id := strconv.Itoa(n)
		assert.Equal(t, Dropped{Identity: "identity " + id, Scope: id, TokenID: id}, gone, "the least recently used first")
		assert.Nil(t, d.Tokens[id].Identity)
	}
	for n := len(named); n < accounts; n++ {
		assert.NotNil(t, d.Tokens[strconv.Itoa(n)].Identity)
	}
}
