// Package peers puts tokenguard and the libraries that people use in its place behind one interface, each set up as its
// own documentation shows, so that they can be measured on the same work.
package peers

import (
	"context"
	"errors"
	"time"

	"cloud.google.com/go/auth"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/cachepolicy"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/ratelimiter"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jellydator/ttlcache/v3"
	"github.com/maypok86/otter/v2"
	"github.com/sony/gobreaker/v2"
	"github.com/viccon/sturdyc"
	"golang.org/x/oauth2"

	"github.com/tokenguard/tokenguard"
)

// Source is the upstream: it mints a token that lasts for lifetime.
type Source func(ctx context.Context) (value string, lifetime time.Duration, err error)

// Holder is a peer that was set up.
type Holder struct {
	// Get returns a token's value for the key. Peers without keys ignore it.
	Get func(ctx context.Context, key string) (string, error)
	// Again drops the token with this value, with which a call got a 401, and gets one. Nil: the peer has no such call.
	Again func(ctx context.Context, key, value string) (string, error)
	// Worked tells the peer that a call with this value succeeded. Nil: it does not ask.
	Worked func(ctx context.Context, value string)
	// Close ends what runs.
	Close func()
}

// dropping is a Holder whose drop is unconditional.
func dropping(get func(context.Context, string) (string, error), drop func(key string)) Holder {
	return Holder{Get: get, Again: func(ctx context.Context, key, _ string) (string, error) {
		drop(key)
		return get(ctx, key)
	}}
}

// Peer is one way to hold a token.
type Peer struct {
	Name string
	// New sets the peer up; refresh is how long before its end a token is renewed, where the peer has such a
	// setting; dir is a folder that outlives it, for those that keep state.
	New func(source Source, refresh time.Duration, dir string) Holder
	// Refreshes says that New honours refresh.
	Refreshes bool
}

const lifetime = time.Hour

// All are the peers, tokenguard first.
var All = []Peer{
	Guard(nil),
	{Name: "oauth2 ReuseTokenSource", New: reuse, Refreshes: true},
	{Name: "AWS CredentialsCache", New: credentials, Refreshes: true},
	{Name: "cloud/auth cached", New: cloud, Refreshes: true},
	{Name: "otter", New: loadingOtter},
	{Name: "sturdyc", New: fetchingSturdyc},
	{Name: "ttlcache", New: loadingTTL},
	{Name: "golang-lru by hand", New: handLRU},
	{Name: "failsafe-go stack", New: failsafeStack},
	{Name: "gobreaker over golang-lru", New: breakerLRU},
}

// Guard is tokenguard on a clock; nil: the system's.
func Guard(clock tokenguard.Clock) Peer {
	return Peer{Name: "tokenguard", Refreshes: true, New: func(source Source, refresh time.Duration, dir string) Holder {
		opts := []tokenguard.Option{tokenguard.WithRefreshAhead(refresh)}
		if clock != nil {
			opts = append(opts, tokenguard.WithClock(clock))
		}
		return guard(source, dir, opts)
	}}
}

func guard(source Source, dir string, opts []tokenguard.Option) Holder {
	if dir != "" {
		opts = append(opts, tokenguard.WithStateFile(dir+"/state"))
	}
	g, err := tokenguard.New(func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
		value, lasts, err := source(ctx)
		return tokenguard.NewTokenIn(value, lasts), err
	}, opts...)
	must(err)
	return Holder{
		Get: func(ctx context.Context, key string) (string, error) {
			grant, err := g.Acquire(ctx, tokenguard.Request{Scope: key})
			return grant.Token.Value(), err
		},
		Again: func(ctx context.Context, key, value string) (string, error) {
			grant, err := g.Acquire(ctx, tokenguard.Request{Scope: key, Failing: value,
				Failure: tokenguard.Failure{StatusCode: 401, Message: "token revoked"}})
			return grant.Token.Value(), err
		},
		Worked: func(ctx context.Context, value string) { _ = g.Report(ctx, tokenguard.Outcome{TokenID: value}) },
		Close:  func() { _ = g.Close() },
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Peers that hold a token, to be called through their own functions: those that have one for it.
type Peers struct {
	Otter  *otter.Cache[string, string]
	Loader otter.Loader[string, string]
	AWS    *aws.CredentialsCache
	OAuth2 oauth2.TokenSource
	Cloud  auth.TokenProvider
}

// Own sets them up.
func Own(source Source) *Peers {
	p := &Peers{AWS: awsCache(source, 0), OAuth2: reusing(source, 0), Cloud: cloudCache(source, 0)}
	p.Otter, p.Loader = otterCache(source)
	return p
}

// Close ends what runs.
func (p *Peers) Close() { p.Otter.StopAllGoroutines() }

type oauthSource struct{ source Source }

func (s oauthSource) Token() (*oauth2.Token, error) {
	value, lasts, err := s.source(context.Background())
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: value, Expiry: time.Now().Add(lasts)}, nil
}

func reusing(source Source, refresh time.Duration) oauth2.TokenSource {
	return oauth2.ReuseTokenSourceWithExpiry(nil, oauthSource{source}, max(refresh, 10*time.Second))
}

func reuse(source Source, refresh time.Duration, _ string) Holder {
	ts := reusing(source, refresh)
	return Holder{Get: func(context.Context, string) (string, error) {
		t, err := ts.Token()
		if err != nil {
			return "", err
		}
		return t.AccessToken, nil
	}}
}

func awsCache(source Source, refresh time.Duration) *aws.CredentialsCache {
	return aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		value, lasts, err := source(ctx)
		return aws.Credentials{AccessKeyID: "id", SecretAccessKey: value, CanExpire: true, Expires: time.Now().Add(lasts)}, err
	}), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = refresh })
}

func credentials(source Source, refresh time.Duration, _ string) Holder {
	cache := awsCache(source, refresh)
	return dropping(func(ctx context.Context, _ string) (string, error) {
		c, err := cache.Retrieve(ctx)
		return c.SecretAccessKey, err
	}, func(string) { cache.Invalidate() })
}

type cloudSource struct{ source Source }

func (s cloudSource) Token(ctx context.Context) (*auth.Token, error) {
	value, lasts, err := s.source(ctx)
	if err != nil {
		return nil, err
	}
	return &auth.Token{Value: value, Expiry: time.Now().Add(lasts)}, nil
}

func cloudCache(source Source, refresh time.Duration) auth.TokenProvider {
	// Its refresh in the background would be counted after the fact: block instead.
	return auth.NewCachedTokenProvider(cloudSource{source}, &auth.CachedTokenProviderOptions{ExpireEarly: refresh, DisableAsyncRefresh: true})
}

func cloud(source Source, refresh time.Duration, _ string) Holder {
	provider := cloudCache(source, refresh)
	return Holder{Get: func(ctx context.Context, _ string) (string, error) {
		t, err := provider.Token(ctx)
		if err != nil {
			return "", err
		}
		return t.Value, nil
	}}
}

func otterCache(source Source) (*otter.Cache[string, string], otter.Loader[string, string]) {
	cache := otter.Must(&otter.Options[string, string]{MaximumSize: 100_000, ExpiryCalculator: otter.ExpiryWriting[string, string](lifetime), Logger: &otter.NoopLogger{}})
	load := otter.LoaderFunc[string, string](func(ctx context.Context, _ string) (string, error) {
		value, _, err := source(ctx)
		return value, err
	})
	return cache, load
}

func loadingOtter(source Source, _ time.Duration, _ string) Holder {
	cache, load := otterCache(source)
	h := dropping(func(ctx context.Context, key string) (string, error) { return cache.Get(ctx, key, load) },
		func(key string) { cache.Invalidate(key) })
	h.Close = func() { cache.StopAllGoroutines() }
	return h
}

func fetchingSturdyc(source Source, _ time.Duration, _ string) Holder {
	cache := sturdyc.New[string](100_000, 16, lifetime, 10, sturdyc.WithNoContinuousEvictions())
	fetch := func(ctx context.Context) (string, error) {
		value, _, err := source(ctx)
		return value, err
	}
	return dropping(func(ctx context.Context, key string) (string, error) { return cache.GetOrFetch(ctx, key, fetch) }, cache.Delete)
}

var errNone = errors.New("no token")

func loadingTTL(source Source, _ time.Duration, _ string) Holder {
	loader := ttlcache.LoaderFunc[string, string](func(c *ttlcache.Cache[string, string], key string) *ttlcache.Item[string, string] {
		value, lasts, err := source(context.Background())
		if err != nil {
			return nil
		}
		return c.Set(key, value, lasts)
	})
	cache := ttlcache.New(ttlcache.WithTTL[string, string](lifetime), ttlcache.WithLoader(ttlcache.NewSuppressedLoader(loader, nil)))
	return dropping(func(_ context.Context, key string) (string, error) {
		item := cache.Get(key)
		if item == nil {
			return "", errNone
		}
		return item.Value(), nil
	}, cache.Delete)
}

type held struct {
	value string
	until time.Time
}

func handLRU(source Source, _ time.Duration, _ string) Holder {
	cache, err := lru.New[string, held](100_000)
	must(err)
	return dropping(func(ctx context.Context, key string) (string, error) {
		if h, ok := cache.Get(key); ok && time.Now().Before(h.until) {
			return h.value, nil
		}
		value, lasts, err := source(ctx)
		if err == nil {
			cache.Add(key, held{value, time.Now().Add(lasts)})
		}
		return value, err
	}, func(key string) { cache.Remove(key) })
}

type lruCache struct{ cache *lru.Cache[string, held] }

func (c lruCache) Get(key string) (string, bool) {
	h, ok := c.cache.Get(key)
	return h.value, ok && time.Now().Before(h.until)
}

func (c lruCache) Set(key, value string) { c.cache.Add(key, held{value, time.Now().Add(lifetime)}) }

// failsafeStack is a cache, a circuit breaker with its defaults' shape (5 failures, 1 minute) and a limiter of 3 an hour.
func failsafeStack(source Source, _ time.Duration, _ string) Holder {
	cache, err := lru.New[string, held](100_000)
	must(err)
	stack := failsafe.With[string](
		cachepolicy.NewBuilder[string](lruCache{cache}).Build(),
		circuitbreaker.NewBuilder[string]().WithFailureThreshold(5).WithDelay(time.Minute).Build(),
		ratelimiter.NewBursty[string](3, time.Hour),
	)
	return dropping(func(ctx context.Context, key string) (string, error) {
		return stack.WithContext(cachepolicy.ContextWithCacheKey(ctx, key)).GetWithExecution(func(failsafe.Execution[string]) (string, error) {
			value, _, err := source(ctx)
			return value, err
		})
	}, func(key string) { cache.Remove(key) })
}

func breakerLRU(source Source, _ time.Duration, _ string) Holder {
	cache, err := lru.New[string, held](100_000)
	must(err)
	breaker := gobreaker.NewCircuitBreaker[string](gobreaker.Settings{}) // 6 failures in a row open it for a minute
	return dropping(func(ctx context.Context, key string) (string, error) {
		if h, ok := cache.Get(key); ok && time.Now().Before(h.until) {
			return h.value, nil
		}
		return breaker.Execute(func() (string, error) {
			value, lasts, err := source(ctx)
			if err == nil {
				cache.Add(key, held{value, time.Now().Add(lasts)})
			}
			return value, err
		})
	}, func(key string) { cache.Remove(key) })
}
