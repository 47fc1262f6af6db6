package tokenguard

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A classifier that hangs keeps no acquisition from its end, and so many of them at most are waited for.
func TestClassifierThatHangs(t *testing.T) {
	var said []string
	release := make(chan struct{})
	var running atomic.Int64
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, fails(Failure{StatusCode: 500, Message: "broken"}))
		release = make(chan struct{})
		for i := range maxClassifiers + 4 {
			began := time.Now()
			_, err := r.Acquire(t.Context(), Request{})
			var failed *RequestError
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, ClassUnknown, failed.Class)
			if i < maxClassifiers {
				assert.Equal(t, classifierPatience, time.Since(began))
			} else {
				assert.Zero(t, time.Since(began))
			}
			assert.Len(t, r.replica.Newest().Doc.Attempts, i+1)
			assert.True(t, r.replica.Newest().Doc.Attempts[i].Landed)
			time.Sleep(time.Minute)
		}
		assert.EqualValues(t, maxClassifiers, running.Load())
		assert.Len(t, said, 1)
		close(release)
	}, WithClassifier(func(Failure) Class { running.Add(1); <-release; return ClassTransient }),
		WithRateLimits(RateLimits{MaxRequestsPerHour: 1000, MaxRequestsPerDay: 1000, MinInterval: time.Nanosecond, FailureBackoffBase: time.Nanosecond, MaxBackoff: time.Nanosecond}),
		WithObserver(func(e Event) {
			if e.Kind == EventState {
				said = append(said, e.Text)
			}
		}))
}

// An answer is no older than its question: a RequestFunc that says so shortens no Retry-After.
func TestFailureFromBeforeItsOwnStart(t *testing.T) {
	for name, test := range map[string]struct{ before, pause time.Duration }{
		"before the start": {3 * time.Hour, 2 * time.Hour},
		"a moment before":  {time.Nanosecond, 2 * time.Hour},
		"not stated":       {0, 2 * time.Hour},
		"in the future":    {-time.Hour, 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.up.replies = append(r.up.replies, func(context.Context, Request) (Token, error) {
					f := Failure{StatusCode: 503, Header: map[string][]string{"Retry-After": {"7200"}}}
					if test.before != 0 {
						f.At = time.Now().Add(-test.before)
					}
					return Token{}, Failed(f)
				})
				_, err := r.Acquire(t.Context(), Request{})
				require.Error(t, err)
				refused := r.no(ReasonRetryAfter, Request{Scope: "other"})
				assert.Equal(t, test.pause, in(refused.Verdict.RetryAt))
			})
		})
	}
}
