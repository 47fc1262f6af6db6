package tokenguard_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// renewalWorld is a number of processes on one store in front of one upstream, in a bubble of testing/synctest. A seed
// decides what happens; goroutines that are ready at the same instant may still run in any order.
type renewalWorld struct {
	random  *rand.Rand
	begin   time.Time
	up      *tokenguardtest.Upstream
	shared  bool // all scopes are of one account
	keys    bool // tokens are encrypted
	plain   bool // a process renews nothing
	banned  bool // an account was
	history []string
	wall    atomic.Int64 // how far the wall clock is from the truth

	commit func(prev, next *ledger.Document)               // a wrong rule: what it makes of a commit
	view   func(d *ledger.Document, who func(string) bool) // and of what a process sees; who: whether a lease is its own

	mu        sync.Mutex // guards what follows
	key       []byte
	procs     []*renewalProcess
	all       []*renewalProcess
	snap      tokenguard.Snapshot
	older     tokenguard.Snapshot
	values    map[string]valueFact // by token ID
	slow      time.Duration        // the next renewal is told to wait for so long
	odd       int                  // the next renewal makes an answer that cannot be used, of this kind; 0: it does not
	facts     renewalFacts
	violation error
	stats     renewalStats
	serial    int
}

type renewalStats struct{ calls, served, signUps, renewals, unusable, disturbed int }

// valueFact is a value that the upstream has issued.
type valueFact struct {
	scope     string
	account   string
	issued    time.Time
	ends      time.Time
	committed time.Time
	key       string
	refused   bool // somebody said so
	worked    bool
	renewed   bool
	adopted   time.Time // by a process, which may store it later; zero: not adopted
	token     tokenguard.Token
}

// renewalProcess is a process of the world.
type renewalProcess struct {
	world  *renewalWorld
	id     int
	renews bool
	key    string
	guard  *tokenguard.Guard
	calls  sync.WaitGroup

	// under world.mu
	dead    bool
	away    bool          // the store fails for it
	lost    int           // commits that take effect and say that they failed
	again   int           // commits that meet another's first
	stopped chan struct{} // closed when it goes on; nil: it runs
	touched time.Time     // the last fault of the store that it met
}

var errWorld = errors.New("the store failed")

func newRenewalWorld(seed uint64) *renewalWorld {
	r := rand.New(rand.NewPCG(seed, 11))
	rotations := []tokenguardtest.Rotation{tokenguardtest.RotateNever, tokenguardtest.RotateParent, tokenguardtest.RotateLeeway, tokenguardtest.RotateStrict}
	w := &renewalWorld{random: r, begin: time.Now(), values: map[string]valueFact{}, shared: r.IntN(4) == 0, keys: r.IntN(4) == 0, plain: r.IntN(3) == 0}
	w.up = &tokenguardtest.Upstream{Rotation: rotations[r.IntN(4)], Leeway: 30 * time.Second,
		Lifetime: []time.Duration{5 * time.Minute, time.Hour}[r.IntN(2)], IssueLimit: []int{0, 0, 2}[r.IntN(3)]}
	if r.IntN(4) == 0 {
		w.up.RefreshLifetime = 12 * time.Hour
	}
	w.key = []byte(strings.Repeat("k", 32))
	w.facts = renewalFacts{known: map[string]*accountFacts{}, starts: map[string]bool{}, instead: map[string]time.Time{}, leases: map[string]*renewalProcess{},
		limits: tokenguard.RenewalLimits{MinInterval: time.Minute, MaxPerHour: []int{4, 60}[r.IntN(2)], BackoffBase: 5 * time.Second,
			MaxBackoff: 10 * time.Minute, Timeout: 10 * time.Second, ReplaceAfter: []time.Duration{time.Hour, 24 * time.Hour}[r.IntN(2)]}}
	return w
}

func (w *renewalWorld) ticks() int64 { return int64(time.Since(w.begin)) + int64(1000*time.Hour) }

func (w *renewalWorld) now() time.Time { return time.Now().Add(time.Duration(w.wall.Load())) }

func (w *renewalWorld) note(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%10.1fs ", time.Since(w.begin).Seconds())+fmt.Sprintf(format, args...))
}

// document is the newest commit; mu is held.
func (w *renewalWorld) document() *ledger.Document {
	if w.snap.Data == nil {
		return ledger.New()
	}
	d, err := ledger.Decode(w.snap.Data)
	w.fail(err)
	return d
}

func (w *renewalWorld) fail(err error) {
	if w.violation == nil && err != nil {
		w.violation = err
		w.note("VIOLATION: %v", err)
	}
}

func (w *renewalWorld) birth() error {
	w.serial++
	p := &renewalProcess{world: w, id: w.serial, renews: !w.plain || w.serial%2 == 1, key: string(w.key)}
	opts := []tokenguard.Option{tokenguard.WithStore(worldStore{p}), tokenguard.WithName("world"), tokenguard.WithFreshness(0), tokenguard.WithRenewalLimits(w.facts.limits)}
	if p.renews {
		opts = append(opts, tokenguard.WithRenewal(p.renew))
	}
	if w.keys {
		opts = append(opts, tokenguard.WithEncryption(w.key))
	}
	g, err := tokenguard.New(p.signUp, opts...)
	if err != nil {
		return err
	}
	g.SimulateClock(w.now, "boot", w.ticks)
	p.guard = g
	w.mu.Lock()
	defer w.mu.Unlock()
	w.procs, w.all = append(w.procs, p), append(w.all, p)
	return nil
}

// pass is where a process meets what is outside of it: there it is stopped, and killed.
func (p *renewalProcess) pass() error {
	w := p.world
	w.mu.Lock()
	defer w.mu.Unlock()
	for p.stopped != nil && !p.dead {
		stopped := p.stopped
		w.mu.Unlock()
		<-stopped
		w.mu.Lock()
	}
	if p.dead {
		p.touched = time.Now()
		return errWorld
	}
	return nil
}

// reach is where it meets the store.
func (p *renewalProcess) reach() error {
	err := p.pass()
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	if err == nil && p.away {
		p.touched, err = time.Now(), errWorld
	}
	return err
}

// worldStore is the store as one process sees it.
type worldStore struct{ p *renewalProcess }

func (s worldStore) seen(snap tokenguard.Snapshot) tokenguard.Snapshot {
	w := s.p.world
	if w.view == nil || snap.Data == nil {
		return snap
	}
	d, err := ledger.Decode(snap.Data)
	w.fail(err)
	w.view(d, func(lease string) bool { return w.facts.leases[lease] == s.p })
	snap.Data, err = d.Encode()
	w.fail(err)
	return snap
}

func (s worldStore) View(context.Context, string) (tokenguard.Snapshot, error) {
	if err := s.p.reach(); err != nil {
		return tokenguard.Snapshot{}, err
	}
	w := s.p.world
	w.mu.Lock()
	defer w.mu.Unlock()
	return s.seen(w.snap), nil
}

func (s worldStore) Update(ctx context.Context, _ string, fn func(tokenguard.Snapshot) ([]byte, error)) (tokenguard.Snapshot, error) {
	time.Sleep(time.Duration(s.p.id) * time.Millisecond)
	if err := errors.Join(s.p.reach(), ctx.Err()); err != nil {
		return tokenguard.Snapshot{}, err
	}
	w, p := s.p.world, s.p
	w.mu.Lock()
	if p.again > 0 {
		p.again--
		_, _ = fn(s.seen(w.older))
	}
	snap := s.seen(w.snap)
	data, err := fn(snap)
	if err == nil && data != nil {
		prev := w.document()
		next, derr := ledger.Decode(data)
		w.fail(derr)
		if w.commit != nil {
			w.commit(prev, next)
			data, derr = next.Encode()
			w.fail(derr)
		}
		w.older = w.snap
		w.snap = tokenguard.Snapshot{Data: data, Rev: w.snap.Rev + 1}
		snap = w.snap
		w.fail(w.facts.committed(w, p, next))
		for id := range next.Tokens {
			if v, ok := w.values[id]; ok && v.committed.IsZero() {
				v.committed, v.key, v.scope = time.Now(), p.key, next.Tokens[id].Scope
				w.values[id] = v
			}
		}
	}
	lost := err == nil && data != nil && p.lost > 0
	if lost {
		p.lost--
		p.touched = time.Now()
	}
	w.mu.Unlock()
	if err := p.pass(); err != nil || lost {
		return tokenguard.Snapshot{}, errWorld
	}
	return snap, err
}

func (s worldStore) Close() error { return nil }

// issued notes a value of the upstream; mu is held.
func (w *renewalWorld) issued(t tokenguard.Token, account string, renewed bool, began time.Time) {
	w.values[t.ID()] = valueFact{account: account, issued: time.Now(), ends: began.Add(w.up.Lifetime), renewed: renewed, token: t}
}

func (p *renewalProcess) signUp(ctx context.Context, req tokenguard.Request) (tokenguard.Token, error) {
	w := p.world
	w.mu.Lock()
	w.facts.asked++
	w.stats.signUps++
	if w.shared { // a device that is known has its account already
		for name, r := range identities(w.document()) {
			a, v := w.facts.known[name], w.values[r.ID]
			if a != nil && a.ended.IsZero() && !a.scopes[req.Scope] && time.Now().Before(v.ends) && r.HasValue() {
				w.mu.Unlock()
				n := strings.TrimPrefix(name, "account-")
				return tokenguard.NewTokenIn(v.token.Value(), time.Until(v.ends)).WithAccount(name).WithRefreshToken(fmt.Sprintf("refresh-%s-%d", n, a.generation), time.Time{}), nil
			}
		}
	}
	w.mu.Unlock()
	began := time.Now()
	t, err := tokenguardtest.RequestFunc(w.up.Client(), "http://upstream.example")(ctx, req)
	w.mu.Lock()
	w.note("p%d signs up for %q: %v %v", p.id, req.Scope, t.ID(), err)
	if err == nil {
		w.issued(t, "", false, began)
	}
	w.mu.Unlock()
	if perr := p.pass(); perr != nil {
		return tokenguard.Token{}, perr
	}
	return t, err
}

func (p *renewalProcess) renew(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
	w := p.world
	w.mu.Lock()
	w.stats.renewals++
	h, err := w.facts.handOverTo(w, p, old.RefreshToken())
	w.fail(err)
	if h == nil {
		w.mu.Unlock()
		return tokenguard.Token{}, errors.New("nobody knows it")
	}
	w.note("p%d presents %s", p.id, old.RefreshToken())
	h.account.inside++
	told := w.slow
	w.slow = 0
	w.mu.Unlock()
	var t tokenguard.Token
	began := time.Now()
	if told > 0 {
		h.retryAfter = told
		err = tokenguard.Failed(tokenguard.Failure{StatusCode: 429, Message: "too many requests", Header: http.Header{"Retry-After": {fmt.Sprint(int(told.Seconds()))}}})
	} else {
		t, err = tokenguardtest.RenewalFunc(w.up.Client(), "http://upstream.example")(ctx, old)
	}
	w.mu.Lock()
	if err == nil && w.odd != 0 {
		t, h.unusable = unusable(t, w.odd, w.now()), true
		w.odd = 0
		w.stats.unusable++
	}
	w.note("p%d is answered %v %v, unusable: %v", p.id, t.ID(), err, h.unusable)
	w.facts.answered(w, h, t, err)
	if err == nil && !h.unusable {
		w.issued(t, h.account.name, true, began)
	}
	w.mu.Unlock()
	answered := time.Now()
	if perr := p.pass(); perr != nil {
		return tokenguard.Token{}, perr
	}
	if time.Now().After(answered) { // it comes too late to count as more than a timeout
		h.retryAfter, h.refused = 0, false
	}
	return t, err
}

// unusable is an answer with a value that cannot be used, with the refresh token that replaced the one that was presented, if
// one did, or without it.
func unusable(t tokenguard.Token, kind int, now time.Time) tokenguard.Token {
	refresh, odd := t.RefreshToken(), tokenguard.Token{}
	switch kind % 5 {
	case 0:
		odd = tokenguard.NewToken("", time.Time{})
	case 1:
		odd = tokenguard.NewToken(t.Value(), now.Add(-time.Second))
	case 2:
		odd = tokenguard.NewTokenIn(t.Value(), 3600) // nanoseconds
	case 3:
		odd = tokenguard.NewTokenIn("a\nb", time.Hour)
	case 4: // whose refresh token nobody may ever present
		odd, refresh = tokenguard.NewTokenIn("of another account", time.Hour).WithAccount("another"), "refresh of another account"
	}
	if kind >= 5 || refresh == "" {
		return odd
	}
	return odd.WithRefreshToken(refresh, time.Time{})
}

// call has a process ask for a token.
func (w *renewalWorld) call(p *renewalProcess, scope string) {
	p.calls.Go(func() {
		began := time.Now()
		grant, err := p.guard.Acquire(context.Background(), tokenguard.Request{Scope: scope})
		w.mu.Lock()
		defer w.mu.Unlock()
		if p.dead {
			return
		}
		w.stats.calls++
		if took := time.Since(began); took > 2*time.Minute && p.touched.Before(began) {
			w.fail(fmt.Errorf("p%d waited %v", p.id, took))
		}
		if err == nil {
			w.stats.served++
			if v := w.values[grant.Token.ID()]; !began.Before(v.ends) {
				w.fail(fmt.Errorf("p%d was handed %v at %v, which ended at %v", p.id, grant.Token, began, v.ends))
			}
			return
		}
		if p.touched.After(began.Add(-time.Minute)) || p.away || errors.Is(err, tokenguard.ErrClosed) {
			return
		}
		for id, v := range w.values {
			stays := v.ends.Add(-30 * time.Second)
			if v.scope == scope && !v.refused && !v.committed.IsZero() && v.committed.Before(began) && time.Now().Before(stays) && v.key == p.key && w.wall.Load() == 0 && v.committed.After(w.facts.forth) {
				if r := w.document().Tokens[id]; r != nil && r.HasValue() {
					w.fail(fmt.Errorf("p%d had no token for %q at %v, although %s is good until %v: %w", p.id, scope, time.Now(), id, v.ends, err))
				}
			}
		}
	})
}

// kill ends a process as SIGKILL does: nothing that it still does has an effect, but for what the upstream was sent.
func (w *renewalWorld) kill(p *renewalProcess) {
	w.mu.Lock()
	p.dead = true
	if p.stopped != nil {
		close(p.stopped)
		p.stopped = nil
	}
	w.procs = slices.DeleteFunc(w.procs, func(q *renewalProcess) bool { return p == q })
	w.mu.Unlock()
}
