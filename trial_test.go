package tokenguard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestShadowModeRefusesNothing(t *testing.T) {
	var events []Event
	observe := WithObserver(func(e Event) { events = append(events, e) })
	bubble(t, func(t *testing.T, r *rig) {
		first := r.must(Request{}).Token
		req := Request{Caller: "worker", Failure: quota, Failing: first.ID()}
		grant := r.must(req)
		require.Equal(t, "value-2", grant.Token.Value())
		require.Equal(t, SourceShadow, grant.Source)
		require.Equal(t, ReasonTokenTooNew, grant.Verdict().Reason)
		require.Equal(t, AnswerRefuse, grant.Verdict().Answer)
		require.Equal(t, 30*time.Minute, in(grant.Verdict().RetryAt))
		require.Equal(t, Anonymous, grant.Token.Kind())
		require.Equal(t, allDay, in(grant.Token.Expiry()))
		require.Equal(t, "worker", r.up.calls[1].Caller)
		require.Equal(t, first.ID(), r.up.calls[1].Failing)

		s := r.Stats()
		require.Equal(t, 1, s.Acquisitions.Hour.Used, "what was passed on is not charged")
		require.Equal(t, 1, s.Cache.Size, "nor cached")
		require.EqualValues(t, 1, s.Calls.Answers[StepManager][ReasonTokenTooNew])
		require.Equal(t, &ShadowStats{Served: 1}, s.Shadow)
		require.Equal(t, first.ID(), r.must(Request{}).Token.ID(), "the others have the cached one")

		var passed []Event
		for _, e := range events {
			if e.Shadow {
				passed = append(passed, e)
			}
		}
		require.Len(t, passed, 1)
		require.Equal(t, EventRefused, passed[0].Kind)
		require.Equal(t, ReasonTokenTooNew, passed[0].Verdict.Reason)

		waited, err := r.Wait(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, SourceShadow, waited.Source, "nobody sleeps")
	}, WithShadowModeRefusingNothing(), observe)
}

// The decisions are those of a guard that refuses, whatever the callers do with the tokens that they get instead.
func TestShadowModeDecidesAsEnforced(t *testing.T) {
	for seed := range amount(4, 100) {
		synctest.Test(t, func(t *testing.T) {
			var enforcedUp, shadowUp upstream
			enforced, err := New(enforcedUp.request)
			require.NoError(t, err)
			shadow, err := New(shadowUp.request, WithShadowModeRefusingNothing())
			require.NoError(t, err)
			rng := rand.New(rand.NewPCG(seed, 1))
			failures := []Failure{{}, quota, quota, unauth, slow, broken, banned}
			var a, b [3]string // what three callers hold: when enforced, in shadow mode
			refused := 0
			for step := range 120 {
				time.Sleep(time.Duration(rng.Int64N(int64(10 * time.Minute))))
				who, f := rng.IntN(3), failures[rng.IntN(len(failures))]
				req := Request{Caller: fmt.Sprint("caller ", who), Failure: f}
				if !f.IsZero() {
					req.Failing = a[who]
				}
				want, err := enforced.Acquire(t.Context(), req)
				reason := want.Verdict().Reason
				if r, ok := err.(*RefusedError); ok {
					reason, refused = r.Verdict.Reason, refused+1
					if f.IsZero() {
						a[who] = "" // who asked for a token holds none
					}
				} else {
					require.NoError(t, err)
					a[who] = want.Token.ID()
				}
				if !f.IsZero() {
					req.Failing = b[who]
				}
				foreseen, err := shadow.Explain(t.Context(), req)
				require.NoError(t, err)
				if reason != ReasonAcquired {
					require.Equal(t, reason, foreseen.Verdict.Reason, "seed %d step %d", seed, step)
				}
				got, err := shadow.Acquire(t.Context(), req)
				require.NoError(t, err)
				require.Equal(t, reason, got.Verdict().Reason, "seed %d step %d", seed, step)
				b[who] = got.Token.ID()
			}
			require.Positive(t, refused)
			require.EqualValues(t, refused, shadow.Stats().Shadow.Served)
			require.Equal(t, enforced.Stats().Acquisitions.Attempts, shadow.Stats().Acquisitions.Attempts)
			require.Equal(t, enforcedUp.count()+refused, shadowUp.count())
			require.NoError(t, enforced.Close())
			require.NoError(t, shadow.Close())
		})
	}
}

type callersKey struct{}

func TestShadowModeStillEnds(t *testing.T) {
	ctx := context.WithValue(context.Background(), callersKey{}, "caller's")
	bubble(t, func(t *testing.T, r *rig) {
		r.no(ReasonPersonalUnavailable, Request{Kind: Personal})
		_, err := r.Acquire(ctx, Request{Scope: strings.Repeat("x", maxScope+1)})
		require.ErrorIs(t, err, ErrRequest)
		first := r.must(Request{}).Token
		req := Request{Failure: quota, Failing: first.ID()}

		r.up.replies = []func(context.Context, Request) (Token, error){fails(broken)}
		_, err = r.Acquire(ctx, req)
		var failed *RequestError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, ClassTransient, failed.Class)
		require.Contains(t, err.Error(), string(ReasonTokenTooNew))
		require.Zero(t, r.Stats().Limiter.ConsecutiveFailures)
		require.Equal(t, &ShadowStats{Failed: 1}, r.Stats().Shadow)

		r.up.replies[0] = func(context.Context, Request) (Token, error) { panic("in RequestFunc") }
		_, err = r.Acquire(ctx, req)
		var panicked *PanicError
		require.ErrorAs(t, err, &panicked)

		r.up.replies[0] = gives("", time.Hour)
		_, err = r.Acquire(ctx, req)
		require.ErrorContains(t, err, "empty")

		release := make(chan struct{})
		r.up.replies[0] = func(ctx context.Context, _ Request) (Token, error) {
			require.Equal(t, "caller's", ctx.Value(callersKey{}))
			<-release // ignores its context
			return Token{}, ctx.Err()
		}
		start := time.Now()
		_, err = r.Acquire(ctx, req)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 30*time.Second, time.Since(start), "the request timeout")

		left, leave := context.WithTimeout(ctx, time.Second)
		defer leave()
		_, err = r.Acquire(left, req)
		require.Equal(t, context.DeadlineExceeded, err, "the caller left")

		done := make(chan error)
		go func() {
			_, err := r.Acquire(ctx, req)
			done <- err
		}()
		synctest.Wait()
		require.NoError(t, r.Close())
		require.ErrorIs(t, <-done, ErrClosed)
		close(release)
		_, err = r.Acquire(ctx, req)
		require.ErrorIs(t, err, ErrClosed)
	}, WithShadowModeRefusingNothing())
}

// deafStore fails.
type deafStore struct{ Store }

var errDeaf = errors.New("no answer")

func (deafStore) View(context.Context, string) (Snapshot, error) { return Snapshot{}, errDeaf }
func (deafStore) Update(context.Context, string, func(Snapshot) ([]byte, error)) (Snapshot, error) {
	return Snapshot{}, errDeaf
}

func TestShadowModeWithoutStore(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		grant := r.must(Request{})
		require.Equal(t, SourceShadow, grant.Source)
		require.Equal(t, ReasonStoreUnavailable, grant.Verdict().Reason)
	}, WithShadowModeRefusingNothing(), WithStore(deafStore{NewMemoryStore()}), WithName("deaf"))
}

// A token that was passed on is as secret as any other.
func TestShadowModeKeepsSecrets(t *testing.T) {
	var lines []string
	observe := WithObserver(func(e Event) {
		line, _ := json.Marshal(e)
		lines = append(lines, string(line))
	})
	bubble(t, func(t *testing.T, r *rig) {
		first := r.must(Request{}).Token
		r.up.replies = []func(context.Context, Request) (Token, error){gives("plain words", time.Hour)}
		passed := r.must(Request{Failure: quota, Failing: first.ID()}).Token
		grant := r.must(Request{Caller: "plain words", Failure: Failure{StatusCode: 429, Message: "insufficient_quota: plain words are used up"}, Failing: passed.Value()})
		require.NotContains(t, fmt.Sprintf("%+v", grant), "plain words")
		all := strings.Join(lines, "\n")
		require.Contains(t, all, passed.ID())
		require.NotContains(t, all, "plain words")
	}, WithShadowModeRefusingNothing(), observe)
}
