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
	personalPause    = time.Minute     // after the function failed
	personalPatience = 2 * time.Second // of a caller that has another token
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
	doubt   time.Duration // of taken
	ends    ending
	failed  timeline.Instant // when fetch failed last
	why     string           // it failed, masked
	fetches uint64           // that were not given up
	hangs   bool             // the fetch in progress is taking longer than personalPatience
	asking  timeline.Instant // the rejection because of which the token is due
	asked   timeline.Instant // the last one after which the function was asked
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
	rec := &ledger.Token{Acquired: p.taken, Doubt: p.doubt, Expiry: p.ends.meter}
	expired, _ := p.policy.Expiry(rec)
	if now >= expired || p.ends.over(p.read()) {
		return pv, true
	}
	if r := doc.Tokens[pv.ID]; r != nil {
		pv.Reset, pv.Due = r.Reset, r.Due(now)
		if r.Rejected != 0 {
			pv.Again, pv.Note = r.Rejected.Plus(ledger.PersonalAgain), "the personal token is rejected, so an anonymous one is used"
		}
		source := pv.Again // it is fetched again then: it may be another one
		switch {
		case r.Spent == 0 || r.Reset <= pv.Again:
		case r.Trying != 0:
			pv.Again, pv.Note = r.Reset, "another call tries whether the quota of the personal token is full again, so an anonymous one is used"
			source = max(source, r.Trying-timeline.Instant(ledger.TryEvery)) // not for each try
		default:
			pv.Again, pv.Note = r.Reset, "the personal token is spent, so an anonymous one is used"
			source = r.Reset
		}
		if r.Rejected != 0 && p.taken <= r.Rejected && p.asked != r.Rejected { // it may have been replaced where it comes from
			p.asking = r.Rejected
			return pv, true
		}
		if now < pv.Again {
			pv.Again = min(pv.Again, expired) // then the source is asked all the same
			return pv, false
		}
		if p.taken < source {
			return pv, true
		}
		pv.Note = ""
	}
	pv.Usable, pv.Until, pv.Again = true, expired, 0
	return pv, false
}

// observe is view, with the token fetched if it is due. A caller that has another token does not wait for a function that
// hangs. The error is ctx's, or ErrClosed.
func (p *personal) observe(ctx context.Context, doc *ledger.Document, scope string, now timeline.Instant, hasOther func() bool) (pv decide.Personal, fetched bool, err error) {
	pv, due := p.view(doc, scope, now)
	if !due {
		return pv, false, nil
	}
	if runs(ctx, p) { // the function asks its own guard
		pv.Note = "the personal token is being fetched, so an anonymous one is used"
		return pv, false, nil
	}
	patience := p.timeout
	if hasOther() {
		patience = personalPatience
		if p.isHanging() {
			patience = 0
		}
	}
	switch err := p.refresh(ctx, pv.Fetches, patience); {
	case errors.Is(err, errHangs):
		pv.Note = "the source of the personal token does not answer, so an anonymous one is used"
		return pv, false, nil
	case err != nil && ctx.Err() != nil:
		return pv, false, ctx.Err()
	case errors.Is(err, ErrClosed):
		return pv, false, ErrClosed
	}
	pv, _ = p.view(doc, scope, p.read().Now)
	return pv, true, nil
}

// errHangs is a function that takes longer than a caller waits for.
var errHangs = errors.New("tokenguard: the source of the personal token does not answer")

func (p *personal) isHanging() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hangs
}

// refresh calls the function, one call for all who need it, on the context of the one that came first. seen is how many
// fetches had ended when it was due. When patience is over the fetch goes on without its caller, for those that come.
func (p *personal) refresh(ctx context.Context, seen uint64, patience time.Duration) error {
	own, cancel := context.WithCancel(runningIn(context.WithoutCancel(ctx), p))
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	var over <-chan time.Time // none: the function is bounded by its own timeout
	if patience < p.timeout {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		over = timer.C
	}
	for {
		ch := p.calls.DoChan("", func() (any, error) { return nil, p.once(own, seen) })
		select {
		case <-over:
			p.mu.Lock()
			p.hangs = p.fetches == seen
			p.mu.Unlock()
			return errHangs
		case res := <-ch:
			if errors.Is(res.Err, errLeft) && ctx.Err() == nil {
				continue // the caller that came first is gone: be the first
			}
			return res.Err
		case <-ctx.Done():
			cancel() // stop may come before what AfterFunc was to do
			return ctx.Err()
		case <-p.ended:
			cancel()
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
	defer func() {
		p.mu.Lock()
		p.hangs = false
		p.mu.Unlock()
	}()
	bounded, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	answers := make(chan answer, 1)
	began := p.read().Least()
	p.mu.Lock()
	asking := p.asking
	p.mu.Unlock()
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
	p.asked = asking
	p.taken, p.doubt, p.ends, p.failed, p.why = r.Now, r.Doubt, ends, 0, ""
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
	return &ledger.Token{ID: id, Kind: ledger.Personal, Scope: ledger.ScopeKey(p.token.Scope()), Acquired: p.taken, Doubt: p.doubt, Expiry: p.ends.meter}
}

func (p *personal) current() Token {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.token
}

// endsByWall is when the wall clock ends the current token; 0: it does not.
func (p *personal) endsByWall() timeline.Instant {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ends.wall
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
