package redisstore

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed read.lua
	readSource string
	//go:embed update.lua
	updateSource string

	readScript   = redis.NewScript(readSource)
	updateScript = redis.NewScript(updateSource)
)

// ErrNotReplicated is an Update that holds on the master, but that too few replicas confirmed in time.
var ErrNotReplicated = errors.New("tokenguard: redisstore: too few replicas confirmed the commit")

// The statuses of a reply.
const (
	same = "same"
	news = "news"
	done = "done"
	late = "late"
)

// version names one commit. The zero version is that of a key that does not exist.
type version struct {
	epoch string
	rev   uint64
}

// maxRev is the highest revision, the last integer that the server's Lua counts up to. The server's time in
// microseconds stays below it until the year 2255.
const maxRev = 1<<53 - 1

// errForeign: the answer is none that a document gives.
var errForeign = errors.New("the key holds something else")

// errExhausted: the key was written by something else, or the server's clock was; no commits lead there.
var errExhausted = errors.New("the key has the highest revision that there is, and no commit can follow: remove it")

func (v version) revision() string { return strconv.FormatUint(v.rev, 10) }

// reply is what a script answers.
type reply struct {
	status string
	version
	now  time.Time
	log  string // of a status news: the newest commits, as "rev:operation;", newest first
	data []byte // of a status news
}

func parseReply(answer any, err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	list, _ := answer.([]any)
	field := make([]string, 6)
	for i := range min(len(list), len(field)) {
		field[i], _ = list[i].(string)
	}
	// Only the one way in which the script writes a revision, for the script compares texts.
	rev, err := strconv.ParseUint(field[1], 10, 64)
	if err != nil || rev > maxRev || strconv.FormatUint(rev, 10) != field[1] {
		return reply{}, fmt.Errorf("%w, its revision is %.20q", errForeign, field[1])
	}
	us, err := strconv.ParseInt(field[3], 10, 64)
	if err != nil {
		return reply{}, fmt.Errorf("the server's time reads %.20q", field[3])
	}
	return reply{
		status: field[0], version: version{field[2], rev}, now: time.UnixMicro(us), log: field[4], data: []byte(field[5]),
	}, nil
}

// read asks for the document if it is not the known one; brief leaves out its contents.
func (s *Store) read(ctx context.Context, name string, known version, brief bool) (reply, error) {
	leaveOut := "0"
	if brief {
		leaveOut = "1"
	}
	keys := []string{s.key(name)}
	return s.chase(ctx, func() (reply, error) {
		return parseReply(readScript.Run(ctx, s.client, keys, known.revision(), known.epoch, leaveOut).Result())
	})
}

// commit asks to put c in the place of base.
func (s *Store) commit(ctx context.Context, name string, c change) (reply, error) {
	lag := s.config.timeout / 4
	args := []any{
		c.base.revision(), c.base.epoch, c.operation, c.epoch, c.floor, c.now.UnixMicro(), lag.Microseconds(),
		s.config.ttl.Milliseconds(), s.channel(name), s.config.timeout.Microseconds(), c.data,
	}
	keys := []string{s.key(name)}
	return s.chase(ctx, func() (reply, error) {
		if s.config.replicas > 0 {
			return s.commitAndWait(ctx, keys, args)
		}
		return parseReply(updateScript.Run(ctx, s.client, keys, args...).Result())
	})
}

// maxChase bounds how often chase asks: as often as fits into the longest timeout.
const maxChase = int(maxTimeout / chasePause)

const chasePause = 50 * time.Millisecond

// chase asks again while a slot of a cluster is on its way: go-redis follows a few redirections, but the nodes can
// point at each other for longer.
func (s *Store) chase(ctx context.Context, ask func() (reply, error)) (r reply, err error) {
	for range maxChase {
		r, err = ask()
		_, moved := redis.IsMovedError(err)
		_, asked := redis.IsAskError(err)
		if !moved && !asked && !redis.IsTryAgainError(err) {
			return r, err
		}
		if s.pause(ctx, chasePause) != nil {
			return r, err
		}
	}
	return r, err
}

// commitAndWait sends the script and WAIT over one connection, since WAIT speaks of the writes of its own connection.
func (s *Store) commitAndWait(ctx context.Context, keys []string, args []any) (reply, error) {
	var node redis.Cmdable = s.client
	cluster, _ := s.client.(*redis.ClusterClient)
	if cluster != nil {
		master, err := cluster.MasterForKey(ctx, keys[0])
		if err != nil {
			return reply{}, err
		}
		node = master
	}
	var update, wait *redis.Cmd
	send := func(eval func(redis.Pipeliner) *redis.Cmd) {
		pipe := node.Pipeline()
		update = eval(pipe)
		wait = pipe.Do(ctx, "WAIT", s.config.replicas, s.config.replicaWait.Milliseconds())
		_, _ = pipe.Exec(ctx) // each command has its own error
	}
	send(func(p redis.Pipeliner) *redis.Cmd { return updateScript.EvalSha(ctx, p, keys, args...) })
	if redis.HasErrorPrefix(update.Err(), "NOSCRIPT") {
		send(func(p redis.Pipeliner) *redis.Cmd { return updateScript.Eval(ctx, p, keys, args...) })
	}
	if _, moved := redis.IsMovedError(update.Err()); moved && cluster != nil {
		cluster.ReloadState(ctx) // one master's own client does not learn where the slot went
	}
	r, err := parseReply(update.Result())
	if err != nil || r.status != done {
		return r, err
	}
	n, err := wait.Int()
	if err != nil {
		return r, fmt.Errorf("%w: %w", ErrNotReplicated, err)
	}
	if n < s.config.replicas {
		return r, fmt.Errorf("%w: %d of %d within %v", ErrNotReplicated, n, s.config.replicas, s.config.replicaWait)
	}
	return r, nil
}

// pause waits for d or for the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
