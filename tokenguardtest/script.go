package tokenguardtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/tokenguard/tokenguard"
)

// Reply is how a scripted upstream answers one call. The first field that is set decides, in the order of the fields.
// The zero Reply grants a new token whose value names the call and whose expiry is not stated.
type Reply struct {
	// Hang waits until the call's context ends and returns its error.
	Hang bool
	// Panic is the value to panic with.
	Panic any
	// Goexit ends the goroutine by runtime.Goexit, as a failed require in a RequestFunc does.
	Goexit bool
	// Err is returned as it is.
	Err error
	// Failure is returned as tokenguard.Failed.
	Failure tokenguard.Failure
	// Empty grants a token without a value.
	Empty bool
	// Value of the token; empty: a new one, "token-" and the number of the call.
	Value string
	// Lifetime of the token, where the upstream states one: 0 means not stated, less than 0 expired already.
	Lifetime time.Duration
	// Expiry of the token, where the upstream states an instant.
	Expiry time.Time
	// Refresh is the refresh token that comes with it, or with Empty alone: an account whose first value is still to be
	// had. RefreshExpiry is its expiry, and Account the upstream's name for the account.
	Refresh       string
	RefreshExpiry time.Time
	Account       string

	// Took is how long the upstream thinks before it answers in any of these ways, on the script's clock.
	Took time.Duration
	// Deaf makes it take that long even if the call's context ends before.
	Deaf bool
}

// Call is one call of a script's Request or Renew.
type Call struct {
	// At is when it began, on the script's clock.
	At time.Time
	// Context is the one that the guard passed: its values are the caller's.
	Context context.Context
	Request tokenguard.Request
	// Refresh is the refresh token that Renew was given.
	Refresh string
	// Done says that the call has ended, in whatever way.
	Done bool
}

// Script is an upstream that answers from a list. Its method Request is the tokenguard.RequestFunc, and its method Renew a
// tokenguard.RenewalFunc: rather of another Script, since both take the next reply.
//
// A Script is safe for concurrent use. Make one with NewScript.
type Script struct {
	// Beyond answers the calls after the last reply. Its zero value grants a new token each time.
	// Set it before the first call.
	Beyond Reply

	clock   tokenguard.Clock
	mu      sync.Mutex // guards everything below
	replies []Reply
	calls   []Call
	changed chan struct{} // closed and replaced when a call begins or ends
}

// NewScript returns a Script that answers the n-th call with the n-th reply. A nil clock stands for real time,
// and so does one without Sleep where a reply takes its time.
func NewScript(clock tokenguard.Clock, replies ...Reply) *Script {
	return &Script{clock: clock, replies: slices.Clone(replies), changed: make(chan struct{})}
}

// Add appends replies to the script.
func (s *Script) Add(replies ...Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replies = append(s.replies, replies...)
}

// Calls returns the calls so far.
func (s *Script) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Await returns nil once n calls have begun, and the context's error if that ends first.
func (s *Script) Await(ctx context.Context, n int) error {
	return s.await(ctx, func() bool { return len(s.calls) >= n })
}

// idle returns nil once no call runs.
func (s *Script) idle(ctx context.Context) error {
	return s.await(ctx, func() bool {
		return !slices.ContainsFunc(s.calls, func(c Call) bool { return !c.Done })
	})
}

// await waits for a condition on what mu guards.
func (s *Script) await(ctx context.Context, condition func() bool) error {
	for {
		s.mu.Lock()
		met, changed := condition(), s.changed
		s.mu.Unlock()
		if met {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Request answers the next call. It is a tokenguard.RequestFunc.
func (s *Script) Request(ctx context.Context, req tokenguard.Request) (tokenguard.Token, error) {
	return s.answer(ctx, Call{Request: req})
}

// Renew answers the next call. It is a tokenguard.RenewalFunc.
func (s *Script) Renew(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
	return s.answer(ctx, Call{Refresh: old.RefreshToken()})
}

func (s *Script) answer(ctx context.Context, call Call) (tokenguard.Token, error) {
	n, reply := s.begin(ctx, call)
	defer s.end(n)
	if reply.Took > 0 {
		until := ctx
		if reply.Deaf {
			until = context.WithoutCancel(ctx)
		}
		if err := sleep(until, s.clock, reply.Took); err != nil {
			return tokenguard.Token{}, err
		}
	}
	switch {
	case reply.Hang:
		<-ctx.Done()
		return tokenguard.Token{}, ctx.Err()
	case reply.Panic != nil:
		panic(reply.Panic)
	case reply.Goexit:
		runtime.Goexit()
	case reply.Err != nil:
		return tokenguard.Token{}, reply.Err
	case !reply.Failure.IsZero():
		return tokenguard.Token{}, tokenguard.Failed(reply.Failure)
	case reply.Empty && reply.Refresh == "":
		return tokenguard.Token{}, nil
	}
	return reply.token(n), nil
}

// token is what the reply to the call of this number grants.
func (r *Reply) token(n int) tokenguard.Token {
	value := r.Value
	if value == "" && !r.Empty {
		value = fmt.Sprintf("token-%d", n+1)
	}
	token := tokenguard.NewToken(value, r.Expiry)
	if r.Lifetime != 0 {
		token = tokenguard.NewTokenIn(value, r.Lifetime)
	}
	if r.Refresh != "" {
		token = token.WithRefreshToken(r.Refresh, r.RefreshExpiry)
	}
	if r.Account != "" {
		token = token.WithAccount(r.Account)
	}
	return token
}

func (s *Script) begin(ctx context.Context, call Call) (int, Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, reply := len(s.calls), s.Beyond
	if n < len(s.replies) {
		reply = s.replies[n]
	}
	call.At, call.Context = now(s.clock), ctx
	s.calls = append(s.calls, call)
	s.changedLocked()
	return n, reply
}

func (s *Script) end(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[n].Done = true
	s.changedLocked()
}

func (s *Script) changedLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// ErrScripted is an error for replies that need one and do not care which. It is classified as unknown.
var ErrScripted = errors.New("scripted failure")
