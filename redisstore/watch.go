package redisstore

import (
	"context"

	"github.com/tokenguard/tokenguard"
)

var (
	_ tokenguard.Watcher    = (*Store)(nil)
	_ tokenguard.Revisioner = (*Store)(nil)
)

// Watch hints at each commit of the document, from any process, until ctx or the Store ends. It subscribes to the
// channel on which commits are announced, over a connection of its own. Hints are lost while that connection is down, or
// if the user may not subscribe; one comes when it is up (again), since a commit may have been missed.
func (s *Store) Watch(ctx context.Context, name string) <-chan struct{} {
	hints := make(chan struct{}, 1)
	go func() {
		defer close(hints)
		subscription := s.client.Subscribe(ctx, s.channel(name))
		defer subscription.Close()
		messages := subscription.ChannelWithSubscriptions()
		for {
			select {
			case _, open := <-messages:
				if !open {
					return
				}
			case <-ctx.Done():
				return
			case <-s.closed:
				return
			}
			select {
			case hints <- struct{}{}:
			default:
			}
		}
	}()
	return hints
}
