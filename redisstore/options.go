package redisstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Option sets one thing of a Store. Options are checked together by New.
type Option func(*config)

type config struct {
	prefix      string
	ttl         time.Duration
	timeout     time.Duration
	replicas    int
	replicaWait time.Duration
}

// The bounds of what the options take. A key must outlive all that it forbids, and nothing is committed while calls are
// refused: the longest is a Retry-After of 31 days.
const (
	minTTL     = 32 * 24 * time.Hour
	maxTTL     = 366 * 24 * time.Hour
	minTimeout = 10 * time.Millisecond
	maxTimeout = time.Minute
)

func defaults() config {
	return config{
		prefix:  "tokenguard:",
		ttl:     40 * 24 * time.Hour,
		timeout: 2 * time.Second,
	}
}

// WithPrefix sets what every key and channel begins with, default "tokenguard:"; it must not be empty. The key of the document NAME is
// PREFIX{NAME}, the channel on which its commits are announced PREFIX{NAME}:changed.
func WithPrefix(prefix string) Option {
	return func(c *config) { c.prefix = prefix }
}

// WithTTL sets how long a document lives after its last commit: 32 to 366 days, default 40 days. A document that ends
// this way is forgotten whole, with the accounts in it, which frees nothing: every limit of it is over by then.
func WithTTL(ttl time.Duration) Option {
	return func(c *config) { c.ttl = ttl }
}

// WithTimeout bounds each operation of the Store, all its round trips and retries together: 10 ms to 1 min, default
// 2 s. A shorter deadline of the caller's context counts too. A commit that reaches the server later than a quarter
// of this after it was decided is refused there and decided anew, so that a request stuck in the network or in a
// stopped server does nothing when it comes through at last.
func WithTimeout(d time.Duration) Option {
	return func(c *config) { c.timeout = d }
}

// WithWaitReplicas makes Update wait until n replicas have confirmed the commit (Redis' WAIT), at most for timeout, and
// fail with ErrNotReplicated if they have not. By default it waits for none, n 0; timeout is from 1 ms to less than that
// of WithTimeout. It narrows what a failover can lose; it costs the replicas' round trip. Set min-replicas-to-write on the server too: it refuses before the commit, while a commit
// that only was not confirmed stands and is charged.
func WithWaitReplicas(n int, timeout time.Duration) Option {
	return func(c *config) { c.replicas, c.replicaWait = n, timeout }
}

func (c config) validate(client redis.UniversalClient) error {
	var problems []error
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("tokenguard: redisstore: "+format, args...))
	}
	if c.prefix == "" {
		problem("prefix is empty: keys need one, so that an ACL can name them")
	}
	if c.ttl < minTTL || c.ttl > maxTTL {
		problem("ttl is %v: want %v to %v", c.ttl, minTTL, maxTTL)
	}
	if c.timeout < minTimeout || c.timeout > maxTimeout {
		problem("timeout is %v: want %v to %v", c.timeout, minTimeout, maxTimeout)
	}
	if c.replicas < 0 {
		problem("wait replicas is %d: want 0 or more", c.replicas)
	}
	if c.replicas > 0 && (c.replicaWait < time.Millisecond || c.replicaWait >= c.timeout) {
		problem("wait replicas timeout is %v: want at least 1ms and less than the operation's timeout, %v",
			c.replicaWait, c.timeout)
	}
	honoursContext := true
	switch client := client.(type) {
	case nil:
		problem("client is nil")
	case *redis.Client:
		honoursContext = client.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		honoursContext = client.Options().ContextTimeoutEnabled
	case *redis.Ring:
		problem("client is a Ring: when a shard fails it moves keys to another one, without what they count")
	}
	if !honoursContext {
		problem("client has ContextTimeoutEnabled off: it would sit out its own timeouts after the caller's deadline")
	}
	return errors.Join(problems...)
}
