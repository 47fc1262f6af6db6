package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tokenguard/tokenguard"
)

// lifetime of the upstream's tokens.
const lifetime = time.Hour

// upstream issues tokens and counts. With a quota, a token is good for that many uses.
type upstream struct {
	clock  *clock
	quota  int // 0: no limit
	issued []time.Time
	used   map[string]int // by token ID
}

func newUpstream(c *clock, quota int) *upstream {
	return &upstream{clock: c, quota: quota, used: map[string]int{}}
}

// fetch is the function that a service would have: it asks for a new anonymous token.
func (u *upstream) fetch(context.Context, tokenguard.Request) (tokenguard.Token, error) {
	u.issued = append(u.issued, u.clock.now)
	return tokenguard.NewTokenIn(fmt.Sprintf("anonymous-%d", len(u.issued)), lifetime), nil
}

// use makes one API call with the token.
func (u *upstream) use(t tokenguard.Token) (failure tokenguard.Failure, ok bool) {
	if u.quota > 0 && u.used[t.ID()] >= u.quota {
		return tokenguard.Failure{StatusCode: 429, Message: "No remaining quota: No AI requests remaining", At: u.clock.now}, false
	}
	u.used[t.ID()]++
	return tokenguard.Failure{}, true
}
