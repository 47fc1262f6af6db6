package tokenguard_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// State files as earlier versions wrote them lie in testdata/golden/VERSION, one for each of what a state can hold. They
// are never written again. A version of the document adds a folder, with what it alone can hold:
//
//	TOKENGUARD_WRITE_GOLDEN=testdata/golden/3 go test -run TestWriteGolden .
//
// Both sides run in bubbles, whose time begins at the same instant: what a state says of time is true when it is opened.
const goldenFolder = "testdata/golden"

var goldenKey = bytes.Repeat([]byte("k"), 32)

// goldenState is one kind of content: how it comes about, and what any later version must find in it.
type goldenState struct {
	opts  []tokenguard.Option
	write func(w *world)
	at    time.Duration // when it is opened, after the bubble's beginning
	check func(w *world)
	since string // the version of the document that can hold it; "": the first
}

var goldenStates = map[string]goldenState{
	"tokens": {
		write: func(w *world) {
			w.acquire("", "made-up-1")
			time.Sleep(6 * time.Minute)
			w.acquire("b", "made-up-2")
			time.Sleep(6 * time.Minute)
			require.NoError(w.t, w.guard.Adopt(w.t.Context(), w.token("made-up-3", "c")))
		},
		at: 13 * time.Minute,
		check: func(w *world) {
			w.counts(3, 3, 3)
			w.serves("", "made-up-1")
			w.serves("b", "made-up-2")
			w.serves("c", "made-up-3")
			w.refuses(tokenguard.Request{Scope: "d"}, "hour_limit", time.Hour)
		},
	},
	"rejected": {
		write: func(w *world) {
			w.acquire("", "made-up-1")
			time.Sleep(time.Minute)
			w.report("made-up-1", tokenguard.Failure{StatusCode: 401, Message: "invalid token"})
		},
		at: 2 * time.Minute,
		check: func(w *world) {
			w.counts(1, 1, 1)
			w.refuses(tokenguard.Request{}, "backoff", 11*time.Minute) // rejected before any success
			time.Sleep(9 * time.Minute)
			w.next = func() (tokenguard.Token, error) { return w.token("made-up-1", ""), nil } // the very same one
			_, err := w.guard.Acquire(w.t.Context(), tokenguard.Request{})
			var failed *tokenguard.RequestError
			require.ErrorAs(w.t, err, &failed)
			w.counts(2, 2, 2)
		},
	},
	"spent": {
		write: func(w *world) {
			w.acquire("", "made-up-1")
			for range 2 {
				time.Sleep(2 * time.Minute)
				require.NoError(w.t, w.guard.Report(w.t.Context(), tokenguard.Outcome{
					TokenID: tokenguard.TokenID("made-up-1"), Failure: exhausted, ResetAt: w.begin.Add(20 * time.Minute),
				}))
			}
		},
		at: 10 * time.Minute,
		check: func(w *world) {
			w.counts(1, 1, 1)
			v := w.explain(tokenguard.Request{Failure: exhausted, Failing: tokenguard.TokenID("made-up-1")})
			assert.Equal(w.t, tokenguard.AnswerRefuse, v.Answer)
			assert.Equal(w.t, w.begin.Add(20*time.Minute), v.RetryAt.UTC(), "the stated reset")
			assert.Equal(w.t, tokenguard.AnswerRefuse, w.explain(tokenguard.Request{}).Answer, "nor for anybody else")
			time.Sleep(11 * time.Minute)
			w.serves("", "made-up-1")
		},
	},
	// One report of a used-up quota: the token serves the others until a second one confirms it.
	"suspect": {
		write: func(w *world) {
			w.acquire("", "made-up-1")
			time.Sleep(2 * time.Minute)
			w.report("made-up-1", exhausted)
		},
		at: 10 * time.Minute,
		check: func(w *world) {
			w.counts(1, 1, 1)
			w.serves("", "made-up-1")
			w.report("made-up-1", exhausted)
			w.refuses(tokenguard.Request{}, "token_too_new", 30*time.Minute)
		},
	},
	// The wall clock was set back before the state is opened: the limits go on from the last instant that it has seen.
	"clock": {
		write: func(w *world) {
			time.Sleep(30 * time.Minute)
			w.acquire("", "made-up-1")
		},
		at: 0,
		check: func(w *world) {
			w.counts(1, 1, 1)
			w.serves("", "made-up-1")
			w.refuses(tokenguard.Request{Scope: "b"}, "min_interval", 5*time.Minute)
		},
	},
	"paused-key": {
		write: func(w *world) {
			w.acquire("", "made-up-1")
			time.Sleep(time.Minute)
			_, err := w.guard.Acquire(w.t.Context(), tokenguard.Request{Failure: limited("7200"), Failing: tokenguard.TokenID("made-up-1")})
			require.ErrorIs(w.t, err, tokenguard.ErrUpstreamLimited)
		},
		at: 70 * time.Minute,
		check: func(w *world) {
			w.counts(0, 1, 1)
			w.refuses(tokenguard.Request{Failure: limited("1"), Failing: tokenguard.TokenID("made-up-1")}, "upstream_rate_limited", 121*time.Minute)
			w.serves("", "made-up-1")
		},
	},
	"paused-guard": {
		write: func(w *world) {
			w.fail("", limited("10800"))
		},
		at: 2 * time.Hour,
		check: func(w *world) {
			w.counts(0, 1, 1)
			w.refuses(tokenguard.Request{}, "retry_after", 3*time.Hour)
			w.refuses(tokenguard.Request{Scope: "b"}, "retry_after", 3*time.Hour)
		},
	},
	"closed-key": {
		write: func(w *world) {
			w.fail("banned", tokenguard.Failure{StatusCode: 403, Message: "no permission for what has been banned here"})
			time.Sleep(6 * time.Minute)
			w.acquire("", "made-up-1")
		},
		at: 30 * time.Minute,
		check: func(w *world) {
			w.counts(2, 2, 2)
			w.refuses(tokenguard.Request{Scope: "banned"}, "backoff", time.Hour)
			_, err := w.guard.Acquire(w.t.Context(), tokenguard.Request{Scope: "banned"})
			var refused *tokenguard.RefusedError
			require.ErrorAs(w.t, err, &refused)
			require.ErrorContains(w.t, refused.Cause, "has been banned")
			w.serves("", "made-up-1")
			w.acquire("b", "made-up-2") // closed alone
		},
	},
	"backoff": {
		write: func(w *world) {
			w.fail("", unavailable)
			time.Sleep(11 * time.Minute)
			w.fail("", unavailable)
		},
		at: 12 * time.Minute,
		check: func(w *world) {
			w.counts(2, 2, 2)
			assert.Equal(w.t, 2, w.guard.Stats().Limiter.ConsecutiveFailures)
			w.refuses(tokenguard.Request{}, "backoff", 31*time.Minute)
			_, err := w.guard.Acquire(w.t.Context(), tokenguard.Request{})
			var refused *tokenguard.RefusedError
			require.ErrorAs(w.t, err, &refused)
			require.ErrorContains(w.t, refused.Cause, "service unavailable", "what failed is remembered")
		},
	},
	"duplicate": {
		write: func(w *world) {
			w.next = func() (tokenguard.Token, error) { return tokenguard.Token{}, tokenguard.Failed(unavailable) }
			_, err := w.guard.Acquire(w.t.Context(), tokenguard.Request{Caller: "service 17", Failure: unavailable})
			require.Error(w.t, err)
		},
		at: 4 * time.Minute,
		check: func(w *world) {
			w.counts(1, 1, 1)
			assert.Equal(w.t, 1, w.guard.Stats().Dedup.Records)
			_, err := w.guard.Acquire(w.t.Context(), tokenguard.Request{Caller: "service 18", Failure: unavailable})
			require.ErrorIs(w.t, err, tokenguard.ErrDuplicate)
		},
	},
	// Copied while an attempt ran: its process is gone, and nobody starts beside it until its lease is over.
	"running": {
		write: func(w *world) {
			path := filepath.Join(w.t.TempDir(), "state")
			w.next = func() (tokenguard.Token, error) {
				copyState(w.t, w.path, path)
				return w.token("made-up-1", ""), nil
			}
			_, err := w.guard.Token(w.t.Context())
			require.NoError(w.t, err)
			require.NoError(w.t, w.guard.Close())
			copyState(w.t, path, w.path)
		},
		at: 10 * time.Second,
		check: func(w *world) {
			w.counts(1, 1, 1)
			assert.Equal(w.t, 1, w.guard.Stats().Acquisitions.InProgress)
			ctx, cancel := context.WithTimeout(w.t.Context(), 15*time.Second)
			defer cancel()
			_, err := w.guard.Acquire(ctx, tokenguard.Request{})
			require.ErrorIs(w.t, err, context.DeadlineExceeded, "somebody may still bring a token")
			time.Sleep(15 * time.Second)
			v := w.explain(tokenguard.Request{})
			assert.Equal(w.t, tokenguard.Reason("min_interval"), v.Reason)
			assert.Equal(w.t, w.begin.Add(5*time.Minute+35*time.Second), v.RetryAt.UTC(), "counted from the lease's end")
		},
	},
	"encrypted": {
		opts:  []tokenguard.Option{tokenguard.WithEncryption(goldenKey)},
		write: func(w *world) { w.acquire("", "made-up-1") },
		at:    10 * time.Minute,
		check: func(w *world) {
			w.counts(1, 1, 1)
			w.serves("", "made-up-1")
			b, err := os.ReadFile(w.path)
			require.NoError(w.t, err)
			assert.NotContains(w.t, string(b), "made-up")
			other := w.open(tokenguard.WithEncryption(bytes.Repeat([]byte("z"), 32)))
			grant, err := other.guard.Acquire(w.t.Context(), tokenguard.Request{})
			require.NoError(w.t, err)
			assert.Equal(w.t, "made-up-2", grant.Token.Value(), "unreadable, so another")
			other.counts(2, 2, 2)
		},
	},
	// An account whose value has ended, and one whose renewal was in progress when its process died.
	"account": {
		since: "2",
		opts: []tokenguard.Option{tokenguard.WithEncryption(goldenKey), tokenguard.WithRenewal(func(_ context.Context, old tokenguard.Token) (tokenguard.Token, error) {
			if old.Scope() == "dies" && old.Value() == "made-up-dies" && old.RefreshToken() == "made-up-refresh-dies" && time.Since(old.AcquiredAt()) < 2*time.Hour {
				runtime.Goexit()
			}
			return tokenguard.NewTokenIn("renewed with "+old.RefreshToken(), time.Hour).WithRefreshToken(old.RefreshToken()+" again", time.Time{}), nil
		})},
		write: func(w *world) {
			for _, scope := range []string{"", "dies"} {
				w.next = func() (tokenguard.Token, error) {
					return tokenguard.NewTokenIn("made-up-"+scope, time.Hour).WithRefreshToken("made-up-refresh-"+scope, time.Time{}).WithSecret("device", "made-up-device"), nil
				}
				_, err := w.guard.Acquire(w.t.Context(), tokenguard.Request{Scope: scope})
				require.NoError(w.t, err)
				time.Sleep(6 * time.Minute)
			}
			time.Sleep(50 * time.Minute)
			_, err := w.guard.Token(w.t.Context()) // renewed once
			require.NoError(w.t, err)
			time.Sleep(5 * time.Minute)
			_, err = w.guard.Acquire(w.t.Context(), tokenguard.Request{Scope: "dies"})
			require.ErrorIs(w.t, err, tokenguard.ErrBackoff)
		},
		at: 5 * time.Hour,
		check: func(w *world) {
			s := w.guard.Stats().Renewals
			assert.Equal(w.t, []any{2, uint64(1), uint64(1)}, []any{s.Accounts, s.Succeeded, s.Failed})
			w.serves("", "renewed with made-up-refresh- again")
			w.serves("dies", "renewed with made-up-refresh-dies")
			grant, err := w.guard.Acquire(w.t.Context(), tokenguard.Request{})
			require.NoError(w.t, err)
			assert.Equal(w.t, "made-up-device", grant.Token.Secret("device"))
			w.counts(0, 2, 2)
		},
	},
	// The file was damaged and set aside: nobody knows what was started, so the hourly limit is treated as used up, and the day opens at
	// its even pace, one per 72 minutes.
	"lost": {
		write: func(w *world) {
			w.acquire("", "made-up-1")
			require.NoError(w.t, w.guard.Close())
			time.Sleep(5 * time.Minute)
			require.NoError(w.t, os.Truncate(w.path, 100))
			other := w.open()
			_, err := other.guard.Acquire(w.t.Context(), tokenguard.Request{})
			require.ErrorIs(w.t, err, tokenguard.ErrRateLimited)
			require.NoError(w.t, other.guard.Adopt(w.t.Context(), w.token("made-up-2", "b")))
			require.NoError(w.t, other.guard.Close())
		},
		at: 30 * time.Minute,
		check: func(w *world) {
			assert.Equal(w.t, w.begin.Add(5*time.Minute), w.guard.Stats().Store.LostAt.UTC())
			w.refuses(tokenguard.Request{}, "day_limit", 77*time.Minute)
			w.serves("b", "made-up-2")
		},
	},
	// A day of short tokens, up to its limit, with use and refusals in between.
	"day": {
		write: func(w *world) {
			for i := range 20 {
				value := fmt.Sprintf("made-up-%d", i+1)
				w.next = func() (tokenguard.Token, error) { return tokenguard.NewTokenIn(value, 20*time.Minute), nil }
				_, err := w.guard.Token(w.t.Context())
				require.NoError(w.t, err)
				for range 5 {
					time.Sleep(time.Minute)
					require.NoError(w.t, w.guard.Report(w.t.Context(), tokenguard.Outcome{TokenID: tokenguard.TokenID(value), Latency: time.Second}))
				}
				time.Sleep(25 * time.Minute)
			}
		},
		at: 11 * time.Hour,
		check: func(w *world) {
			w.counts(0, 20, 20)
			assert.EqualValues(w.t, 20, w.guard.Stats().Acquisitions.Successes)
			w.refuses(tokenguard.Request{}, "day_limit", 24*time.Hour)
		},
	},
}

var (
	exhausted   = tokenguard.Failure{StatusCode: 429, Message: "insufficient_quota: you exceeded your current quota"}
	unavailable = tokenguard.Failure{StatusCode: 503, Message: "service unavailable"}
)

// limited is a 429 that is no matter of quota.
func limited(after string) tokenguard.Failure {
	return tokenguard.Failure{StatusCode: 429, Message: "too many requests, slow down", Header: map[string][]string{"Retry-After": {after}}}
}

// world is a guard on a state file in a bubble.
type world struct {
	t     *testing.T
	begin time.Time
	path  string
	guard *tokenguard.Guard
	asked int
	next  func() (tokenguard.Token, error) // the upstream's next answers; nil: made-up-1 and so on
}

func newWorld(t *testing.T, path string, opts ...tokenguard.Option) *world {
	w := &world{t: t, begin: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), path: path}
	return w.open(opts...)
}

// open is another process on the same state.
func (w *world) open(opts ...tokenguard.Option) *world {
	w.t.Helper()
	other := &world{t: w.t, begin: w.begin, path: w.path}
	var err error
	other.guard, err = tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		other.asked++
		if other.next != nil {
			return other.next()
		}
		return w.token(fmt.Sprintf("made-up-%d", int(other.guard.Stats().Acquisitions.Attempts)), ""), nil
	}, append([]tokenguard.Option{tokenguard.WithStateFile(w.path), tokenguard.WithFreshness(0)}, opts...)...)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = other.guard.Close() })
	return other
}

func (w *world) token(value, scope string) tokenguard.Token {
	token := tokenguard.NewTokenIn(value, 48*time.Hour)
	token = token.WithScope(scope)
	return token
}

func (w *world) acquire(scope, value string) {
	w.t.Helper()
	w.next = func() (tokenguard.Token, error) { return w.token(value, ""), nil }
	grant, err := w.guard.Acquire(w.t.Context(), tokenguard.Request{Scope: scope})
	require.NoError(w.t, err)
	require.Equal(w.t, tokenguard.SourceRequest, grant.Source)
	require.Equal(w.t, value, grant.Token.Value())
}

func (w *world) fail(scope string, f tokenguard.Failure) {
	w.t.Helper()
	w.next = func() (tokenguard.Token, error) { return tokenguard.Token{}, tokenguard.Failed(f) }
	_, err := w.guard.Acquire(w.t.Context(), tokenguard.Request{Scope: scope})
	var failed *tokenguard.RequestError
	require.ErrorAs(w.t, err, &failed)
}

func (w *world) report(value string, f tokenguard.Failure) {
	w.t.Helper()
	require.NoError(w.t, w.guard.Report(w.t.Context(), tokenguard.Outcome{TokenID: tokenguard.TokenID(value), Failure: f}))
}

// counts compares the started attempts: in the last hour, in the last day, and ever.
func (w *world) counts(hour, day int, ever uint64) {
	w.t.Helper()
	a := w.guard.Stats().Acquisitions
	assert.Equal(w.t, []any{hour, day, ever}, []any{a.Hour.Used, a.Day.Used, a.Attempts})
}

func (w *world) serves(scope, value string) {
	w.t.Helper()
	before := w.asked
	grant, err := w.guard.Acquire(w.t.Context(), tokenguard.Request{Scope: scope})
	require.NoError(w.t, err)
	assert.Equal(w.t, value, grant.Token.Value())
	assert.Equal(w.t, before, w.asked, "no acquisition")
}

func (w *world) explain(req tokenguard.Request) tokenguard.Verdict {
	w.t.Helper()
	e, err := w.guard.Explain(w.t.Context(), req)
	require.NoError(w.t, err)
	return e.Verdict
}

// refuses compares the reason and the instant of a refusal, after the bubble's beginning.
func (w *world) refuses(req tokenguard.Request, reason tokenguard.Reason, until time.Duration) {
	w.t.Helper()
	before := w.asked
	v := w.explain(req)
	assert.Equal(w.t, reason, v.Reason)
	assert.Equal(w.t, w.begin.Add(until), v.Until.UTC())
	_, err := w.guard.Acquire(w.t.Context(), req)
	require.ErrorIs(w.t, err, tokenguard.ErrRefused)
	assert.Equal(w.t, before, w.asked, "no acquisition")
}

// copyState copies a state file with its lock file, if it has one.
func copyState(t *testing.T, from, to string) {
	t.Helper()
	for _, suffix := range []string{"", ".lock"} {
		b, err := os.ReadFile(from + suffix)
		if suffix != "" && errors.Is(err, os.ErrNotExist) {
			continue
		}
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to+suffix, b, 0o600))
	}
}

func TestWriteGolden(t *testing.T) {
	folder := os.Getenv("TOKENGUARD_WRITE_GOLDEN")
	if folder == "" {
		t.Skip("SKIPPED: writes the state files of a new format; set TOKENGUARD_WRITE_GOLDEN to their folder")
	}
	require.NoError(t, os.MkdirAll(folder, 0o755))
	for name, state := range goldenStates {
		if filepath.Base(folder) != cmp.Or(state.since, "1") {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, filepath.Join(t.TempDir(), "state"), state.opts...)
			state.write(w)
			require.NoError(t, w.guard.Close())
			to := filepath.Join(folder, name+".state")
			require.NoFileExists(t, to, "what an earlier version wrote is never written again")
			copyState(t, w.path, to)
		})
	}
}

// Each state of each earlier version opens, with its lock file and without, and nothing that it holds is lost.
func TestGolden(t *testing.T) {
	versions, err := os.ReadDir(goldenFolder)
	require.NoError(t, err)
	require.NotEmpty(t, versions)
	for _, version := range versions {
		for name, state := range goldenStates {
			if version.Name() != cmp.Or(state.since, "1") {
				continue
			}
			for _, lock := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/lock file %v", version.Name(), name, lock), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						path := filepath.Join(t.TempDir(), "state")
						copyState(t, filepath.Join(goldenFolder, version.Name(), name+".state"), path)
						if !lock {
							require.NoError(t, os.Remove(path+".lock"))
						}
						time.Sleep(state.at)
						w := newWorld(t, path, state.opts...)
						state.check(w)
						aside, err := filepath.Glob(path + ".set-aside-*")
						require.NoError(t, err)
						assert.Empty(t, aside)
					})
				})
			}
		}
	}
}

// newerStates make of a state one that a later version wrote: of the file's format, or of the document in it.
var newerStates = map[string]func(t *testing.T, path string){
	"file": func(t *testing.T, path string) {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		_, rest, ok := strings.Cut(string(b), "\n")
		require.True(t, ok)
		line := "tokenguard-state 2"
		b = fmt.Appendf(nil, "%s %08x\n%s", line, crc32.Checksum([]byte(line), crc32.MakeTable(crc32.Castagnoli)), rest)
		require.NoError(t, os.WriteFile(path, b, 0o600))
	},
	"document": func(t *testing.T, path string) {
		store, err := tokenguard.OpenStateFile(path)
		require.NoError(t, err)
		_, err = store.Update(t.Context(), "default", func(s tokenguard.Snapshot) ([]byte, error) {
			newer := bytes.Replace(s.Data, []byte(`"version":1`), []byte(`"version":3,"something":"new"`), 1)
			require.NotEqual(t, s.Data, newer)
			return newer, nil
		})
		require.NoError(t, err)
		require.NoError(t, store.Close())
	},
}

// A program that is older than the state leaves it as it is, says so, and starts nothing. What it held before it goes
// on serving.
func TestOlderProgramRefusesANewerState(t *testing.T) {
	for what, upgrade := range newerStates {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "state")
				held := newWorld(t, path)
				held.acquire("", "made-up-1")
				time.Sleep(10 * time.Minute)
				upgrade(t, path)
				want, err := os.ReadFile(path)
				require.NoError(t, err)

				started := newWorld(t, path)
				for range 3 {
					time.Sleep(10 * time.Minute)
					held.serves("", "made-up-1")
					for w, scope := range map[*world]string{held: "b", started: ""} {
						_, err := w.guard.Acquire(t.Context(), tokenguard.Request{Scope: scope})
						require.ErrorIs(t, err, tokenguard.ErrStore)
						require.ErrorContains(t, err, "update th") // this or the program
						require.Error(t, w.guard.Adopt(t.Context(), w.token("made-up-9", "c")))
					}
					assert.Equal(t, 1, held.asked)
					assert.Zero(t, started.asked)
				}
				_ = held.guard.Close()
				_ = started.guard.Close()
				got, err := os.ReadFile(path)
				require.NoError(t, err)
				assert.Equal(t, string(want), string(got))
			})
		})
	}
}
