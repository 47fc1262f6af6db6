package tokenguard

import (
	"context"
	"log/slog"
	"time"
)

// Option sets one thing of a Guard. Options are checked together by New.
type Option func(*options)

type options struct {
	Config
	classifier   func(Failure) Class
	personal     func(context.Context) (Token, error)
	timeout      time.Duration
	refreshAhead time.Duration
	freshness    time.Duration
	freshnessSet bool
	store        Store
	statePath    string
	stateFile    bool
	keys         [][]byte
	noTokens     bool // WithoutTokenPersistence
	name         string
	named        bool
	clock        Clock
	logger       *slog.Logger
	observer     func(Event)
	failOpen     bool
	problems     []error
}

// Clock tells the time. If it also has Sleep(ctx, d) error, Wait sleeps with it.
type Clock interface{ Now() time.Time }
