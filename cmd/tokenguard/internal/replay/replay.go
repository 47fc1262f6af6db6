package replay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/errgroup"

	"github.com/tokenguard/tokenguard"
)

// Upstream is what the replayed guard acquires from.
type Upstream struct {
	Lifetime time.Duration // that it states of its tokens; 0: none stated
	Uses     int           // a token is good for; 0: no limit
}

// Replay is one guard with the log's clock, a memory store and a scripted upstream. All processes of the log share it,
// as they would a state file. Acquisitions take no time. Where the log records how an acquisition ended, those of the
// replay end like the last recorded one.
type Replay struct {
	Result
	guard    *tokenguard.Guard
	clock    clock
	upstream Upstream
	explain  bool

	issued  int
	uses    map[string]int             // by token ID, of what was handed out
	current map[string]string          // by scope, the ID of the token handed out last
	outage  *tokenguard.Failure        // how acquisitions end now; nil: with a token
	names   *lru.Cache[named, string]  // by the log's name for a token, the ID of the one that stands for it
	seen    map[tokenguard.Reason]bool // reasons of refusals that were explained
}

// named is what a log calls a token.
type named struct{ scope, token string }

// maxNames bounds what is remembered of the log's names for tokens.
const maxNames = 1 << 14

type reasonMap = map[tokenguard.Reason]int

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// recorded is a class that the log states, as an error that the classifier finds.
type recorded struct{ class tokenguard.Class }

func (r recorded) Error() string { return string(r.class) }

func classify(f tokenguard.Failure) tokenguard.Class {
	if r, ok := errors.AsType[recorded](f.Err); ok {
		return r.class
	}
	return tokenguard.Classify(f)
}

// New prepares a replay under the setup. explain keeps the steps of the first refusal of each reason.
func New(name string, setup Setup, explain bool) (*Replay, error) {
	r := &Replay{upstream: setup.Upstream, explain: explain, uses: map[string]int{}, current: map[string]string{},
		seen: map[tokenguard.Reason]bool{}}
	r.Name = name
	r.names, _ = lru.New[named, string](maxNames)
	r.Refusals = map[tokenguard.Step]reasonMap{}
	opts := []tokenguard.Option{tokenguard.WithClock(&r.clock), tokenguard.WithClassifier(classify), tokenguard.WithConfig(setup.Config),
		tokenguard.WithRefreshAhead(setup.RefreshAhead), tokenguard.WithFreshness(time.Hour)} // nobody else writes to its store
	var err error
	if r.guard, err = tokenguard.New(r.fetch, opts...); err != nil {
		return nil, err
	}
	r.Limits = r.guard.Config().RateLimit
	return r, nil
}

// fetch is the scripted upstream's RequestFunc.
func (r *Replay) fetch(context.Context, tokenguard.Request) (tokenguard.Token, error) {
	r.acquired(r.clock.now, r.outage == nil)
	if r.outage != nil {
		return tokenguard.Token{}, tokenguard.Failed(*r.outage)
	}
	r.issued++
	value := fmt.Sprintf("replayed-%d", r.issued)
	if r.upstream.Lifetime == 0 {
		return tokenguard.NewToken(value, time.Time{}), nil
	}
	return tokenguard.NewTokenIn(value, r.upstream.Lifetime), nil
}

// use makes one API call with the token.
func (r *Replay) use(id string) (failure tokenguard.Failure, ok bool) {
	if r.upstream.Uses > 0 && r.uses[id] >= r.upstream.Uses {
		return tokenguard.Failure{StatusCode: 429, Message: "No remaining quota", At: r.clock.now}, false
	}
	r.uses[id]++
	return tokenguard.Failure{}, true
}

// token is the ID of the token that stands for the one that the log names: the one that was handed out on the line where
// an earlier guard handed out the other, or else the newest at the first mention.
func (r *Replay) token(scope, name string) string {
	switch name {
	case "", Personal:
		return name
	case Current:
		return r.current[scope]
	}
	if id, ok := r.names.Get(named{scope, name}); ok {
		return id
	}
	id := r.current[scope]
	if id == "" {
		return name
	}
	r.names.Add(named{scope, name}, id)
	return id
}

// line replays one line of the log.
func (r *Replay) line(c *Call) error {
	r.clock.now = c.At
	req := tokenguard.Request{Scope: c.Scope, Caller: c.Caller, Failure: c.failure()}
	switch c.Event {
	case tokenguard.EventReported:
		id := r.current[c.Scope]
		if c.Token != "" {
			id = r.token(c.Scope, c.Token)
		}
		if id == "" || req.Failure.IsZero() {
			return nil
		}
		return r.guard.Report(context.Background(), tokenguard.Outcome{TokenID: id, Failure: req.Failure})
	case tokenguard.EventFailed:
		failure := req.Failure
		if failure.IsZero() {
			failure.Message = "recorded failure"
		}
		r.outage, req.Failure = &failure, tokenguard.Failure{}
	case tokenguard.EventAcquired:
		r.outage, req.Failure = nil, tokenguard.Failure{}
	}
	if !req.Failure.IsZero() {
		req.Failing = r.token(c.Scope, c.Failing)
	}
	for range 1 + c.Repeats {
		r.called(c)
		if err := r.ask(c, req); err != nil {
			return err
		}
	}
	if c.Token != "" && (c.Event == tokenguard.EventServed || c.Event == tokenguard.EventAcquired) && r.current[c.Scope] != "" {
		r.names.Add(named{c.Scope, c.Token}, r.current[c.Scope])
	}
	return nil
}

// ask is one caller: it asks for a token, makes its call with it and, if the token is used up, says so and asks once
// more.
func (r *Replay) ask(c *Call, req tokenguard.Request) error {
	ctx := context.Background()
	for range 2 {
		before := r.Acquisitions()
		grant, err := r.guard.Acquire(ctx, req)
		if refused, ok := errors.AsType[*tokenguard.RefusedError](err); ok {
			return r.refused(c, req, refused.Verdict)
		}
		if _, ok := errors.AsType[*tokenguard.RequestError](err); ok {
			r.failed(c)
			return nil
		}
		if err != nil {
			return fmt.Errorf("tokenguard: %s: %w", c.Place(), err)
		}
		id := grant.Token.ID()
		r.current[c.Scope] = id
		failure, ok := r.use(id)
		if ok {
			r.served(r.Acquisitions() > before)
			// That a token works is reported once: it tells a dead token from one that never worked. Further successes
			// would clear suspicions of which the log alone can say whether they were right.
			if r.uses[id] == 1 {
				return r.guard.Report(ctx, tokenguard.Outcome{TokenID: id})
			}
			return nil
		}
		req.Failure, req.Failing = failure, id
	}
	r.usedUp(c)
	return nil
}

// refused counts a refusal and keeps the first, and the steps of the first of each reason.
func (r *Replay) refused(c *Call, req tokenguard.Request, v tokenguard.Verdict) error {
	r.Result.refused(c, v)
	if !r.explain || r.seen[v.Reason] {
		return nil
	}
	r.seen[v.Reason] = true
	// A refusal changes nothing, so Explain gives the same answer after it.
	e, err := r.guard.Explain(context.Background(), req)
	if err != nil {
		return fmt.Errorf("tokenguard: %s: %w", c.Place(), err)
	}
	r.Explained = append(r.Explained, Refusal{File: c.File, Line: c.Line, At: c.At, Caller: c.Caller, Verdict: e.Verdict, Steps: e.Steps})
	return nil
}

const batchSize = 1024

// Run replays the calls through every replay, each on a goroutine of its own. progress, if not nil, hears from time to
// time how many calls were read.
func Run(calls iter.Seq2[Call, error], replays []*Replay, progress func(calls int)) error {
	defer func() {
		for _, r := range replays {
			_ = r.guard.Close()
		}
	}()
	group, ctx := errgroup.WithContext(context.Background())
	feeds := make([]chan []Call, len(replays))
	for i, r := range replays {
		feeds[i] = make(chan []Call, 4)
		group.Go(func() error {
			for batch := range feeds[i] {
				for j := range batch {
					if err := r.line(&batch[j]); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer func() {
			for _, f := range feeds {
				close(f)
			}
		}()
		n := 0
		batch := make([]Call, 0, batchSize)
		send := func() error {
			for _, f := range feeds {
				select {
				case f <- batch:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			batch = make([]Call, 0, batchSize)
			if progress != nil {
				progress(n)
			}
			return nil
		}
		for c, err := range calls {
			if err != nil {
				return err
			}
			n++
			if batch = append(batch, c); len(batch) == batchSize {
				if err := send(); err != nil {
					return err
				}
			}
		}
		return send()
	})
	return group.Wait()
}
