package redisstore

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
)

// fleetVariable holds the orders of a process that a test starts from its own binary.
const fleetVariable = "TOKENGUARD_FLEET_MEMBER"

func TestMain(m *testing.M) {
	if orders := os.Getenv(fleetVariable); orders != "" {
		if err := serve(orders); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	redis.SetLogger(quiet{})
	os.Exit(m.Run())
}

// quiet drops what go-redis says of each connection that the tests cut.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// orders are what one member does.
type orders struct {
	Redis, Upstream string
	Callers, Rounds int // each caller calls so often, or until the process is killed if that is 0
	Limits          tokenguard.RateLimits
	RequestTimeout  time.Duration
	StoreTimeout    time.Duration
}

// result is what became of it.
type result struct {
	Served  map[string]int // by token ID
	Refused map[string]int // by error
	Scripts int            // sent to Redis
	Slowest time.Duration  // call
}

// serve is the life of a member: it waits for the end of its input, calls, and tells the result.
func serve(text string) error {
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	client, sent := countingClient(o.Redis)
	defer client.Close()
	store, err := New(client, WithTimeout(o.StoreTimeout))
	if err != nil {
		return err
	}
	guard, err := tokenguard.New(fetchFrom(o.Upstream), tokenguard.WithStore(store), tokenguard.WithName("n"),
		tokenguard.WithRateLimits(o.Limits), tokenguard.WithRequestTimeout(o.RequestTimeout))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	res := result{Served: map[string]int{}, Refused: map[string]int{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range o.Callers {
		wg.Go(func() {
			for round := 0; o.Rounds == 0 || round < o.Rounds; round++ {
				began := time.Now()
				t, err := guard.Token(context.Background())
				took := time.Since(began)
				mu.Lock()
				res.Slowest = max(res.Slowest, took)
				if err != nil {
					res.Refused[err.Error()]++
				} else {
					res.Served[t.ID()]++
				}
				mu.Unlock()
				if o.Rounds == 0 {
					_ = pause(context.Background(), 2*time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	res.Scripts = sent.trips()
	if err := guard.Close(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(res)
}

// upstream hands out tokens and remembers when it was asked.
type upstream struct {
	*httptest.Server
	mu      sync.Mutex
	asked   []time.Time
	latency time.Duration
	life    time.Duration // of its tokens
}

func startUpstream(t testing.TB, latency, life time.Duration) *upstream {
	u := &upstream{latency: latency, life: life}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.asked = append(u.asked, time.Now())
		n := len(u.asked)
		u.mu.Unlock()
		_ = pause(r.Context(), u.latency)
		_ = json.NewEncoder(w).Encode(map[string]any{"token": fmt.Sprintf("anonymous-%d", n), "expires_in": u.life.Seconds()})
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) starts() []time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]time.Time(nil), u.asked...)
}

func fetchFrom(url string) tokenguard.RequestFunc {
	return func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return tokenguard.Token{}, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return tokenguard.Token{}, err
		}
		defer resp.Body.Close()
		var body struct {
			Token     string
			ExpiresIn tokenguard.ExpiresIn `json:"expires_in"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			return tokenguard.Token{}, err
		}
		return tokenguard.NewTokenIn(body.Token, time.Duration(body.ExpiresIn)), nil
	}
}

// member is a process of the fleet.
type member struct {
	cmd    *exec.Cmd
	start  io.Closer
	out    *bufio.Reader
	stderr *bytes.Buffer
}

// startMember returns a member that is ready to go.
func startMember(t *testing.T, o orders) member {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fleetVariable+"="+string(text))
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	m := member{cmd: cmd, start: in, out: bufio.NewReader(out), stderr: &bytes.Buffer{}}
	cmd.Stderr = m.stderr
	dieWithTest(cmd)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := m.out.ReadString('\n')
	require.NoError(t, err, "%s", m.stderr)
	require.Equal(t, "ready\n", line)
	return m
}

// A fleet that starts cold, at the same instant, makes one acquisition, and every caller has its token.
func TestFleetColdStart(t *testing.T) {
	members, callers := 4, 100
	if os.Getenv("TOKENGUARD_LONG") != "" {
		members, callers = 50, 400
	}
	server, up := startServer(t), startUpstream(t, 200*time.Millisecond, time.Hour)
	var fleet []member
	for range members {
		fleet = append(fleet, startMember(t, orders{
			Redis: server.addr(), Upstream: up.URL, Callers: callers, Rounds: 1,
			RequestTimeout: 30 * time.Second, StoreTimeout: 20 * time.Second, // this machine may be slow
		}))
	}
	began := time.Now()
	for _, m := range fleet {
		require.NoError(t, m.start.Close())
	}
	scripts, most, slowest := 0, 0, time.Duration(0)
	for _, m := range fleet {
		var r result
		err := json.NewDecoder(m.out).Decode(&r)
		require.NoError(t, errors.Join(err, m.cmd.Wait()), "%s", m.stderr)
		require.Empty(t, r.Refused)
		require.Equal(t, map[string]int{tokenguard.TokenID("anonymous-1"): callers}, r.Served)
		scripts, most, slowest = scripts+r.Scripts, max(most, r.Scripts), max(slowest, r.Slowest)
	}
	require.Len(t, up.starts(), 1)
	t.Logf("%d processes, %d callers: 1 acquisition; %d scripts, at most %d by one process; slowest call %v; %v in all",
		members, members*callers, scripts, most, slowest.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
}

// Processes that are killed at any instant, also while they acquire, cost no start beyond the limits.
func TestFleetOfKilledProcesses(t *testing.T) {
	long(t)
	const perHour, interval = 8, time.Second
	server, up := startServer(t), startUpstream(t, 100*time.Millisecond, time.Millisecond)
	o := orders{
		Redis: server.addr(), Upstream: up.URL, Callers: 4, RequestTimeout: time.Second, StoreTimeout: 2 * time.Second,
		Limits: tokenguard.RateLimits{
			MaxRequestsPerHour: perHour, MinInterval: interval, FailureBackoffBase: interval, MaxBackoff: interval,
		},
	}
	fleet := make([]member, 4)
	for i := range fleet {
		fleet[i] = startMember(t, o)
		require.NoError(t, fleet[i].start.Close())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	killed := 0
	for ; ctx.Err() == nil; killed++ {
		i := rand.N(len(fleet))
		require.NoError(t, fleet[i].cmd.Process.Kill())
		_ = fleet[i].cmd.Wait()
		fleet[i] = startMember(t, o)
		require.NoError(t, fleet[i].start.Close())
		_ = pause(ctx, rand.N(200*time.Millisecond))
	}
	for _, m := range fleet {
		require.NoError(t, m.cmd.Process.Kill())
		_ = m.cmd.Wait()
	}
	starts := up.starts()
	t.Logf("%d processes killed: %d starts of %d", killed, len(starts), perHour)
	require.NotEmpty(t, starts)
	require.LessOrEqual(t, len(starts), perHour)
	for i := 1; i < len(starts); i++ {
		require.GreaterOrEqual(t, starts[i].Sub(starts[i-1]), interval-slack)
	}
}
