package tokenguard_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// readOnlyStore can be read when it cannot be written.
type readOnlyStore struct {
	mapStore
	full error
}

func (s *readOnlyStore) Update(ctx context.Context, name string, fn func(tokenguard.Snapshot) ([]byte, error)) (tokenguard.Snapshot, error) {
	if s.full != nil {
		return tokenguard.Snapshot{}, s.full
	}
	return s.mapStore.Update(ctx, name, fn)
}

// "If the store cannot be read or written ... usable cached tokens are still served": also those that are due for a
// successor, which cannot be had then.
func TestAcceptStoreDownServesTokensDueForASuccessor(t *testing.T) {
	broken := errors.New("no space left")
	for name, fail := range map[string]func(*readOnlyStore){
		"not read":    func(s *readOnlyStore) { s.set(func() { s.down = broken }) },
		"not written": func(s *readOnlyStore) { s.full = broken },
	} {
		for stretch, test := range map[string]struct {
			age  time.Duration
			opts []tokenguard.Option
		}{
			"its last seconds": {time.Hour - 1, nil},
			"refresh ahead":    {55 * time.Minute, []tokenguard.Option{tokenguard.WithRefreshAhead(10 * time.Minute)}},
		} {
			t.Run(name+", "+stretch, func(t *testing.T) {
				s := &readOnlyStore{}
				u := newUser(t, append(onStore(s), test.opts...)...)
				u.up.lifetime = time.Hour
				token := u.served(acquired, plain).Token
				u.clock.move(test.age)
				fail(s)
				assert.Equal(t, token.ID(), u.served(cached, plain).Token.ID())
				u.clock.set(oddStart.Add(time.Hour))
				_, err := u.Acquire(t.Context(), plain)
				require.ErrorIs(t, err, tokenguard.ErrStore)
				require.ErrorIs(t, err, broken)
				assert.Equal(t, 1, u.up.count())
			})
		}
	}
}
