package restraint

import (
	"cmp"
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"

	"github.com/tokenguard/tokenguard"
)

// way is one way of holding tokens. get returns nil where there is none; failing is the token with which this call was
// answered with status, nil on its first try.
type way interface {
	restart(process int)
	get(c Call, failing *token, status int) *token
	worked(c Call, t *token)
}

// none asks the upstream for each call.
type none struct{ u *upstream }

func (n none) restart(int)                        {}
func (n none) get(c Call, _ *token, _ int) *token { return n.u.mint(c.At) }
func (n none) worked(Call, *token)                {}

// cache is a token in each process' memory, asked for again when it is over.
type cache struct {
	u      *upstream
	drops  bool // also when a call with it failed
	limit  bool // 3 an hour by x/time/rate
	opens  int  // failures in a row after which a breaker opens for a minute; 0: no breaker
	memory map[int]*local
}

type local struct {
	token    *token
	limiter  *rate.Limiter
	failures int
	open     time.Duration // until
}

var epoch = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

func (k *cache) restart(process int) {
	if k.memory == nil {
		k.memory = map[int]*local{}
	}
	k.memory[process] = &local{limiter: rate.NewLimiter(rate.Every(20*time.Minute), 3)}
}

func (k *cache) get(c Call, failing *token, _ int) *token {
	m := k.memory[c.Process]
	if t := m.token; t != nil && c.At < t.born+k.u.Lifetime && (!k.drops || t != failing) {
		return t
	}
	if k.opens > 0 && c.At < m.open || k.limit && !m.limiter.AllowN(epoch.Add(c.At), 1) {
		return nil
	}
	m.token = k.u.mint(c.At)
	if m.token != nil {
		m.failures = 0
	} else if m.failures++; m.failures >= k.opens {
		m.open = c.At + time.Minute
	}
	return m.token
}

func (k *cache) worked(Call, *token) {}

// limits are the hard ones.
type limits struct {
	hour, day int
	spacing   time.Duration
}

func hard(w World) limits {
	if w.Moderate {
		return limits{10, 50, time.Minute}
	}
	return limits{3, 20, 5 * time.Minute}
}

func (l limits) open(starts []time.Duration, at time.Duration) bool {
	n := len(starts)
	return (n < l.hour || at-starts[n-l.hour] >= time.Hour) &&
		(n < l.day || at-starts[n-l.day] >= 24*time.Hour) &&
		(n < 1 || at-starts[n-1] >= l.spacing)
}

// greedy knows whether the token that all share works, and starts whenever it does not and the hard limits allow it.
type greedy struct {
	u      *upstream
	limits limits
	token  *token
	starts []time.Duration
}

func (g *greedy) restart(int)         {}
func (g *greedy) worked(Call, *token) {}

func (g *greedy) get(c Call, _ *token, _ int) *token {
	if !g.u.works(g.token, c.At) && g.limits.open(g.starts, c.At) {
		g.starts = append(g.starts, c.At)
		g.token = g.u.mint(c.At)
	}
	if !g.u.works(g.token, c.At) {
		return nil
	}
	return g.token
}

// guard is tokenguard itself on a clock of the simulation, one Guard for each process over one store.
type guard struct {
	u       *upstream
	now     time.Duration
	preset  tokenguard.Config
	store   tokenguard.Store
	guards  map[int]*tokenguard.Guard
	refused map[tokenguard.Reason]int
}

func newGuard(u *upstream, preset tokenguard.Config) *guard {
	return &guard{u: u, preset: preset, store: tokenguard.NewMemoryStore(), guards: map[int]*tokenguard.Guard{}, refused: map[tokenguard.Reason]int{}}
}

// Now is the guard's clock.
func (g *guard) Now() time.Time { return epoch.Add(g.now) }

func (g *guard) restart(process int) {
	if old := g.guards[process]; old != nil {
		_ = old.Close()
	}
	made, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		t := g.u.mint(g.now)
		if t == nil {
			return tokenguard.Token{}, tokenguard.Failed(tokenguard.Failure{StatusCode: 503, Message: "service unavailable"})
		}
		return tokenguard.NewTokenIn(t.value, g.u.Lifetime), nil
	}, tokenguard.WithConfig(g.preset), tokenguard.WithStore(g.store), tokenguard.WithName("simulation"), tokenguard.WithClock(g))
	if err != nil {
		panic(err)
	}
	g.guards[process] = made
}

var answers = map[int]tokenguard.Failure{
	401: {StatusCode: 401, Message: "token revoked"},
	429: {StatusCode: 429, Message: "No remaining quota: No AI requests remaining"},
}

func (g *guard) get(c Call, failing *token, status int) *token {
	g.now = c.At
	req := tokenguard.Request{Caller: cmp.Or(c.Caller, "simulation")}
	if failing != nil {
		req.Failing, req.Failure = tokenguard.TokenID(failing.value), answers[status]
	}
	grant, err := g.guards[c.Process].Acquire(context.Background(), req)
	var refused *tokenguard.RefusedError
	if errors.As(err, &refused) {
		g.refused[refused.Verdict.Reason]++
	}
	if err != nil {
		return nil
	}
	return g.u.tokens[grant.Token.Value()]
}

func (g *guard) worked(c Call, t *token) {
	g.now = c.At
	if err := g.guards[c.Process].Report(context.Background(), tokenguard.Outcome{TokenID: tokenguard.TokenID(t.value), Latency: time.Second}); err != nil {
		panic(err)
	}
}
