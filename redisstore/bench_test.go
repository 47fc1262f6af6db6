package redisstore

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
	"golang.org/x/sync/errgroup"
)

// BenchmarkUpdate commits a document of 16 KiB, from as many Stores as the name says, all the time.
func BenchmarkUpdate(b *testing.B) {
	server := startServer(b)
	document := bytes.Repeat([]byte("x"), 16<<10)
	for _, stores := range []int{1, 8} {
		b.Run(fmt.Sprint(stores), func(b *testing.B) {
			b.ReportAllocs()
			var group errgroup.Group
			for i := range stores {
				s := newStore(b, server.client(), WithTimeout(maxTimeout))
				group.Go(func() error {
					for n := i; n < b.N; n += stores {
						if _, err := s.Update(b.Context(), "n", func(tokenguard.Snapshot) ([]byte, error) {
							return document, nil
						}); err != nil {
							return err
						}
					}
					return nil
				})
			}
			require.NoError(b, group.Wait())
		})
	}
}

// BenchmarkView looks at a document of 16 KiB that did not change.
func BenchmarkView(b *testing.B) {
	s := newStore(b, startServer(b).client())
	_, err := s.Update(b.Context(), "n", func(tokenguard.Snapshot) ([]byte, error) {
		return bytes.Repeat([]byte("x"), 16<<10), nil
	})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.View(b.Context(), "n"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHit gets a token that is there, from a guard with Redis behind it and from one with nothing. Its floor is an
// atomic load, a monotonic reading and a compare.
func BenchmarkHit(b *testing.B) {
	request := func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.NewTokenIn("a token of the benchmark", time.Hour), nil
	}
	each := func(name string, f func() (string, error)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if value, err := f(); err != nil || value[len(value)-1] == 0 {
						panic(err)
					}
				}
			})
		})
	}
	base := time.Now()
	var floor atomic.Pointer[string]
	value := "a token of the benchmark"
	floor.Store(&value)
	each("floor-monotonic", func() (string, error) {
		value := floor.Load()
		if time.Since(base) >= time.Hour {
			return "", context.DeadlineExceeded
		}
		return *value, nil
	})
	for _, behind := range []struct {
		name string
		opts []tokenguard.Option
	}{
		{"memory", nil},
		{"Redis", []tokenguard.Option{tokenguard.WithStore(newStore(b, startServer(b).client())), tokenguard.WithName("n")}},
	} {
		g, err := tokenguard.New(request, behind.opts...)
		require.NoError(b, err)
		b.Cleanup(func() { _ = g.Close() })
		each(behind.name+"/Token", func() (string, error) {
			t, err := g.Token(b.Context())
			return t.Value(), err
		})
		each(behind.name+"/Acquire", func() (string, error) {
			grant, err := g.Acquire(b.Context(), tokenguard.Request{Caller: "caller"})
			return grant.Token.Value(), err
		})
	}
}

// Many processes that commit at the same instant all get through, because who meets others spreads out.
func TestWritersAtOnce(t *testing.T) {
	long(t)
	server := startServer(t)
	document := bytes.Repeat([]byte("x"), 16<<10)
	for _, n := range []int{10, 50, 200} {
		var group errgroup.Group
		start := make(chan struct{})
		for range n {
			s := newStore(t, server.client(), WithTimeout(maxTimeout))
			view(t, s)
			group.Go(func() error {
				<-start
				_, err := s.Update(t.Context(), "n", func(tokenguard.Snapshot) ([]byte, error) { return document, nil })
				return err
			})
		}
		began := time.Now()
		close(start)
		require.NoError(t, group.Wait())
		t.Logf("%d writers at once: all done after %v", n, time.Since(began).Round(time.Millisecond))
	}
}
