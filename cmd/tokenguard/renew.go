package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
)

// lastAnswer is what a program of --renew reads on standard input, where other users of the machine do not see it.
type lastAnswer struct {
	AccessToken  string    `json:"access_token,omitempty"`
	RefreshToken string    `json:"refresh_token"`
	Expiry       time.Time `json:"expiry,omitzero"` // of access_token
	Identity     string    `json:"identity"`
	Scope        string    `json:"scope,omitempty"`
}

// renewal are the options of --renew; none without it.
func (a *access) renewal(spare reserve) ([]tokenguard.Option, error) {
	words := strings.Fields(a.renew)
	switch {
	case a.renew == "":
		return nil, nil
	case len(words) == 0:
		return nil, usage("--renew: want a program, with its arguments after spaces")
	case !a.json:
		return nil, usage("--renew needs --json: it renews with the refresh_token that COMMAND prints")
	}
	command, err := ready(words)
	if err != nil {
		return nil, err
	}
	f := &fetch{command: command, lifetime: a.lifetime, json: true, spare: spare}
	renew := func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
		in, err := json.Marshal(lastAnswer{old.Value(), old.RefreshToken(), old.Expiry(), old.Identity(), old.Scope()})
		if err != nil {
			return tokenguard.Token{}, err
		}
		spare.free()
		return f.run(ctx, bytes.NewReader(in))
	}
	limits := tokenguard.RenewalLimits{Timeout: min(a.timeout, time.Hour)} // a longer one is told as the timeout's
	return []tokenguard.Option{tokenguard.WithRenewal(renew), tokenguard.WithRenewalLimits(limits)}, nil
}
