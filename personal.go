package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/timeline"
	"golang.org/x/sync/singleflight"
)

// The account's own token, from WithPersonalToken. Its value stays in this process; what is reported about it is
// shared over the document.

const (
	personalPause = time.Minute // after the function failed
)

type personal struct {
	fetch   func(context.Context) (Token, error)
	policy  *ledger.Policy
	keeper  *secrets.Keeper
	masked  func(string) string // foreign text
	timeout time.Duration
	read    func() timeline.Reading
	ended   <-chan struct{}
	calls   singleflight.Group

	mu      sync.Mutex // guards what follows
	token   Token
	taken   timeline.Instant
	ends    ending
	failed  timeline.Instant // when fetch failed last
	why     string           // it failed, masked
	fetches uint64           // that were not given up
}

// view is what a decision needs to know.
func (p *personal) view(doc *ledger.Document, scope string, now timeline.Instant) (pv decide.Personal, due bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pv.Known, pv.Fetches = true, p.fetches
	if p.failed != 0 && now < p.failed.Plus(personalPause) {
		pv.Again = p.failed.Plus(personalPause)
		pv.Note = "the personal token could not be fetched, so an anonymous one is used: " + p.why
		return pv, false
	}
	if p.token.isZero() {
		return pv, true
	}
	pv.ID, pv.Taken = p.token.ID(), p.taken
	if p.token.Scope() != "" && ledger.ScopeKey(p.token.Scope()) != scope {
		pv.Note = "the personal token is for another scope, so an anonymous one is used"
		return pv, false
	}
	rec := &ledger.Token{Acquired: p.taken, Expiry: p.ends.meter}
	expired, _ := p.policy.Expiry(rec)
	if now >= expired || p.ends.over(p.read()) {
		return pv, true
	}
	if r := doc.Tokens[pv.ID]; r != nil {
		pv.Reset = r.Reset
		switch {
		case r.Rejected != 0:
			pv.Again, pv.Note = r.Rejected.Plus(ledger.PersonalAgain), "the personal token is rejected, so an anonymous one is used"
		case r.Spent != 0:
			pv.Again, pv.Note = r.Reset, "the personal token is spent, so an anonymous one is used"
		}
		if now < pv.Again {
			return pv, false
		}
		if p.taken < pv.Again {
			return pv, true
		}
		pv.Note = ""
	}
	pv.Usable, pv.Until, pv.Again = true, expired, 0
	return pv, false
}

// observe is view, with the token fetched if it is due. The error is ctx's, or ErrClosed.
func (p *personal) observe(ctx context.Context, doc *ledger.Document, scope string, now timeline.Instant) (pv decide.Personal, fetched bool, err error) {
	pv, due := p.view(doc, scope, now)
	if !due {
		return pv, false, nil
	}
	switch err := p.refresh(ctx, pv.Fetches); {
	case err != nil && ctx.Err() != nil:
		return pv, false, ctx.Err()
	case errors.Is(err, ErrClosed):
		return pv, false, ErrClosed
	}
	pv, _ = p.view(doc, scope, p.read().Now)
	return pv, true, nil
}

// refresh calls the function, one call for all who need it, on the context of the one that came first. seen is how many
// fetches had ended when it was due.
func (p *personal) refresh(ctx context.Context, seen uint64) error {
	for {
		ch := p.calls.DoChan("", func() (any, error) { return nil, p.once(ctx, seen) })
		select {
		case res := <-ch:
			if errors.Is(res.Err, errLeft) && ctx.Err() == nil {
				continue // the caller that came first is gone: be the first
			}
			return res.Err
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ended:
			return ErrClosed
		}
	}
}

// errLeft ends a fetch whose caller left. It is a failure of nothing.
var errLeft = errors.New("tokenguard: the caller left")

func (p *personal) once(ctx context.Context, seen uint64) error {
	p.mu.Lock()
	late := p.fetches != seen
	p.mu.Unlock()
	if late { // the fetch that this caller needed ended before it could join it
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	answers := make(chan answer, 1)
	began := p.read().Now
	go call("WithPersonalToken", func() (Token, error) { return p.fetch(bounded) }, func(ans answer) { answers <- ans })
	var ans answer
	select {
	case ans = <-answers:
	case <-bounded.Done():
		ans.err = fmt.Errorf("tokenguard: WithPersonalToken did not return within %v: %w", p.timeout, bounded.Err())
	}
	r := p.read()
	ends := ans.token.ends(began, r)
	if ans.err == nil {
		ans.err = ans.token.fault(ends, r) // one that has expired would be fetched again on each call
	}
	if ans.err != nil && ctx.Err() != nil {
		return errLeft
	}
	why := ""
	if ans.err != nil {
		why = p.masked(ans.err.Error())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetches++
	if ans.err != nil {
		p.failed, p.why = r.Now, why
		return ans.err
	}
	p.taken, p.ends, p.failed, p.why = r.Now, ends, 0, ""
	p.keeper.Register(ans.token.read().secret)
	p.token = ans.token.received(Personal, ans.token.Scope(), r.Time(p.taken), r.Time(p.ends.meter))
	return nil
}

// record is the personal token as the document knows tokens, to keep what is reported about it. It has no value.
func (p *personal) record(id string) *ledger.Token {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if id == "" || p.token.ID() != id {
		return nil
	}
	return &ledger.Token{ID: id, Kind: ledger.Personal, Scope: ledger.ScopeKey(p.token.Scope()), Acquired: p.taken, Expiry: p.ends.meter}
}

func (p *personal) current() Token {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.token
}

// secrets is the current token, for what takes values out of texts.
func (p *personal) secrets(yield func(*secrets.Secret) bool) {
	if p == nil {
		return
	}
	if t := p.current(); !t.isZero() {
		yield(t.read().secret)
	}
}
