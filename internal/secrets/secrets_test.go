package secrets

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/ledger"
)

// Whatever bytes a secret has, another process reads it from the encoded record as it was.
func TestRecordsHoldAnyBytes(t *testing.T) {
	for name, keys := range map[string][][]byte{"plain": nil, "sealed": {bytes.Repeat([]byte{1}, 32)}} {
		for _, word := range []string{"plain", "\xff\xfe", "<&>\u2028\"\\", "caf\xe9"} {
			write, err := NewKeeper("x", keys, 0, func(string) {})
			require.NoError(t, err)
			s := New("value " + word)
			s.Refresh, s.Further = "refresh "+word, map[string]string{"id": "further " + word}
			r := &ledger.Token{ID: s.ID}
			write.Seal(r, s)
			text, err := json.Marshal(r)
			require.NoError(t, err)
			stored := &ledger.Token{}
			require.NoError(t, json.Unmarshal(text, stored))
			stored.ID = s.ID

			read, err := NewKeeper("x", keys, 0, func(string) {})
			require.NoError(t, err)
			got, ok := read.Open(stored)
			require.True(t, ok, "%s %q", name, word)
			assert.Equal(t, s, got)
		}
	}
}
