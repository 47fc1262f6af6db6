// Package redisstore keeps the state of tokenguard's guards in Redis or Valkey, so that a fleet of machines shares one
// budget and one token.
//
//	client := redis.NewUniversalClient(&redis.UniversalOptions{
//		Addrs:                 []string{"redis.internal:6379"},
//		ContextTimeoutEnabled: true, // required: operations end with their context
//	})
//	store, err := redisstore.New(client)
//	...
//	guard, err := tokenguard.New(fetch, tokenguard.WithStore(store), tokenguard.WithName("upstream-account"))
//
// It works with a single server, Sentinel and Cluster, and uses nothing that Redis 5 lacks. A document is one hash
// under one key, and a commit is one short script that replaces it if nobody else did. No rule of the guard runs in the
// server; the server's clock is the clock of every decision.
//
// # What a loss in Redis means
//
// A Store remembers what it saw last of each document. If the engine then shows less (a FLUSHALL, an eviction, a
// restart without persistence, a failover to a replica that lagged), the Store hands out the newest contents that
// either has, under a new epoch, which tells the guard to count its windows as full. A process that starts after the
// loss, with nothing left in Redis and no older process running, cannot notice it: persistence (appendonly yes), the
// policy noeviction and WithWaitReplicas keep that from happening.
package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/tokenguard/tokenguard"
)

// Store is a tokenguard.Store, Watcher and Revisioner over a Redis client. It is safe for concurrent use. Operations
// on one document wait for each other within a Store, so that the answers are seen in their order; use one Store for
// all guards of a process.
type Store struct {
	client redis.UniversalClient
	config config

	pause     func(context.Context, time.Duration) error // pause, but in tests
	closed    chan struct{}
	closeOnce sync.Once

	mu   sync.Mutex // guards docs
	docs map[string]*document
}

// document is what a Store knows of one document.
type document struct {
	turn chan struct{} // holds one element while an operation runs
	seen sighting      // what is known; belongs, with asked, to whose turn it is
	// asked is when the last answer was asked for. Who waited for a turn since before then needs no answer of its own:
	// the callers of a process that look at the same time share two round trips.
	asked  time.Time
	outage atomic.Pointer[outage] // nil while the engine answers
}

// outage is an operation that got no answer.
type outage struct {
	at  time.Time
	err error
}

// recheck is how long after an operation without an answer the next one is tried. Until then, and while that one
// tries, all others fail at once with the same error: callers who can be served without the store do not wait for it.
const recheck = 500 * time.Millisecond

// maxTries bounds how often an Update decides. With the pauses between them they take half a minute, more than any race
// among the processes of a fleet; what goes on for longer is no race.
const maxTries = 250

var errContended = errors.New("the document changed each time before the commit arrived")

// patience is how long an operation must have waited for the engine to count as one without an answer although it was
// its caller that gave up.
const patience = 100 * time.Millisecond

// New makes a Store on client, which stays the caller's to close. It does no input or output. Every mistake in the
// options is in the error: a value out of its bounds, a client that does not honour its context
// (ContextTimeoutEnabled), a client that is a Ring.
func New(client redis.UniversalClient, opts ...Option) (*Store, error) {
	config := defaults()
	for _, opt := range opts {
		opt(&config)
	}
	if err := config.validate(client); err != nil {
		return nil, err
	}
	return &Store{client: client, config: config, pause: pause, closed: make(chan struct{}), docs: map[string]*document{}}, nil
}

func (s *Store) key(name string) string     { return s.config.prefix + "{" + name + "}" }
func (s *Store) channel(name string) string { return s.key(name) + ":changed" }

// View returns the newest committed document, in one round trip that carries the contents only if they changed; callers
// who look at the same time share it. Snapshot.Now is the server's time.
func (s *Store) View(ctx context.Context, name string) (snap tokenguard.Snapshot, err error) {
	entered := time.Now()
	err = s.operate(ctx, "view", name, func(ctx context.Context, doc *document) error {
		if doc.asked.Before(entered) {
			if err := s.look(ctx, name, doc); err != nil {
				return err
			}
		}
		snap = doc.seen.current()
		return nil
	})
	return snap, err
}

// Revision returns the newest revision, in one round trip that carries no contents.
func (s *Store) Revision(ctx context.Context, name string) (rev uint64, err error) {
	err = s.operate(ctx, "revision", name, func(ctx context.Context, doc *document) error {
		r, err := s.read(ctx, name, doc.seen.base, true)
		rev = doc.seen.revision(r.version)
		return err
	})
	if err != nil {
		return 0, err
	}
	return rev, nil
}

// Update applies fn to the newest document. It first tries the one that this Store saw last, which takes one round
// trip if it still is the newest, and goes on from what the refusal returns if not. Snapshot.Now is the server's time,
// carried on by this process's clock since the last answer; a commit that was decided on a time wrong by more than a
// quarter of the timeout is decided anew. An error other than fn's own leaves open whether the commit took place.
func (s *Store) Update(
	ctx context.Context, name string, fn func(tokenguard.Snapshot) ([]byte, error),
) (snap tokenguard.Snapshot, err error) {
	var refusal error // fn's own
	err = s.operate(ctx, "update", name, func(ctx context.Context, doc *document) error {
		newest := false // seen was confirmed during this call
		for try := range maxTries {
			var data []byte
			if !doc.seen.at.IsZero() {
				snap = doc.seen.current()
				if data, refusal = fn(snap); newest && (refusal != nil || data == nil) {
					return nil
				}
			}
			if refusal != nil || data == nil {
				if err := s.look(ctx, name, doc); err != nil {
					return err
				}
				newest = true
				continue
			}
			asked, c := time.Now(), doc.seen.change(snap, data)
			if c.floor > maxRev {
				return fmt.Errorf("key %q: %w", s.key(name), errExhausted)
			}
			r, err := s.commit(ctx, name, c)
			if r.status == done {
				doc.learn(doc.seen.committed(c, r), asked)
				snap = doc.seen.snap
			}
			if err != nil || r.status == done {
				return err
			}
			doc.learn(doc.seen.next(r, s.config.ttl), asked)
			newest = true
			if try < 2 {
				continue
			}
			// Many commit at once: spread out. What came with the other's commit is old after the pause, so look again.
			if err := s.pause(ctx, rand.N(time.Millisecond<<min(try, 8))); err != nil {
				return err
			}
			if err := s.look(ctx, name, doc); err != nil {
				return err
			}
		}
		return errContended
	})
	if err != nil {
		return tokenguard.Snapshot{}, err
	}
	return snap, refusal
}

// look brings what is known of the document up to date.
func (s *Store) look(ctx context.Context, name string, doc *document) error {
	asked := time.Now()
	r, err := s.read(ctx, name, doc.seen.base, false)
	if err != nil {
		return err
	}
	doc.learn(doc.seen.next(r, s.config.ttl), asked)
	return nil
}

func (d *document) learn(seen sighting, asked time.Time) {
	seen.at = time.Now()
	d.seen, d.asked = seen, asked
}

// operate runs one operation when it is its turn at the document, within the timeout.
func (s *Store) operate(
	caller context.Context, what, name string, run func(context.Context, *document) error,
) error {
	failed := func(err error) error { return fmt.Errorf("tokenguard: redisstore: %s %q: %w", what, name, err) }
	select {
	case <-s.closed:
		return failed(tokenguard.ErrClosed)
	default:
	}
	if name == "" {
		return failed(errors.New("the name is empty"))
	}
	if err := caller.Err(); err != nil {
		return failed(err)
	}
	ctx, cancel := context.WithTimeout(caller, s.config.timeout)
	defer cancel()
	doc := s.document(name)
	if err := doc.wait(ctx); err != nil {
		return failed(err)
	}
	defer func() { <-doc.turn }()
	began := time.Now()
	err := run(ctx, doc)
	if answered(err) {
		doc.outage.Store(nil)
	} else if caller.Err() == nil || time.Since(began) >= patience {
		doc.outage.Store(&outage{time.Now(), err})
	}
	if err != nil {
		return failed(err)
	}
	return nil
}

// answered reports whether the engine did, be it with an error.
func answered(err error) bool {
	var answer redis.Error
	return err == nil || errors.As(err, &answer) || errors.Is(err, ErrNotReplicated) ||
		errors.Is(err, errForeign) || errors.Is(err, errExhausted) || errors.Is(err, errContended)
}

func (s *Store) document(name string) *document {
	s.mu.Lock()
	defer s.mu.Unlock()
	doc := s.docs[name]
	if doc == nil {
		doc = &document{turn: make(chan struct{}, 1)}
		s.docs[name] = doc
	}
	return doc
}

// wait takes the turn. In an outage only one operation does, after a while, and the others learn what came of the
// last one.
func (d *document) wait(ctx context.Context) error {
	select {
	case d.turn <- struct{}{}:
	default:
		if out := d.outage.Load(); out != nil {
			return out.err
		}
		select {
		case d.turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if out := d.outage.Load(); out != nil && time.Since(out.at) < recheck {
		<-d.turn
		return out.err
	}
	return nil
}

// Close ends the Store: later calls return tokenguard.ErrClosed, and watching ends. The client stays open.
func (s *Store) Close() error {
	s.closeOnce.Do(func() { close(s.closed) })
	return nil
}
