package otelguard

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/internal/answer"
	"github.com/tokenguard/tokenguard/internal/redact"
)

// Attributes of spans that OpenTelemetry has no name for.
const (
	attrGuard    = attribute.Key("tokenguard.guard")
	attrScope    = attribute.Key("tokenguard.scope") // masked, as in the log
	attrToken    = attribute.Key("tokenguard.token.id")
	attrIdentity = attribute.Key("tokenguard.identity.id")
	attrStep     = attribute.Key("tokenguard.step")
	attrReason   = attribute.Key("tokenguard.reason")
	attrAttempts = attribute.Key("tokenguard.attempts")
)

const (
	maxScopeShown = 200
	origins       = 256 // tokens whose spans are remembered
)

// Spans makes the spans of one guard. It wraps the functions that the guard calls, and a Transport, not
// in the guard: a call that finds a token starts none.
type Spans struct {
	tracer trace.Tracer // nil: nothing is recorded
	guard  attribute.KeyValue
	came   *lru.Cache[string, trace.SpanContext] // the span that got a token, by the token's ID
}

// NewSpans makes the spans of the guard of this name (tokenguard.WithName). With nil or the no-op provider, Request,
// Renewal and Transport return what they were given.
func NewSpans(provider trace.TracerProvider, guard string) *Spans {
	came, _ := lru.New[string, trace.SpanContext](origins) // fails for a size below one alone
	s := &Spans{guard: attrGuard.String(guard), came: came}
	switch provider.(type) {
	case nil, noop.TracerProvider, *noop.TracerProvider:
	default:
		s.tracer = provider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
	}
	return s
}

// Request returns fetch with a client span "tokenguard.acquire" around each acquisition. Its parent is the span of the
// call that started it; calls that only wait for it have none of their own, but those of a Transport link to it.
func (s *Spans) Request(fetch tokenguard.RequestFunc) tokenguard.RequestFunc {
	if s.tracer == nil || fetch == nil {
		return fetch
	}
	return func(ctx context.Context, req tokenguard.Request) (tokenguard.Token, error) {
		return s.fetched(ctx, "tokenguard.acquire", func(ctx context.Context) (tokenguard.Token, error) { return fetch(ctx, req) },
			attrScope.String(redact.Secrets(req.Scope, maxScopeShown)))
	}
}

// Renewal returns renew with a client span "tokenguard.renew" around each renewal, for tokenguard.WithRenewal.
func (s *Spans) Renewal(renew tokenguard.RenewalFunc) tokenguard.RenewalFunc {
	if s.tracer == nil || renew == nil {
		return renew
	}
	return func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
		return s.fetched(ctx, "tokenguard.renew", func(ctx context.Context) (tokenguard.Token, error) { return renew(ctx, old) },
			attrScope.String(redact.Secrets(old.Scope(), maxScopeShown)), attrIdentity.String(old.Identity()))
	}
}

// fetched runs what returns a token, in a span.
func (s *Spans) fetched(ctx context.Context, name string, fetch func(context.Context) (tokenguard.Token, error), about ...attribute.KeyValue) (tok tokenguard.Token, err error) {
	ctx, span := s.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(append(about, s.guard)...))
	returned := false
	defer func() {
		switch {
		case !returned: // the guard recovers it, and makes it a failed acquisition
			failed(span, "panic")
		case err != nil:
			failed(span, classOf(err))
		case tok.Value() != "":
			span.SetAttributes(attrToken.String(tok.ID()))
			if span.SpanContext().IsValid() {
				s.came.Add(tok.ID(), span.SpanContext())
			}
		}
		span.End()
	}()
	tok, err = fetch(ctx)
	returned = true
	return tok, err
}

// failed says why without the text of an error, which may hold anything.
func failed(span trace.Span, why string) {
	span.SetAttributes(semconv.ErrorTypeKey.String(why))
	span.SetStatus(codes.Error, why)
}

// classOf is the class of a failure as the guard's metrics have it, unless the guard has a classifier of its own.
func classOf(err error) string {
	if errors.Is(err, tokenguard.ErrIdentityEnded) {
		return "identity_ended"
	}
	return string(tokenguard.Classify(tokenguard.Failure{Err: err}))
}

// Transport returns t with spans. "tokenguard.call" is around each request, with how many attempts went out, and with the
// step and the reason if the guard had no token for it. Both end with the response header. Below it, each attempt that goes out is a client span as the
// semantic conventions for HTTP want it, with the ID of its token, and a link to the span that got this token. The
// query of the URL is left out, and its path is the one that was asked for, without what Transport.Inject makes of it.
// No trace context is sent to the upstream; if it is your own, use otelhttp as t.Base.
//
// It changes t.Base: call it before t is used, and once.
func (s *Spans) Transport(t *guardhttp.Transport) http.RoundTripper {
	if s.tracer == nil {
		return t
	}
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	t.Base = &attempts{s, base}
	return &calls{s, t}
}

// calls stand around a Transport.
type calls struct {
	*Spans
	next *guardhttp.Transport
}

// call is what its attempts know of it. A Transport makes them one after the other, before it returns.
type call struct {
	url  *url.URL // as it was asked for: Inject may put the token into the path of an attempt
	sent int
}

type callKey struct{}

// RoundTrip implements http.RoundTripper.
func (c *calls) RoundTrip(req *http.Request) (*http.Response, error) {
	of := call{url: req.URL}
	ctx, span := c.tracer.Start(context.WithValue(req.Context(), callKey{}, &of), "tokenguard.call", trace.WithAttributes(c.guard, method(req)))
	defer span.End()
	resp, err := c.next.RoundTrip(req.WithContext(ctx))
	span.SetAttributes(attrAttempts.Int(of.sent))
	if resp != nil && resp.Request != nil {
		if id := guardhttp.TokenID(resp.Request.Context()); id != "" {
			span.SetAttributes(attrToken.String(id))
		}
	}
	ended(span, resp, err)
	return resp, err
}

// CloseIdleConnections closes those of the Transport.
func (c *calls) CloseIdleConnections() { c.next.CloseIdleConnections() }

// attempts stand between a Transport and what sends its requests.
type attempts struct {
	*Spans
	base http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (a *attempts) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	about := append(make([]attribute.KeyValue, 0, 8), a.guard, method(req))
	of, _ := ctx.Value(callKey{}).(*call)
	if u := req.URL; u != nil {
		full := url.URL{Scheme: u.Scheme, Host: u.Host}
		if of != nil && of.url != nil {
			full.Path = of.url.Path
		}
		about = append(about, semconv.ServerAddress(u.Hostname()), semconv.URLFull(full.String()))
		if port := portOf(u); port > 0 {
			about = append(about, semconv.ServerPort(port))
		}
	}
	if of != nil {
		if of.sent > 0 {
			about = append(about, semconv.HTTPRequestResendCount(of.sent))
		}
		of.sent++
	}
	opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)}
	if id := guardhttp.TokenID(ctx); id != "" {
		about = append(about, attrToken.String(id))
		if from, ok := a.came.Get(id); ok {
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: from}))
		}
	}
	ctx, span := a.tracer.Start(ctx, name(req), append(opts, trace.WithAttributes(about...))...)
	defer span.End()
	resp, err := a.base.RoundTrip(req.WithContext(ctx))
	ended(span, resp, err)
	return resp, err
}

// CloseIdleConnections closes those of Base.
func (a *attempts) CloseIdleConnections() {
	if c, ok := a.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// ended says how a request ended.
func ended(span trace.Span, resp *http.Response, err error) {
	if err == nil {
		span.SetAttributes(semconv.HTTPResponseStatusCode(resp.StatusCode))
		if resp.StatusCode >= 400 {
			span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(resp.StatusCode)))
			span.SetStatus(codes.Error, "") // the status code says it
		}
		return
	}
	switch refused, request := answer.Of(err); {
	case refused != nil:
		span.SetAttributes(attrStep.String(string(refused.Verdict.Step)), attrReason.String(string(refused.Verdict.Reason)))
		failed(span, string(refused.Verdict.Reason))
	case request != nil:
		span.SetAttributes(attrStep.String(string(request.Verdict.Step)), attrReason.String(string(request.Verdict.Reason)))
		failed(span, string(request.Class))
	case errors.Is(err, context.Canceled):
		failed(span, "canceled")
	case errors.Is(err, context.DeadlineExceeded):
		failed(span, "timeout")
	default:
		failed(span, classOf(err))
	}
}

// method is one of the known ones, so that no caller makes up names of spans.
func method(req *http.Request) attribute.KeyValue {
	switch req.Method {
	case "":
		return semconv.HTTPRequestMethodGet
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return semconv.HTTPRequestMethodKey.String(req.Method)
	}
	return semconv.HTTPRequestMethodOther
}

// portOf is the port of a URL, 0 where it names none and the scheme has none.
func portOf(u *url.URL) int {
	port, err := strconv.Atoi(u.Port())
	switch {
	case err == nil:
		return port
	case u.Scheme == "http":
		return 80
	case u.Scheme == "https":
		return 443
	}
	return 0
}

// name is the method: a path would make as many names as there are objects.
func name(req *http.Request) string {
	if m := method(req); m != semconv.HTTPRequestMethodOther {
		return m.Value.AsString()
	}
	return "HTTP"
}
