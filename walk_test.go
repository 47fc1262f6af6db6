package tokenguard_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// Two guards on one store, random calls, reports, adoptions and clears, and a clock that moves by what the rules speak
// of. Explain foresees each answer and changes nothing; an ordinary need is refused up to RetryAt and answered then; who
// was served is served again. To see it fail, let Manager refuse until the expiry where WithRefreshAhead opens sooner.
func TestRandomWalk(t *testing.T) {
	for seed := range amount(6, 150) {
		if newWalk(t, seed).run(); t.Failed() {
			t.Fatal("seed", seed)
		}
	}
}

type walk struct {
	*user
	rnd       *rand.Rand
	store     *mapStore
	guards    []*tokenguard.Guard
	values    []string // of the tokens so far
	personals int      // calls of the personal token's function
}

func (w *walk) chance(oneIn int) bool { return w.rnd.IntN(oneIn) == 0 }

func newWalk(t *testing.T, seed uint64) *walk {
	w := &walk{rnd: rand.New(rand.NewPCG(seed, 7)), store: &mapStore{epoch: "1"}}
	opts := onStore(w.store)
	if w.chance(3) {
		opts = append(opts, tokenguard.WithPersonalToken(w.personal))
	}
	if w.chance(3) {
		opts = append(opts, tokenguard.WithManager(tokenguard.ManagerConfig{ReplaceSpentEarly: true}))
	}
	if w.chance(3) {
		opts = append(opts, tokenguard.WithRefreshAhead(5*time.Minute))
	}
	if w.chance(2) {
		opts = append(opts, tokenguard.WithRateLimits(tokenguard.RateLimits{
			MaxRequestsPerHour: 20, MaxRequestsPerDay: 100, MinInterval: time.Minute, FailureBackoffBase: time.Minute, MaxBackoff: 10 * time.Minute}))
	}
	if w.chance(4) {
		opts = append(opts, tokenguard.WithCache(tokenguard.CacheConfig{MaxTokens: 2, Strict: w.chance(2), CleanupInterval: time.Duration(1+w.rnd.IntN(3)) * time.Hour}))
	}
	if w.chance(5) {
		opts = append(opts, tokenguard.WithoutTokenPersistence())
	}
	w.user = newUser(t, opts...)
	w.up.next = []tokenguard.RequestFunc{w.request}
	w.guards = []*tokenguard.Guard{w.Guard, w.open(opts...)}
	return w
}

func (w *walk) personal(context.Context) (tokenguard.Token, error) {
	if w.personals++; w.personals%4 == 1 {
		return tokenguard.Token{}, errors.New("not now")
	}
	return tokenguard.NewTokenIn(fmt.Sprint("personal-", w.personals/8), time.Duration(1+w.personals%3)*time.Hour), nil
}

func (w *walk) request(context.Context, tokenguard.Request) (tokenguard.Token, error) {
	switch w.rnd.IntN(10) {
	case 0:
		return tokenguard.Token{}, tokenguard.Failed(serverDown)
	case 1:
		return tokenguard.Token{}, tokenguard.Failed(accountBan)
	case 2:
		f := serverDown
		f.Header = map[string][]string{"Retry-After": {"900"}}
		return tokenguard.Token{}, tokenguard.Failed(f)
	case 3:
		w.clock.move(7 * time.Second)
	}
	value := fmt.Sprint("value-", len(w.values))
	w.values = append(w.values, value)
	if lifetime := []time.Duration{0, time.Minute, 10 * time.Minute, time.Hour, 5 * time.Hour}[w.rnd.IntN(5)]; lifetime > 0 {
		return tokenguard.NewTokenIn(value, lifetime), nil
	}
	return tokenguard.NewToken(value, time.Time{}), nil
}

// need is a random request.
func (w *walk) need() tokenguard.Request {
	failures := []tokenguard.Failure{{}, {}, {}, outOfQuota, noneLeft, unauthorized, accountBan, serverDown, tooFast, badRequest}
	req := tokenguard.Request{Scope: []string{"", "a"}[w.rnd.IntN(2)], Caller: []string{"x", "y"}[w.rnd.IntN(2)], Failure: failures[w.rnd.IntN(len(failures))]}
	if w.chance(12) {
		req.Kind = tokenguard.Personal
	}
	if n := len(w.values); n > 0 && !w.chance(4) {
		req.Failing = w.values[max(0, n-1-w.rnd.IntN(2))]
	}
	if w.chance(12) {
		req.Failing = fmt.Sprint("personal-", w.personals/8)
	}
	if req.Failure.StatusCode == 429 && w.chance(3) {
		req.Failure.Header = map[string][]string{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {fmt.Sprint(w.rnd.IntN(4) * 3600)}}
	}
	if req.Failure.StatusCode != 0 && w.chance(3) {
		req.Failure.At = w.now().Add(-time.Duration(w.rnd.IntN(100)) * time.Second)
	}
	return req
}

// happen does something between two calls.
func (w *walk) happen(req tokenguard.Request) {
	switch w.rnd.IntN(9) {
	case 0:
		o := tokenguard.Outcome{TokenID: req.Failing + "x", Failure: req.Failure, Latency: time.Second}
		if req.Failing != "" {
			o.TokenID = req.Failing
		}
		if w.chance(3) {
			o.Limit, o.Remaining, o.ResetAt = 10, int64(w.rnd.IntN(2)), w.now().Add(time.Duration(w.rnd.IntN(90))*time.Minute)
		}
		w.report(o)
	case 1:
		for range w.rnd.IntN(30) {
			w.report(tokenguard.Outcome{TokenID: req.Failing + "x"})
			if req.Failing != "" {
				w.report(tokenguard.Outcome{TokenID: req.Failing, Latency: time.Second})
			}
			w.clock.move(100 * time.Millisecond)
		}
	case 2:
		if w.chance(4) {
			what := tokenguard.Clear{Suspicion: []string{"", "*"}[w.rnd.IntN(2)], Backoff: w.chance(2), RetryAfter: w.chance(2)}
			require.NoError(w.t, w.Clear(w.t.Context(), what))
		}
	case 3:
		if w.chance(4) {
			w.values = append(w.values, fmt.Sprint("adopted-", len(w.values)))
			require.NoError(w.t, w.Adopt(w.t.Context(), tokenguard.NewTokenIn(w.values[len(w.values)-1], time.Hour)))
		}
	default:
		w.clock.move([]time.Duration{0, 1, 10 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour}[w.rnd.IntN(8)])
	}
}

func (w *walk) explain(req tokenguard.Request) tokenguard.Verdict {
	before := w.document()
	e, err := w.Explain(w.t.Context(), req)
	require.NoError(w.t, err)
	require.Equal(w.t, before, w.document(), "Explain wrote")
	return e.Verdict
}

func (w *walk) document() string { return string(w.store.docs["acceptance"].Data) }

func (w *walk) run() {
	for step := 0; step < 120 && !w.t.Failed(); step++ {
		w.Guard = w.guards[w.rnd.IntN(2)]
		req := w.need()
		w.happen(req)
		foreseen, now := w.explain(req), w.now()
		personals, starts := w.personals, w.up.count()
		grant, err := w.Acquire(w.t.Context(), req)
		got := grant.Verdict()
		var refusal *tokenguard.RefusedError
		if errors.As(err, &refusal) {
			got = refusal.Verdict
		}
		switch {
		case personals != w.personals: // Explain fetches none
		case starts != w.up.count():
			assert.Equal(w.t, tokenguard.AnswerStart, foreseen.Answer, "step %d: %+v: %+v", step, req, foreseen)
		default:
			foreseen.Detail, got.Detail, foreseen.Evidence, got.Evidence = "", "", tokenguard.Evidence{}, tokenguard.Evidence{}
			assert.Equal(w.t, foreseen, got, "step %d: %+v", step, req)
		}
		ordinary := req.Failure.StatusCode == 0
		switch at := got.RetryAt; {
		case refusal != nil && !at.IsZero():
			require.True(w.t, at.After(now), "step %d: %+v", step, got)
			if ordinary && w.personals == 0 {
				w.clock.set(at.Add(-1))
				assert.Equal(w.t, tokenguard.AnswerRefuse, w.explain(req).Answer, "step %d: too late: %+v", step, got)
				w.clock.set(at)
				assert.NotEqual(w.t, tokenguard.AnswerRefuse, w.explain(req).Answer, "step %d: too early: %+v", step, got)
				w.clock.set(now)
			}
		case err == nil && ordinary && req.Kind == "":
			_, err = w.Acquire(w.t.Context(), req)
			require.NoError(w.t, err, "step %d: served a moment ago", step)
		}
	}
}
