package tokenguard_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// What a failed renewal means, by each class and each way in which a function can fail with it: the ways agree, and what is
// no answer of the upstream means no more than that nobody knows, whatever its words.
func TestEachFailureOfARenewal(t *testing.T) {
	words := map[tokenguard.Class]struct {
		status int
		text   string
	}{
		tokenguard.ClassAuthInvalid:    {400, `{"error":"invalid_grant","error_description":"the refresh token was revoked"}`},
		tokenguard.ClassForbidden:      {403, "your account has been banned"},
		tokenguard.ClassClientError:    {400, `{"error":"invalid_request","error_description":"grant_type is missing"}`},
		tokenguard.ClassRateLimited:    {429, "too many requests"},
		tokenguard.ClassQuotaExhausted: {429, "insufficient_quota: you exceeded your current quota"},
		tokenguard.ClassTransient:      {503, "service unavailable"},
		tokenguard.ClassUnknown:        {0, "something strange"},
	}
	ways := map[string]func(context.Context, int, string) error{
		"error text": func(_ context.Context, status int, text string) error { return fmt.Errorf("%d: %s", status, text) },
		"Failed": func(_ context.Context, status int, text string) error {
			return tokenguard.Failed(tokenguard.Failure{StatusCode: status, Message: text})
		},
		"wrapped, joined": func(_ context.Context, status int, text string) error {
			return fmt.Errorf("renew: %w", errors.Join(tokenguard.Failed(tokenguard.Failure{StatusCode: status, Message: text}), errors.New("close: no matter")))
		},
		"panic": func(_ context.Context, _ int, text string) error { panic(text) },
		"panic with Failed": func(_ context.Context, status int, text string) error {
			panic(tokenguard.Failed(tokenguard.Failure{StatusCode: status, Message: text}))
		},
		"Goexit": func(context.Context, int, string) error { runtime.Goexit(); return nil },
		"timeout": func(ctx context.Context, _ int, text string) error {
			<-ctx.Done()
			return fmt.Errorf("%w: %s", ctx.Err(), text)
		},
		"hangs": func(_ context.Context, status int, text string) error { // longer than its lease, and then says so
			time.Sleep(45 * time.Second)
			return tokenguard.Failed(tokenguard.Failure{StatusCode: status, Message: text})
		},
	}
	for class, said := range words {
		for way, fail := range ways {
			answers := way == "error text" || way == "Failed" || way == "wrapped, joined" || way == "hangs"
			if !answers && class != tokenguard.ClassAuthInvalid && class != tokenguard.ClassForbidden && os.Getenv("TOKENGUARD_LONG") == "" {
				continue // what the upstream did not answer has no class: two that would count for most are enough
			}
			t.Run(string(class)+", "+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					signUps, shown, failed := 0, 0, time.Time{}
					g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
						signUps++
						return tokenguard.NewTokenIn(fmt.Sprint("value ", signUps), time.Hour).WithRefreshToken(fmt.Sprint("refresh ", signUps), time.Time{}), nil
					}, tokenguard.WithRenewal(func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
						shown++
						if old.RefreshToken() != "refresh 1" {
							return tokenguard.NewTokenIn(fmt.Sprint("renewed ", shown), time.Hour), nil
						}
						if failed.IsZero() {
							failed = time.Now()
						}
						return tokenguard.Token{}, fail(ctx, said.status, said.text)
					}))
					require.NoError(t, err)
					defer g.Close()
					token, err := g.Token(t.Context())
					require.NoError(t, err)
					require.NoError(t, g.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID()}))
					for began := time.Now(); time.Since(began) < 20*time.Hour; time.Sleep(2 * time.Minute) {
						_, err = g.Token(t.Context())
					}
					switch {
					case answers && class == tokenguard.ClassAuthInvalid:
						assert.Equal(t, 2, signUps, "the account has ended")
						assert.NoError(t, err)
					case answers && (class == tokenguard.ClassForbidden || class == tokenguard.ClassClientError):
						assert.Equal(t, 1, signUps)
						assert.LessOrEqual(t, shown, 6, "1 h, 2 h, 4 h, 8 h")
						assert.Error(t, err)
					default:
						assert.Equal(t, 1, signUps)
						assert.GreaterOrEqual(t, shown, 100, "each 10 min in the end")
						assert.Error(t, err)
					}
					t.Logf("%d sign-ups, %d presentations", signUps, shown)
				})
			})
		}
	}
}

// An account that cannot be renewed for a day is replaced once, though the process is restarted or killed each 10 min,
// and whatever becomes of the first attempts to replace it.
func TestReplaceAfterOverRestarts(t *testing.T) {
	for _, closes := range []bool{true, false} {
		for name, fail := range map[string]func() error{
			"succeeds at once": nil,
			"fails twice":      func() error { return errors.New("503 service unavailable") },
			"hangs twice":      func() error { time.Sleep(2 * time.Hour); return errors.New("too late") },
		} {
			t.Run(fmt.Sprint(name, ", closes: ", closes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := tokenguard.NewMemoryStore()
					var asked, signUps, shown atomic.Int64 // an attempt that hangs outlives its process
					without := 0
					began := time.Now()
					for time.Since(began) < 30*time.Hour {
						down := time.Since(began) < 24*time.Hour
						g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
							if n := asked.Add(1); fail != nil && (n == 2 || n == 3) {
								return tokenguard.Token{}, fail()
							}
							n := signUps.Add(1)
							return tokenguard.NewTokenIn(fmt.Sprint("value ", n), time.Hour).WithRefreshToken(fmt.Sprint("refresh ", n), time.Time{}), nil
						}, tokenguard.WithStore(store), tokenguard.WithName("guests"), tokenguard.WithRenewalLimits(tokenguard.RenewalLimits{ReplaceAfter: time.Hour}),
							tokenguard.WithRenewal(func(context.Context, tokenguard.Token) (tokenguard.Token, error) {
								n := shown.Add(1)
								if down {
									return tokenguard.Token{}, errors.New("503 service unavailable")
								}
								return tokenguard.NewTokenIn(fmt.Sprint("renewed ", n), time.Hour), nil
							}))
						require.NoError(t, err)
						for range 10 {
							ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
							if _, err = g.Token(ctx); err != nil {
								without++
							}
							cancel()
							time.Sleep(time.Minute)
						}
						if closes {
							require.NoError(t, g.Close())
						} else {
							defer g.Close()
						}
						if !down && time.Since(began) > 25*time.Hour {
							require.NoError(t, err)
						}
					}
					assert.EqualValues(t, 2, signUps.Load())
					t.Logf("asked %d times, %d presentations, %d of %d calls without a token", asked.Load(), shown.Load(), without, 30*60)
				})
			})
		}
	}
}
