package tokenguard

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
)

// nameFor is the value of the token that stands for a real one.
func nameFor(id string) string { return "candidate's " + id }

// simulatedFailure is the last real failure, as the candidate's own.
type simulatedFailure struct {
	text  string
	class Class
}

func (e *simulatedFailure) Error() string { return e.text }

// simulate is the candidate's RequestFunc: it ends as the last real acquisition of the scope did, else like the last one
// of another scope.
func (c *candidate) simulate(_ context.Context, req Request) (Token, error) {
	doc, now := c.real.replica.Newest().Doc, c.real.meter.Read().Now // seed saw one
	fail := func(s ledger.Streak) error {
		// Stated also where nothing is left of it: a wait that the text asks for would begin anew.
		pause := max(doc.Pause.Until.Sub(now), 0)
		return Failed(Failure{StatusCode: s.Status, Message: s.Message(), Err: &simulatedFailure{s.Message(), Class(s.Class)},
			Header: map[string][]string{"Retry-After": {strconv.FormatFloat(pause.Seconds(), 'f', 9, 64)}}})
	}
	scope := ledger.ScopeKey(req.Scope)
	if k := doc.Scope(scope); k.Closed.Until > now {
		return Token{}, fail(k.Last)
	}
	if doc.Failures.Count > 0 {
		return Token{}, fail(doc.Failures)
	}
	like := doc.Newest(scope)
	if like == nil {
		like = doc.Latest()
	}
	if like == nil {
		return NewToken(nameFor(""), time.Time{}), nil
	}
	name := nameFor(like.ID)
	// The real one serves on after the candidate's has ended: its name would bring that back.
	if own := c.replica.Newest(); own != nil && (own.Doc.Tokens[TokenID(name)] != nil || req.Failing == TokenID(name)) {
		name += " " + strconv.FormatUint(own.Doc.Seq, 10)
	}
	token := likeThat(name, like)
	if like.Identity != nil {
		token = token.WithRefreshToken("the account of "+name, time.Time{})
	}
	return token, nil
}

// likeThat is a token that lasts as long as another.
func likeThat(name string, like *ledger.Token) Token {
	if like.Expiry == 0 {
		return NewToken(name, time.Time{})
	}
	return NewTokenIn(name, like.Expiry.Sub(like.Acquired))
}

// simulateRenewal is the candidate's RenewalFunc: it ends as the last real renewal of the scope did.
func (c *candidate) simulateRenewal(_ context.Context, old Token) (Token, error) {
	like := c.real.replica.Newest().Doc.Newest(old.Scope())
	if like == nil || like.Identity == nil {
		like = &ledger.Token{Identity: &ledger.Identity{}}
	}
	if last := like.Identity.Last; last.Count > 0 || like.Identity.Ended != 0 {
		return Token{}, Failed(Failure{StatusCode: last.Status, Message: last.Message(), Err: &simulatedFailure{last.Message(), Class(last.Class)}})
	}
	return likeThat(nameFor(like.ID)+" renewed "+strconv.FormatUint(c.renewed.Add(1), 10), like), nil
}

// simulatedClass is a classifier that knows simulated failures, before the user-supplied one; nil: Classify.
func simulatedClass(classifier func(Failure) Class) func(Failure) Class {
	return func(f Failure) Class {
		var s *simulatedFailure
		switch {
		case errors.As(f.Err, &s):
			return s.class
		case classifier != nil:
			return classifier(f)
		}
		return Classify(f)
	}
}
