package secrets

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is registered and what a source yields is taken out, however many there are and whenever they come.
func TestHide(t *testing.T) {
	k, err := NewKeeper("x", nil, 0, func(string) {})
	require.NoError(t, err)
	var source []*Secret
	k.AddSource(func(yield func(*Secret) bool) {
		for _, s := range source {
			if !yield(s) {
				return
			}
		}
	})
	clean := "an upstream said something long about nobody's token, " + strings.Repeat("again and again. ", 50)
	assert.Equal(t, clean, k.Hide(clean))
	for i := range 2 * seenKept {
		s := New(fmt.Sprintf("word-%d-of-many", i))
		require.Equal(t, "not yet: "+s.Value, k.Hide("not yet: "+s.Value))
		if k.Register(s); i%2 == 0 {
			source = append(source, s)
		}
		require.Equal(t, "bearer "+s.ID+" is dead", k.Hide("bearer "+s.Value+" is dead"), "%d", i)
	}
	for _, s := range source {
		require.Equal(t, s.ID+" "+s.ID, k.Hide(s.Value+" "+s.Value), "also when it was registered long ago")
	}
	assert.Equal(t, clean, k.Hide(clean))
	if !raceDetector { // under which a sync.Pool forgets
		assert.Zero(t, testing.AllocsPerRun(100, func() { k.Hide(clean) }))
	}
}

// What a source yields is hidden with its parts, however long ago it was registered.
func TestHideThePartsOfASource(t *testing.T) {
	k, err := NewKeeper("x", nil, 0, func(string) {})
	require.NoError(t, err)
	held := &Secret{Value: "value-alpha-bravo", ID: ID("value-alpha-bravo"), Refresh: "refresh-delta-echo", Further: map[string]string{"c": "cookie-golf-hotel"}}
	k.AddSource(func(yield func(*Secret) bool) { yield(held) })
	for _, value := range []string{held.Value, held.Refresh, held.Further["c"]} {
		require.Equal(t, "a "+ID(value), k.Hide("a "+value))
	}
}
