package promguard_test

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/promguard"
)

func fetch(context.Context, tokenguard.Request) (tokenguard.Token, error) {
	return tokenguard.NewTokenIn("made-up", time.Hour), nil
}

func Example() {
	registry := prometheus.NewRegistry()
	metrics := promguard.New()
	guard, err := tokenguard.New(fetch, tokenguard.WithObserver(metrics.Observe)) // durations and warnings
	if err != nil {
		panic(err)
	}
	defer guard.Close()
	metrics.Add(guard)
	registry.MustRegister(metrics)

	families, err := registry.Gather()
	fmt.Println(families[0].GetName(), err)
	// Output: tokenguard_acquisition_duration_seconds <nil>
}
