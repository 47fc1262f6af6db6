package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

func init() { CheckForms = func() bool { return true } }

// plainly is the document as encoding/json writes it.
func plainly(t *testing.T, d *Document) string {
	t.Helper()
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	require.NoError(t, enc.Encode(d))
	return string(bytes.TrimSuffix(out.Bytes(), []byte("\n")))
}

func encodedAs(t *testing.T, d *Document) string {
	t.Helper()
	out, err := d.Encode()
	require.NoError(t, err)
	return string(out)
}

// Names that a document holds cannot be taken for the place of its tokens.
func TestEncodeIsThatOfJSON(t *testing.T) {
	odd := []string{"", "tokens", `"tokens":{"":{"kind":"","acquired":0}}`, "<&>\u2028", "\x00\xff", `\"`}
	d := New()
	for i, name := range odd {
		d.Tokens[name] = &Token{ID: name, Kind: Anonymous, Scope: name, Value: name, Seq: uint64(i)}
		d.ScopeFor(name).Last.Text = name
		d.Counts.failed(name)
		d.Failures.Text = name
		d.Clock.Boots = map[string]int64{name: 1}
		d.Index()
		assert.Equal(t, plainly(t, d), encodedAs(t, d))
	}
	d.Freeze()
	for range 2 { // made, and remembered
		assert.Equal(t, plainly(t, d), encodedAs(t, d))
	}
	assert.Equal(t, plainly(t, New()), encodedAs(t, New()))
}

// What is published stays what it is, whatever becomes of its copies, and they share what they do not change.
func TestEditChangesNoPublishedDocument(t *testing.T) {
	d := New()
	held(d, "a", in(-Hour)).Also = []string{"also"}
	held(d, "b", in(-Hour))
	d.Index()
	d.ScopeFor("s").Lives, d.ScopeFor("t").Refusals = []int{1}, 2
	d.heard(success("op", in(-minute)))
	before := plainly(t, d)
	d.Freeze()
	c := d.Clone()
	r := c.Edit(c.Tokens["a"])
	r.Value, r.Evidence[0].Uses = "other", 9
	k := c.ScopeFor("s")
	k.Lives[0] = 9
	assert.Same(t, k, c.ScopeFor("s"))
	assert.Same(t, d.Scopes["t"], c.Scopes["t"])
	assert.Same(t, r, c.Edit(r))
	assert.Same(t, r, c.Tokens["a"])
	assert.Same(t, r, c.ByScope.Of("s")[1])
	assert.Same(t, r, c.ByScope.Of("also")[0])
	assert.Same(t, d.Tokens["b"], c.Tokens["b"])
	assert.Same(t, d.Tokens["a"], d.ByScope.Of("s")[1])
	assert.Equal(t, before, plainly(t, d))
	c.Freeze()
	assert.Equal(t, plainly(t, c), encodedAs(t, c))

	d.Tokens["b"].Value += "changed behind its back"
	assert.Panics(t, func() { _, _ = c.Encode() }, "the check of these tests checks")
	d.Tokens["b"].Value = "value of b"
	assert.NotPanics(t, func() { _, _ = c.Encode() })
	d.Scopes["t"].Refusals++
	assert.Panics(t, func() { _, _ = c.Encode() })
}

// What is asked for anew of a document, or not: a copy of a published one says which tokens it changed.
func TestFreezeSaysWhatChanged(t *testing.T) {
	d := New()
	a, b := held(d, "a", in(-Hour)), held(d, "b", in(-Hour))
	changed, from := d.Freeze()
	assert.ElementsMatch(t, []*Token{a, b}, changed)
	assert.Nil(t, from)
	freeze := func(change func(c *Document)) ([]*Token, *Document) {
		c := d.Clone()
		change(c)
		return c.Freeze()
	}
	changed, from = freeze(func(*Document) {})
	assert.Empty(t, changed)
	assert.Same(t, d, from)
	var edited *Token
	changed, from = freeze(func(c *Document) { edited = c.Edit(c.Tokens["a"]) })
	assert.Equal(t, []*Token{edited}, changed)
	assert.Same(t, d, from)
	changed, from = freeze(func(c *Document) { edited = held(c, "c", t0) })
	assert.Equal(t, []*Token{edited}, changed)
	assert.Same(t, d, from)
	_, from = freeze(func(c *Document) { delete(c.Tokens, "a") })
	assert.Nil(t, from)
	_, from = freeze(func(c *Document) { delete(c.Tokens, "a"); held(c, "c", t0) })
	assert.Nil(t, from, "one went, and one came")
	changed, from = d.Freeze()
	assert.Empty(t, changed)
	assert.Same(t, d, from, "it is published already")
}

// Whatever changes a document: the published one before it stays as it was, and the new one is written as if all of it
// were new, and read as what it is.
func TestFormsFollowEveryChange(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := changes{rand.New(rand.NewPCG(seed, 0)), renewalRules(), t0}
			c.policy.Cache.MaxTokens = 5
			d := New()
			for range 100 {
				before := plainly(t, d)
				d.Freeze()
				require.Equal(t, before, encodedAs(t, d))
				next := d.Clone()
				what := c.change(next)
				require.Equal(t, before, plainly(t, d), "%s changed the document that it was made from", what)
				require.Equal(t, before, encodedAs(t, d), what)
				fresh := plainly(t, next)
				require.Equal(t, fresh, encodedAs(t, next), what)
				index := next.ByScope
				next.Index()
				require.Equal(t, listed(next.ByScope), listed(index), "%s left the index behind", what)
				read, err := Decode([]byte(fresh))
				require.NoError(t, err)
				require.Equal(t, fresh, encodedAs(t, read), what)
				d = next
			}
			require.NotEmpty(t, d.Tokens)
		})
	}
}

// listed says which records an index holds, in their order.
func listed(index ScopeIndex) map[string]string {
	out := map[string]string{}
	for scope, list := range index.All() {
		for _, r := range list {
			out[scope] += fmt.Sprintf("%s %p ", r.ID, r)
		}
	}
	return out
}

// changes makes random changes of all sorts.
type changes struct {
	*rand.Rand
	policy *Policy
	now    timeline.Instant
}

func (c *changes) one(names ...string) string { return names[c.IntN(len(names))] }

func (c *changes) id() string { return c.one("a", "b", "c", "d", "e", "f", "g", "h") }

func (c *changes) token() *Token {
	r := &Token{ID: c.id(), Kind: Anonymous, Scope: c.one("", "s", "t"), Acquired: c.now, Expiry: c.now.Plus(time.Duration(1+c.IntN(300)) * minute), Value: "value"}
	r.WallExpiry, r.Doubt = r.Expiry, time.Duration(c.IntN(2)*5)*second
	if c.IntN(3) == 0 {
		r.Identity = &Identity{ID: "i" + r.ID, Since: c.now, Hash: c.one("x", "y", "z"), Expiry: c.now.Plus(2 * Hour)}
		r.Parts = Parts{Plain: []byte("refresh")}
	}
	return r
}

func (c *changes) change(d *Document) string {
	c.now = c.now.Plus(time.Duration(c.IntN(600)) * second)
	op := c.one("", "op", "other")
	switch n := c.IntN(16); n {
	case 0, 1:
		a := d.Charge(c.policy, &Start{ID: fmt.Sprint(d.Seq), Scope: c.one("", "s", "t"), Operation: op, Solo: c.IntN(2) == 0}, c.now)
		r := c.token()
		r.Seq, r.Scope = a.Seq, a.Scope
		d.Complete(c.policy, &Completion{Attempt: a, End: c.now, Token: r})
		return "acquire"
	case 2:
		d.Adopt(c.policy, c.token(), fmt.Sprint("adopted", d.Seq), "me", c.now)
		return "adopt"
	case 3, 4, 5:
		class := c.one("", classify.AuthInvalid, classify.QuotaExhausted, classify.RateLimited, classify.Transient)
		p := &Report{Class: class, Failing: c.id(), Operation: op, At: c.now, Began: c.now, None: c.IntN(3) == 0}
		if c.IntN(3) == 0 {
			p.Until = c.now.Plus(Hour)
		}
		d.WouldChange(c.policy, p, "s", nil, c.now)
		d.Report(c.policy, p, "s", nil, c.now)
		return "report " + class
	case 6:
		d.Report(c.policy, &Report{Class: c.one("", classify.AuthInvalid, classify.QuotaExhausted), Failing: "p", At: c.now}, "", &Token{ID: "p", Kind: Personal, Acquired: c.now}, c.now)
		return "report of the personal token"
	case 7, 8:
		var u predict.Usage
		u.Add(predict.Outcome{At: int64(c.now), Failed: c.IntN(2) == 0})
		d.CountUses(map[string]Pending{c.id(): {Usage: u, Successes: Successes{op: {Began: c.now, Uses: 1}}}, c.id(): {Usage: u.Clone()}})
		return "count"
	case 9:
		if r := d.Tokens[c.id()]; r != nil {
			d.Use(r, c.now)
		}
		return "use"
	case 10:
		d.Prune(c.policy, c.now)
		return "prune"
	case 11:
		d.EndByWall(c.now, c.now)
		return "end by the wall clock"
	case 12:
		d.Clear(Clearing{Suspicion: c.one("*", c.id()), Backoff: c.IntN(2) == 0, RetryAfter: c.IntN(2) == 0, Identity: c.one("", c.id())}, c.now)
		return "clear"
	case 13:
		for _, r := range d.Tokens {
			if r.Living(c.now) {
				l := d.LeaseRenewal(c.policy, r, "lease", "me", c.now)
				next := c.token()
				next.Identity = &Identity{Hash: c.one("x", "y", "z", "w")}
				if c.IntN(3) == 0 {
					next = nil
				}
				d.CompleteRenewal(c.policy, &Renewal{Identity: "i" + r.ID, Lease: l, End: c.now, Token: next, Gone: c.IntN(2) == 0})
				break
			}
		}
		return "renew"
	case 14:
		d.Try(c.id(), op, c.now)
		d.ClampFuture(c.now - timeline.Instant(time.Duration(c.IntN(2))*30*Hour))
		return "try, and a clock that steps back"
	default:
		lost := New()
		held(lost, c.id(), c.now).Evidence = []Evidence{{Operation: op, Refused: c.now, RefusedLast: c.now}}
		lost.Freeze()
		d.Recover(Lineage{Rev: d.Seq, Epoch: c.one("e", "f")}, false, nil, lost, c.now)
		return "recover"
	}
}
