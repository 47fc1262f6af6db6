package redisstore

import (
	"bytes"
	"fmt"
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
