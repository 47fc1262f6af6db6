package otelguard_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
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

func ExampleNewSpans() {
	upstream := httptest.NewServer(http.NotFoundHandler())
	defer upstream.Close()
	hosts := []string{strings.TrimPrefix(upstream.URL, "http://")}
	exporter := tracetest.NewInMemoryExporter()
	tracing := sdk.NewTracerProvider(sdk.WithSyncer(exporter))

	spans := otelguard.NewSpans(tracing, "shop")
	guard, err := tokenguard.New(spans.Request(fetch), tokenguard.WithName("shop"))
	if err != nil {
		panic(err)
	}
	defer guard.Close()
	transport, err := guardhttp.NewTransport(guard, hosts)
	if err != nil {
		panic(err)
	}
	client := &http.Client{Transport: spans.Transport(transport)}

	resp, err := client.Get(upstream.URL)
	if err != nil {
		panic(err)
	}
	resp.Body.Close()
	for _, s := range exporter.GetSpans() {
		fmt.Println(s.Name, s.SpanKind, s.Status.Code)
	}
	// Output:
	// tokenguard.acquire client Unset
	// GET client Error
	// tokenguard.call internal Error
}
