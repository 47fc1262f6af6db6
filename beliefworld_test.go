package tokenguard_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// A world of callers, endpoints and an upstream that knows the truth about each token, played with a real guard. What it
// counts is what a customer sees: how many of an operation's calls were made with a token that works for it.

// habit is what an operation reports.
type habit int

const (
	tellsAll      habit = iota // every outcome, as guardhttp.Transport does
	tellsFailures              // a failure, with its next Acquire
	tellsNothing
)

// endpoint is what answers an operation.
type endpoint struct {
	denies bool          // every token
	free   bool          // its calls use up nothing of a token's quota
	quota  int           // calls a token has here; 0: as many as the token has
	states bool          // a refusal for quota says that nothing remains
	late   time.Duration // a revocation reaches it so much later
}

// worldCaller is an operation, or a crowd of them.
type worldCaller struct {
	name    string
	names   int // the crowd takes turns; 0: it is one
	scope   string
	every   time.Duration
	phase   time.Duration // the first call
	habit   habit
	end     int
	jitter  bool
	hostile func(w *beliefWorld, name string) // takes the place of a call
	at      []time.Duration                   // in place of every and phase
	named   []string                          // with at
}

type beliefWorld struct {
	callers  []worldCaller
	ends     []endpoint
	lifetime time.Duration
	lag      time.Duration // before a token has spread
	revoked  []time.Duration
	quota    int // calls a token has over all endpoints that are not free
	false401 float64
	falseUse float64         // refusals for quota that are false
	bursts   []time.Duration // in which each call is refused for quota, for burst
	burst    time.Duration
	never    bool // no token ever works
	unnamed  bool
	moderate bool
	lasts    time.Duration // 0: a day

	t       testing.TB
	guard   *tokenguard.Guard
	clock   *worldClock
	seed    uint64
	tokens  map[string]*worldToken
	alive   []*worldToken // in the order of acquisition
	starts  []time.Duration
	carry   []tokenguard.Request
	calls   []int
	served  []int
	dead    int // calls made with a token that did not work
	starved int // calls that left with nothing while a token that works for them, and that nobody had refused, was there
}

type worldToken struct {
	id, scope string
	born      time.Duration
	uses      int
	at        map[int]int // uses by endpoint
	refusedBy map[string]bool
}

type worldClock struct{ now time.Time }

func (c *worldClock) Now() time.Time { return c.now }

var worldBegin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *beliefWorld) now() time.Duration { return w.clock.now.Sub(worldBegin) }

// play runs the world.
func (w *beliefWorld) play(t testing.TB, seed uint64) *beliefWorld {
	w.t, w.seed, w.clock = t, seed, &worldClock{worldBegin}
	w.tokens, w.calls, w.served = map[string]*worldToken{}, make([]int, len(w.callers)), make([]int, len(w.callers))
	w.carry = make([]tokenguard.Request, len(w.callers))
	if w.lasts == 0 {
		w.lasts = 24 * time.Hour
	}
	if w.ends == nil {
		w.ends = []endpoint{{}}
	}
	config := tokenguard.Conservative()
	if w.moderate {
		config = tokenguard.Moderate()
	}
	var err error
	w.guard, err = tokenguard.New(w.acquire, tokenguard.WithClock(w.clock), tokenguard.WithConfig(config))
	require.NoError(t, err)
	defer w.guard.Close()
	rng := rand.New(rand.NewPCG(seed, 7))
	next, count := make([]time.Duration, len(w.callers)), make([]int, len(w.callers))
	for i, c := range w.callers {
		if next[i] = c.phase; c.at != nil {
			next[i] = c.at[0]
		}
		if c.jitter {
			next[i] += time.Duration(rng.Int64N(int64(c.every)))
		}
	}
	for {
		i := 0
		for j := range next {
			if next[j] < next[i] {
				i = j
			}
		}
		if next[i] >= w.lasts {
			break
		}
		w.clock.now = worldBegin.Add(next[i])
		c, n := &w.callers[i], count[i]
		count[i]++
		switch {
		case c.at != nil && n+1 < len(c.at):
			next[i] = c.at[n+1]
		case c.at != nil:
			next[i] = w.lasts
		case c.jitter:
			next[i] += c.every/2 + time.Duration(rng.Int64N(int64(c.every)))
		default:
			next[i] += c.every
		}
		name := c.name
		if c.names > 0 {
			name = c.name + letters(n*7919%c.names)
		}
		if c.named != nil {
			name = c.named[n]
		}
		if w.unnamed {
			name = ""
		}
		if c.hostile != nil {
			c.hostile(w, name)
			continue
		}
		w.call(i, n, name)
	}
	w.limits(config.RateLimit)
	return w
}

// letters is a number as a word: digits in a name are masked.
func letters(n int) string {
	return string([]byte{'a' + byte(n/676%26), 'a' + byte(n/26%26), 'a' + byte(n%26)})
}

func (w *beliefWorld) acquire(_ context.Context, req tokenguard.Request) (tokenguard.Token, error) {
	w.starts = append(w.starts, w.now())
	value := fmt.Sprintf("value number %d of this world", len(w.starts))
	tok := &worldToken{id: tokenguard.TokenID(value), scope: req.Scope, born: w.now(), at: map[int]int{}, refusedBy: map[string]bool{}}
	w.tokens[tok.id] = tok
	w.alive = append(w.alive, tok)
	return tokenguard.NewTokenIn(value, w.lifetime), nil
}

// limits holds the starts against the limits, as the upstream sees them.
func (w *beliefWorld) limits(l tokenguard.RateLimits) {
	for i, at := range w.starts {
		hour, day := 0, 0
		for _, before := range w.starts[:i+1] {
			if at-before < time.Hour {
				hour++
			}
			if at-before < 24*time.Hour {
				day++
			}
		}
		require.LessOrEqual(w.t, hour, l.MaxRequestsPerHour)
		require.LessOrEqual(w.t, day, l.MaxRequestsPerDay)
		if i > 0 {
			require.GreaterOrEqual(w.t, at-w.starts[i-1], l.MinInterval)
		}
	}
}

// truth is what the endpoint says of the token, flukes aside.
func (w *beliefWorld) truth(tok *worldToken, end int) tokenguard.Failure {
	e, now := w.ends[end], w.now()
	spent := usedUp
	if e.states {
		spent.Header = map[string][]string{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Limit": {"40"}}
	}
	switch {
	case w.never, e.denies, now < tok.born+w.lag, now >= tok.born+w.lifetime,
		slices.ContainsFunc(w.revoked, func(at time.Duration) bool { return tok.born < at && at+e.late <= now }):
		return tokenDead
	case e.quota > 0 && tok.at[end] >= e.quota, w.quota > 0 && !e.free && tok.uses >= w.quota:
		return spent
	}
	return tokenguard.Failure{}
}

// use makes a call. works: the token is one that works for it, flukes aside.
func (w *beliefWorld) use(id string, i, n, try int) (f tokenguard.Failure, works bool) {
	tok, end := w.tokens[id], w.callers[i].end
	if f := w.truth(tok, end); !f.IsZero() {
		w.dead++
		return f, false
	}
	if w.chance(w.false401, i, n, try) {
		return tokenDead, true
	}
	if w.chance(w.falseUse, i, n, 10+try) || slices.ContainsFunc(w.bursts, func(at time.Duration) bool { return at <= w.now() && w.now() < at+w.burst }) {
		return usedUp, true
	}
	if !w.ends[end].free {
		tok.uses++
	}
	tok.at[end]++
	return tokenguard.Failure{}, true
}

// chance falls the same way whatever the guard does.
func (w *beliefWorld) chance(p float64, of ...int) bool {
	if p == 0 {
		return false
	}
	h := fnv.New64a()
	fmt.Fprint(h, w.seed, of)
	return rand.New(rand.NewPCG(h.Sum64(), 1)).Float64() < p
}

// call is one call of an operation, with one retry as a client makes it.
func (w *beliefWorld) call(i, n int, name string) {
	c := &w.callers[i]
	w.calls[i]++
	req := w.carry[i]
	req.Scope, req.Caller = c.scope, name
	w.carry[i] = tokenguard.Request{}
	used, served := "", false
	for try := range 2 {
		grant, err := w.guard.Acquire(w.t.Context(), req)
		if err != nil && try == 0 {
			w.left(i, name)
		}
		if err != nil || grant.Token.ID() == used {
			break
		}
		used = grant.Token.ID()
		f, works := w.use(used, i, n, try)
		served = served || works
		if f.IsZero() && c.habit == tellsAll {
			w.tell(used, name, f)
		}
		if f.IsZero() || c.habit == tellsNothing {
			break
		}
		w.tokens[used].refusedBy[name] = true
		f.At = w.clock.now
		switch {
		case try == 0:
			req.Failure, req.Failing = f, used
		case c.habit == tellsAll:
			w.tell(used, name, f)
		default:
			w.carry[i] = tokenguard.Request{Failure: f, Failing: used}
		}
	}
	if served {
		w.served[i]++
	}
}

func (w *beliefWorld) tell(id, name string, f tokenguard.Failure) {
	_ = w.guard.Report(w.t.Context(), tokenguard.Outcome{TokenID: id, Caller: name, Failure: f})
}

// left counts a caller that got nothing although a token was there that works for it and that it has not refused.
func (w *beliefWorld) left(i int, name string) {
	for _, tok := range w.alive {
		if tok.scope == w.callers[i].scope && !tok.refusedBy[name] && w.truth(tok, w.callers[i].end).IsZero() && w.now() < tok.born+w.lifetime {
			w.starved++
			return
		}
	}
}
