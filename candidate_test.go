package tokenguard

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// story lets three callers use a guard for a while: ordinary needs, failures of all sorts, outcomes, an upstream that
// fails now and then.
func story(t *testing.T, r *rig, rng *rand.Rand, steps int) {
	failures := []Failure{quota, quota, unauth, slow, broken, banned}
	r.up.replies = []func(context.Context, Request) (Token, error){func(context.Context, Request) (Token, error) {
		switch value := fmt.Sprintf("value %d", rng.Int64()); rng.IntN(6) {
		case 0:
			return Token{}, Failed(Failure{StatusCode: 503, Message: "unavailable", Header: map[string][]string{"Retry-After": {"1200"}}})
		case 1:
			return Token{}, Failed(broken)
		case 2:
			return NewToken(value, time.Time{}), nil
		default:
			return NewTokenIn(value, time.Duration(1+rng.Int64N(int64(3*time.Hour)))), nil
		}
	}}
	var held [3]Token
	for range steps {
		time.Sleep(time.Duration(rng.Int64N(int64(8 * time.Minute))))
		who := rng.IntN(len(held))
		req := Request{Caller: fmt.Sprint("caller ", who), Scope: []string{"", "b"}[who/2]}
		if id := held[who].ID(); id != "" {
			switch f := failures[rng.IntN(len(failures))]; rng.IntN(4) {
			case 0:
				require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Latency: time.Second}))
			case 1:
				require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: f}))
			case 2:
				req.Failure, req.Failing = f, id
				if rng.IntN(5) == 0 {
					req.Failing = "a token from elsewhere"
				}
			}
		}
		if grant, err := r.Acquire(t.Context(), req); err == nil {
			held[who] = grant.Token
		}
	}
}

// What is as in force answers as the guard does, call by call.
func TestCandidateThatChangesNothing(t *testing.T) {
	for seed := range amount(4, 60) {
		bubble(t, func(t *testing.T, r *rig) {
			story(t, r, rand.New(rand.NewPCG(seed, 2)), 150)
			s := r.Stats()
			require.NotNil(t, s.Candidate)
			require.Zero(t, s.Candidate.Gained, "seed %d", seed)
			require.Zero(t, s.Candidate.Lost, "seed %d", seed)
			own := s.Candidate.Stats
			require.Equal(t, s.Calls.Total, own.Calls.Total)
			require.Equal(t, s.Calls.Answers, own.Calls.Answers, "seed %d", seed)
			require.Equal(t, s.Acquisitions, own.Acquisitions)
			require.Equal(t, s.Limiter, own.Limiter)
			require.EqualValues(t, s.Acquisitions.Attempts, r.up.count(), "nothing is fetched for it")
		}, WithCandidate(Config{}))
	}
}

// A quota that runs out early is replaced early by Moderate alone.
func TestCandidateGains(t *testing.T) {
	var events []Event
	observe := WithObserver(func(e Event) {
		if e.Kind == EventCandidate {
			events = append(events, e)
		}
	})
	bubble(t, func(t *testing.T, r *rig) {
		token := r.must(Request{}).Token
		req := Request{Caller: "worker", Failure: quota, Failing: token.ID()}
		r.no(ReasonTokenTooNew, req)
		time.Sleep(6 * time.Minute)
		refused := r.no(ReasonTokenTooNew, req)
		time.Sleep(time.Minute)
		r.no(ReasonTokenTooNew, req)

		s := r.Stats()
		require.Equal(t, 1, r.up.count())
		require.Equal(t, 1, s.Acquisitions.Hour.Used)
		require.Equal(t, 2, s.Candidate.Stats.Acquisitions.Hour.Used)
		require.Equal(t, 10, s.Candidate.Stats.Acquisitions.Hour.Limit)
		require.Equal(t, Moderate(), s.Candidate.Config)
		require.EqualValues(t, 2, s.Candidate.Gained)
		require.Zero(t, s.Candidate.Lost)
		require.Equal(t, 30*time.Minute-6*time.Minute, refused.Verdict.RetryAt.Sub(time.Now().Add(-time.Minute)))

		require.Len(t, events, 2)
		require.Equal(t, ReasonAcquired, events[0].Verdict.Reason)
		require.Equal(t, "worker", events[0].Caller)
		require.Equal(t, token.ID(), events[0].Failing)
		require.Equal(t, ReasonCached, events[1].Verdict.Reason)
		_, err := json.Marshal(s)
		require.NoError(t, err)
	}, WithCandidate(Moderate()), observe)
}

// One that starts less serves less: it is said, and nobody is refused for it.
func TestCandidateLoses(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = []func(context.Context, Request) (Token, error){
			func(context.Context, Request) (Token, error) {
				return NewTokenIn(fmt.Sprint("value of ", time.Now()), 10*time.Minute), nil
			}}
		for range 3 {
			r.must(Request{})
			time.Sleep(10 * time.Minute)
		}
		s := r.Stats()
		require.EqualValues(t, 3, s.Calls.Served)
		require.EqualValues(t, 2, s.Candidate.Lost)
		require.EqualValues(t, 2, s.Candidate.Stats.Calls.Answers[StepLimiter][ReasonHourLimit])
		require.Equal(t, 1, s.Candidate.Stats.Acquisitions.Hour.Used)
	}, WithCandidate(Config{RateLimit: RateLimits{MaxRequestsPerHour: 1}}))
}

// Beside shadow mode a candidate is judged against the refusals that did not happen.
func TestCandidateBesideShadowMode(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		token := r.must(Request{}).Token
		passed := r.must(Request{Failure: quota, Failing: token.ID()}).Token
		time.Sleep(6 * time.Minute)
		require.Equal(t, SourceShadow, r.must(Request{Failure: quota, Failing: passed.ID()}).Source)
		s := r.Stats().Candidate
		require.EqualValues(t, 1, s.Gained, "only Moderate replaces it early")
		require.Zero(t, s.Lost)
	}, WithShadowModeRefusingNothing(), WithCandidate(Moderate()))
}

// It begins with what the guard knows, and goes on after a restart.
func TestCandidateState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	bubble(t, func(t *testing.T, r *rig) {
		token := r.must(Request{}).Token
		require.NoError(t, r.Close())

		r.Guard = r.open(WithStateFile(path), WithCandidate(Moderate()))
		require.Equal(t, token.ID(), r.must(Request{}).Token.ID())
		s := r.Stats().Candidate
		require.Equal(t, 1, s.Stats.Acquisitions.Hour.Used)
		require.Zero(t, s.Stats.Acquisitions.Attempts, "counted from here")
		require.EqualValues(t, 1, s.Stats.Calls.Served, "by what stands for the token that was there")
		r.no(ReasonTokenTooNew, Request{Failure: quota, Failing: token.ID()})
		time.Sleep(6 * time.Minute)
		r.no(ReasonTokenTooNew, Request{Failure: quota, Failing: token.ID()})
		require.EqualValues(t, 1, r.Stats().Candidate.Gained)
		require.NoError(t, r.Close())

		r.Guard = r.open(WithStateFile(path), WithCandidate(Moderate()))
		r.no(ReasonTokenTooNew, Request{Failure: quota, Failing: token.ID()})
		s = r.Stats().Candidate
		require.Equal(t, 2, s.Stats.Acquisitions.Hour.Used)
		require.EqualValues(t, 1, s.Gained, "its own second token is not the one that fails")

		require.NoError(t, r.Clear(t.Context(), Clear{Suspicion: "*", Backoff: true}))
		require.NoError(t, r.Adopt(t.Context(), NewToken("from elsewhere", time.Time{})))
		require.Equal(t, 3, r.Stats().Candidate.Stats.Acquisitions.Hour.Used)
		require.Equal(t, 1, r.up.count())
	}, WithStateFile(path))
}

// partStore fails for one name alone.
type partStore struct {
	Store
	name string
}

func (s partStore) View(ctx context.Context, name string) (Snapshot, error) {
	if name == s.name {
		return Snapshot{}, errDeaf
	}
	return s.Store.View(ctx, name)
}

func (s partStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	if name == s.name {
		<-ctx.Done() // hangs
		return Snapshot{}, ctx.Err()
	}
	return s.Store.Update(ctx, name, fn)
}

func TestCandidateDisturbsNobody(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		token := r.must(Request{}).Token
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: token.ID(), Failure: quota}))
		r.no(ReasonTokenTooNew, Request{Failure: quota, Failing: token.ID()})
		s := r.Stats()
		require.Empty(t, s.Store.Error)
		require.NotEmpty(t, s.Candidate.Stats.Store.Error)
		require.Zero(t, s.Candidate.Gained+s.Candidate.Lost)
	}, WithCandidate(Moderate()), WithStore(partStore{NewMemoryStore(), "shop.candidate"}), WithName("shop"))
}

// The candidate's document holds names, never a token, and its events no secret.
func TestCandidateKeepsSecrets(t *testing.T) {
	store := NewMemoryStore()
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = []func(context.Context, Request) (Token, error){gives("plain words", time.Hour)}
		token := r.must(Request{}).Token
		r.no(ReasonTokenTooNew, Request{Caller: "plain words", Failure: Failure{StatusCode: 429, Message: "insufficient_quota: plain words are used up"}, Failing: token.Value()})
		snap, err := store.View(t.Context(), "shop.candidate")
		require.NoError(t, err)
		require.Contains(t, string(snap.Data), nameFor(token.ID()))
		require.NotContains(t, string(snap.Data), "plain words")
		for e := range r.trial.candidate.History() {
			require.NotContains(t, fmt.Sprintf("%+v", e), "plain words")
		}
	}, WithCandidate(Moderate()), WithStore(store), WithName("shop"))
}

func TestCandidateMistakes(t *testing.T) {
	up := &upstream{}
	_, err := New(up.request, WithCandidate(Config{RateLimit: RateLimits{MaxRequestsPerHour: -1, MaxBackoff: time.Second}}),
		WithName(strings.Repeat("n", 60)))
	var mistake *ConfigError
	require.ErrorAs(t, err, &mistake)
	require.ErrorContains(t, err, "WithCandidate: rate_limit.max_requests_per_hour")
	require.ErrorContains(t, err, "WithCandidate: rate_limit.max_backoff")
	require.ErrorContains(t, err, "at most 54 letters")
}

// Two hits in a row cost two tables, and nothing else.
func TestCandidateOnTheHotPath(t *testing.T) {
	g, err := New((&upstream{}).request, WithCandidate(Moderate()))
	require.NoError(t, err)
	for range 3 {
		_, err = g.Token(t.Context())
		require.NoError(t, err)
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = g.Token(t.Context()) }))
	s := g.Stats()
	require.Equal(t, s.Calls.Answers, s.Candidate.Stats.Calls.Answers)
	require.NoError(t, g.Close())
	synctest.Test(t, func(t *testing.T) {}) // no goroutine is left
}

// A caller may name its token by a value that the guard has never seen, and its failure may repeat it.
func TestCandidateKeepsAnUnknownValueSecret(t *testing.T) {
	const value = "plainword"
	differed := 0
	observe := WithObserver(func(e Event) {
		if e.Kind == EventCandidate {
			differed++
		}
		require.NotContains(t, fmt.Sprintf("%+v", e), value)
	})
	store := NewMemoryStore()
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		time.Sleep(2 * time.Minute)
		r.no(ReasonMinInterval, Request{Scope: "b", Failing: value, Failure: Failure{StatusCode: 429, Message: "insufficient_quota for " + value}})
		require.Equal(t, 1, differed)
		for e := range r.trial.candidate.History() {
			require.NotContains(t, fmt.Sprintf("%+v", e), value)
		}
		snap, err := store.View(t.Context(), "secret"+candidateSuffix)
		require.NoError(t, err)
		require.NotContains(t, string(snap.Data), value)
	}, observe, WithStore(store), WithName("secret"), WithCandidate(Config{RateLimit: RateLimits{MinInterval: time.Minute}}))
}

// However many calls meet a store that hangs before the candidate has begun, each waits for it once.
func TestCandidateOfAStoreThatHangs(t *testing.T) {
	store := newSlowStore(0)
	bubble(t, func(t *testing.T, r *rig) {
		r.trial.candidate.begun.Store(true)
		r.must(Request{})
		r.trial.candidate.begun.Store(false)
		store.takes.Store(int64(time.Hour))
		start := time.Now()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := r.Acquire(context.Background(), Request{Failure: broken}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		require.LessOrEqual(t, time.Since(start), 2*evaluateTimeout)
		store.takes.Store(0)
	}, WithStore(store), WithName("hangs"), WithCandidate(Config{}))
}

// A wait that the real failure's text asks for is counted from that failure, once: not again from each simulated one.
func TestCandidateRepeatsNoRetryAfter(t *testing.T) {
	for name, failed := range map[string]Failure{
		"of the account": {StatusCode: 503, Message: "overloaded, retry after 600 seconds"},
		"of a scope":     {StatusCode: 403, Message: "your account has been banned, retry after 600 seconds"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				fail := func() {
					_, err := r.Acquire(t.Context(), Request{})
					require.Error(t, err)
				}
				waits := func() time.Duration { return in(r.Stats().Candidate.Stats.Limiter.RetryAfterUntil) }
				r.up.replies = []func(context.Context, Request) (Token, error){fails(failed)}
				fail()
				require.Equal(t, 10*time.Minute, in(r.Stats().Limiter.RetryAfterUntil))
				require.Equal(t, 10*time.Minute, waits())
				time.Sleep(9*time.Minute + 1500001)
				fail()
				require.Equal(t, time.Minute-1500001, waits())
				_, err := r.trial.candidate.simulate(t.Context(), Request{}) // as one with other settings would start now
				at := r.meter.Read()
				require.Equal(t, time.Minute-1500001, r.reader.failure(failureOf(err), at).Until.Sub(at.Now))
				time.Sleep(20 * time.Minute)
				fail()
				require.Equal(t, 1, r.up.count(), "the guard's own backoff lasts")
				require.Equal(t, time.Duration(-1), waits(), "a pause that is over is over")
			}, WithRateLimits(RateLimits{FailureBackoffBase: 2 * time.Hour, MaxBackoff: 2 * time.Hour}),
				WithCandidate(Config{RateLimit: RateLimits{FailureBackoffBase: time.Minute, MinInterval: time.Second}}))
		})
	}
}

// A candidate whose own state file cannot be makes no guard, and its error says whose it is.
func TestCandidateWithoutAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("n", 190)) // room for itself, and none for the candidate's
	g, err := New(giveToken("word"), WithStateFile(path))
	require.NoError(t, err)
	require.NoError(t, g.Close())
	g, err = New(giveToken("word"), WithStateFile(path), WithCandidate(Config{RateLimit: RateLimits{MaxRequestsPerHour: 5}}))
	require.ErrorContains(t, err, "WithCandidate: ")
	require.ErrorContains(t, err, path+".candidate")
	require.Nil(t, g)
}
