//go:build unix

package tokenguard_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// Real processes that renew one account over a state file, killed and stopped at random instants. The upstream is in the
// test's process and keeps the log.

const renewalEnv = "TOKENGUARD_RENEWAL_UPSTREAM"

// rotating is an upstream that rotates refresh tokens. Strictly: one that is presented again ends the account; else the
// newest one is given again for its parent.
type rotating struct {
	strict bool

	mu        sync.Mutex
	serial    int
	signups   int
	account   map[string]int    // by refresh token
	newest    map[int]string    // by account
	parent    map[string]string // by refresh token
	presented map[string]int
	inside    map[int]int
	overlaps  int
}

func (u *rotating) next(account int, parent string) string {
	u.serial++
	refresh := fmt.Sprintf("refresh-%d", u.serial)
	u.account[refresh], u.newest[account], u.parent[refresh] = account, refresh, parent
	return refresh
}

func (u *rotating) answer(w http.ResponseWriter, refresh string) {
	_ = json.NewEncoder(w).Encode(map[string]string{"value": fmt.Sprintf("value of %s %d", refresh, u.serial), "refresh": refresh})
}

func (u *rotating) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if r.URL.Path == "/signup" {
		u.signups++
		u.answer(w, u.next(u.signups, ""))
		return
	}
	refresh := r.FormValue("refresh")
	account := u.account[refresh]
	u.presented[refresh]++
	if u.inside[account]++; u.inside[account] > 1 {
		u.overlaps++
	}
	u.mu.Unlock()
	time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
	u.mu.Lock()
	u.inside[account]--
	switch newest := u.newest[account]; {
	case account != 0 && newest == refresh:
		rotated := u.next(account, refresh)
		u.mu.Unlock()
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond) // a process may end now
		u.mu.Lock()
		u.answer(w, rotated)
	case account != 0 && !u.strict && u.parent[newest] == refresh:
		u.answer(w, newest)
	default:
		delete(u.newest, account)
		http.Error(w, `{"error":"invalid_grant","error_description":"the refresh token was already used"}`, http.StatusBadRequest)
	}
}

// TestRenewalKillHelper is the process that gets killed; alone it does nothing.
func TestRenewalKillHelper(t *testing.T) {
	upstream, dir := os.Getenv(renewalEnv), os.Getenv(killEnv)
	if upstream == "" {
		t.Skip("run by the test below")
	}
	ask := func(ctx context.Context, path string, form url.Values) (tokenguard.Token, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, upstream+path+"?"+form.Encode(), nil)
		if err != nil {
			return tokenguard.Token{}, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return tokenguard.Token{}, err
		}
		defer resp.Body.Close()
		var body struct{ Value, Refresh, Error string }
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			return tokenguard.Token{}, err
		}
		if body.Error != "" {
			return tokenguard.Token{}, tokenguard.Failed(tokenguard.Failure{StatusCode: resp.StatusCode, Message: body.Error})
		}
		return tokenguard.NewToken(body.Value, time.Now().Add(500*time.Millisecond)).WithRefreshToken(body.Refresh, time.Time{}), nil
	}
	guard, err := tokenguard.New(func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
		return ask(ctx, "/signup", nil)
	}, tokenguard.WithRenewal(func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
		return ask(ctx, "/renew", url.Values{"refresh": {old.RefreshToken()}})
	}), tokenguard.WithStateFile(filepath.Join(dir, "state")), tokenguard.WithFreshness(0),
		tokenguard.WithRateLimits(tokenguard.RateLimits{MaxRequestsPerHour: 100, MaxRequestsPerDay: 100, MinInterval: time.Second, FailureBackoffBase: time.Second, MaxBackoff: time.Second}),
		tokenguard.WithRenewalLimits(tokenguard.RenewalLimits{MinInterval: time.Millisecond, MaxPerHour: 10000, BackoffBase: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond, Timeout: time.Second}))
	require.NoError(t, err)
	for {
		if token, err := guard.Token(context.Background()); err == nil {
			_ = guard.Report(context.Background(), tokenguard.Outcome{TokenID: token.ID()})
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestRenewalOfKilledProcesses(t *testing.T) {
	if os.Getenv("TOKENGUARD_LONG") == "" {
		t.Skip("kills processes for a minute; TOKENGUARD_LONG=1 runs it")
	}
	for name, strict := range map[string]bool{"strict": true, "parent recovery": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := &rotating{strict: strict, account: map[string]int{}, newest: map[int]string{}, parent: map[string]string{}, presented: map[string]int{}, inside: map[int]int{}}
			server := httptest.NewServer(u)
			defer server.Close()
			dir := t.TempDir()
			start := func() *exec.Cmd {
				cmd := exec.Command(os.Args[0], "-test.run=^TestRenewalKillHelper$")
				cmd.Env = append(os.Environ(), killEnv+"="+dir, renewalEnv+"="+server.URL)
				require.NoError(t, cmd.Start())
				return cmd
			}
			procs := []*exec.Cmd{start(), start(), start()}
			disturbed, stops := 0, 0
			for n := range 24 {
				disturbed++
				i := rand.IntN(len(procs))
				pause(t, time.Duration(1000+rand.IntN(1000))*time.Millisecond)
				if n%6 == 5 { // stopped past its lease
					stops++
					require.NoError(t, procs[i].Process.Signal(syscall.SIGSTOP))
					pause(t, 7*time.Second)
					require.NoError(t, procs[i].Process.Signal(syscall.SIGCONT))
					continue
				}
				require.NoError(t, procs[i].Process.Kill())
				_ = procs[i].Wait()
				procs[i] = start()
			}
			pause(t, 8*time.Second) // the last lease ends
			for _, p := range procs {
				require.NoError(t, p.Process.Kill())
				_ = p.Wait()
			}
			u.mu.Lock()
			defer u.mu.Unlock()
			again, all := 0, 0
			for _, n := range u.presented {
				again += n - 1
				all += n
			}
			t.Logf("%d disturbed, %d sign-ups, %d presentations, %d of them again, %d overlaps", disturbed, u.signups, all, again, u.overlaps)
			assert.LessOrEqual(t, again, disturbed)
			assert.Greater(t, all, 20)
			if strict {
				assert.LessOrEqual(t, u.signups, 1+again)
			} else {
				assert.Equal(t, 1, u.signups)
			}
			assert.LessOrEqual(t, u.overlaps, stops, "only a process that stands still between its check and its call can overlap")
		})
	}
}
