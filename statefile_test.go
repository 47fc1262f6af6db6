package tokenguard_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/storetest"
)

// The store behind WithStateFile keeps the contract of Store. It holds one document: the one of its guard's name.
func TestStateFileStore(t *testing.T) {
	open := func(t *testing.T, path string) tokenguard.Store {
		store, err := tokenguard.OpenStateFile(path)
		require.NoError(t, err)
		return store
	}
	storetest.Run(t,
		func(t *testing.T) tokenguard.Store { return open(t, filepath.Join(t.TempDir(), "state")) },
		storetest.OneDocument(),
		storetest.Shared(func(t *testing.T) func() tokenguard.Store {
			path := filepath.Join(t.TempDir(), "state")
			return func() tokenguard.Store { return open(t, path) }
		}))
}
