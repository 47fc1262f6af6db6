package otelguard_test

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/otelguard"
)

func fetch(context.Context, tokenguard.Request) (tokenguard.Token, error) {
	return tokenguard.NewTokenIn("made-up", time.Hour), nil
}

func Example() {
	reader := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	observe, err := otelguard.Observer(provider) // durations and warnings
	if err != nil {
		panic(err)
	}
	guard, err := tokenguard.New(fetch, tokenguard.WithObserver(observe))
	if err != nil {
		panic(err)
	}
	defer guard.Close()
	registration, err := otelguard.Register(provider, guard)
	if err != nil {
		panic(err)
	}
	defer registration.Unregister()

	var collected metricdata.ResourceMetrics
	fmt.Println(reader.Collect(context.Background(), &collected), len(collected.ScopeMetrics))
	// Output: <nil> 1
}
