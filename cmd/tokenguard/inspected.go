package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/inspect"
)

// What this command reads of states that it does not use: every look goes through here.

type (
	inspected      = inspect.Report
	inspectedLimit = inspect.Limit
	inspectedToken = inspect.Token
)

func inspectFile(ctx context.Context, path string) (inspected, error) {
	return inspect.File(ctx, path)
}

func inspectStore(ctx context.Context, store tokenguard.Store, name string) (inspected, error) {
	return inspect.Store(ctx, store, name)
}

// limitsOf are the limits under which a state was written last; zero: not known. A guard that only clears something keeps
// them, or those who share it would see other limits at work.
func limitsOf(r inspected) (l tokenguard.RateLimits) {
	var apart string
	if n, _ := fmt.Sscanf(r.Limits, "%d/h, %d/day, %s apart", &l.MaxRequestsPerHour, &l.MaxRequestsPerDay, &apart); n != 3 {
		return tokenguard.RateLimits{}
	}
	var err error
	if l.MinInterval, err = time.ParseDuration(apart); err != nil {
		return tokenguard.RateLimits{}
	}
	return l
}
