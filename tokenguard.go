package tokenguard

import (
	"context"
	"errors"
)

// Guard stands in front of a RequestFunc.
type Guard struct{}

var errUnbuilt = errors.New("tokenguard: under construction")

// New makes a guard.
func New(request RequestFunc, opts ...Option) (*Guard, error) { return &Guard{}, nil }

func (g *Guard) Token(ctx context.Context) (Token, error)                { return Token{}, errUnbuilt }
func (g *Guard) Acquire(ctx context.Context, req Request) (Grant, error) { return Grant{}, errUnbuilt }
func (g *Guard) Wait(ctx context.Context, req Request) (Grant, error)    { return Grant{}, errUnbuilt }
func (g *Guard) Explain(ctx context.Context, req Request) (Explanation, error) {
	return Explanation{}, errUnbuilt
}
func (g *Guard) Report(ctx context.Context, o Outcome) error { return errUnbuilt }
func (g *Guard) Adopt(ctx context.Context, t Token) error    { return errUnbuilt }
func (g *Guard) Clear(ctx context.Context, what Clear) error { return errUnbuilt }
func (g *Guard) Close() error                                { return nil }
