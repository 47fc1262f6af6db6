// Package redisstore keeps the state of tokenguard's guards in Redis or Valkey, so that a fleet of machines shares one
// budget and one token.
//
//	client := redis.NewUniversalClient(&redis.UniversalOptions{
//		Addrs:                 []string{"redis.internal:6379"},
//		ContextTimeoutEnabled: true, // required: operations end with their context
//	})
//	store, err := redisstore.New(client)
//	...
//	guard, err := tokenguard.New(fetch, tokenguard.WithStore(store), tokenguard.WithName("upstream/account"))
//
// It works with a single server, Sentinel and Cluster, Redis 5 and later. A document is one hash under one key, and a
// commit is one short script that replaces it if nobody else did. No rule of the guard runs in the server; the
// server's clock is the clock of every decision.
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
	"sync"
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
	asked time.Time
}

// New makes a Store on client, which stays the caller's to close. It does no input or output. Every mistake in the
// options is in the error: a value out of its bounds, a client that does not heed its context
// (ContextTimeoutEnabled), a client that is a Ring.
func New(client redis.UniversalClient, opts ...Option) (*Store, error) {
	config := defaults()
	for _, opt := range opts {
		opt(&config)
	}
	if err := config.validate(client); err != nil {
		return nil, err
	}
	return &Store{client: client, config: config, closed: make(chan struct{}), docs: map[string]*document{}}, nil
}

func (s *Store) key(name string) string     { return s.config.prefix + "{" + name + "}" }
func (s *Store) channel(name string) string { return s.key(name) + ":changed" }

// View returns the newest committed document, in one round trip. Snapshot.Now is the server's time.
func (s *Store) View(ctx context.Context, name string) (tokenguard.Snapshot, error) {
	entered := time.Now()
	ctx, doc, end, err := s.begin(ctx, name)
	if err != nil {
		return tokenguard.Snapshot{}, failed("view", name, err)
	}
	defer end()
	if doc.asked.Before(entered) {
		if err := s.look(ctx, name, doc); err != nil {
			return tokenguard.Snapshot{}, failed("view", name, err)
		}
	}
	return doc.seen.current(), nil
}

// Revision returns the newest revision, in one round trip that carries no contents.
func (s *Store) Revision(ctx context.Context, name string) (uint64, error) {
	ctx, doc, end, err := s.begin(ctx, name)
	if err != nil {
		return 0, failed("revision", name, err)
	}
	defer end()
	r, err := s.read(ctx, name, doc.seen.base, true)
	if err != nil {
		return 0, failed("revision", name, err)
	}
	return doc.seen.revision(r.version), nil
}

// Update applies fn to the newest document. It first tries the one that this Store saw last, which takes one round
// trip if it still is the newest, and goes on from what the refusal brings if not. Snapshot.Now is the server's time,
// carried on by this process' clock since the last answer; a commit that was decided on a time wrong by more than a
// quarter of the timeout is decided anew. An error other than fn's own leaves open whether the commit took place.
func (s *Store) Update(
	ctx context.Context, name string, fn func(tokenguard.Snapshot) ([]byte, error),
) (tokenguard.Snapshot, error) {
	ctx, doc, end, err := s.begin(ctx, name)
	if err != nil {
		return tokenguard.Snapshot{}, failed("update", name, err)
	}
	defer end()
	newest := false // seen was confirmed during this call
	for try := 0; ; try++ {
		if doc.seen.at.IsZero() {
			if err := s.look(ctx, name, doc); err != nil {
				return tokenguard.Snapshot{}, failed("update", name, err)
			}
			newest = true
		}
		snap := doc.seen.current()
		data, err := fn(snap)
		if err != nil || data == nil {
			if newest {
				return snap, err
			}
			if err := s.look(ctx, name, doc); err != nil {
				return tokenguard.Snapshot{}, failed("update", name, err)
			}
			newest = true
			continue
		}
		c := doc.seen.change(snap, data)
		asked := time.Now()
		r, err := s.commit(ctx, name, c)
		if r.status == done {
			doc.learn(doc.seen.committed(c, r), asked)
		}
		if err != nil {
			return tokenguard.Snapshot{}, failed("update", name, err)
		}
		if r.status == done {
			return doc.seen.snap, nil
		}
		doc.learn(doc.seen.next(r, s.config.ttl), asked)
		newest = true
		if err := backOff(ctx, try); err != nil {
			return tokenguard.Snapshot{}, failed("update", name, err)
		}
	}
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

// begin waits for its turn at the document, within the timeout of an operation.
func (s *Store) begin(ctx context.Context, name string) (context.Context, *document, func(), error) {
	select {
	case <-s.closed:
		return nil, nil, nil, tokenguard.ErrClosed
	default:
	}
	if name == "" {
		return nil, nil, nil, errNoName
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, nil, err
	}
	s.mu.Lock()
	doc := s.docs[name]
	if doc == nil {
		doc = &document{turn: make(chan struct{}, 1)}
		s.docs[name] = doc
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.config.timeout)
	select {
	case doc.turn <- struct{}{}:
	case <-ctx.Done():
		defer cancel()
		return nil, nil, nil, ctx.Err()
	}
	return ctx, doc, func() { <-doc.turn; cancel() }, nil
}

// Close ends the Store: later calls return tokenguard.ErrClosed, and watching ends. The client stays open.
func (s *Store) Close() error {
	s.closeOnce.Do(func() { close(s.closed) })
	return nil
}

var errNoName = errors.New("the name is empty")

func failed(operation, name string, err error) error {
	return fmt.Errorf("tokenguard: redisstore: %s %q: %w", operation, name, err)
}
