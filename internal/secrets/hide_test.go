package secrets

import (
	"fmt"
	"strings"
	"sync"
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

// A secret whose beginning gave way to later ones is looked for as it is, from the next text on.
func TestHideWhatGaveWayInTheWindows(t *testing.T) {
	k, err := NewKeeper("x", nil, 0, func(string) {})
	require.NoError(t, err)
	first := New("the first of very many")
	k.Register(first)
	for i := range windowsKept - 1 {
		k.Register(New(fmt.Sprintf("%d comes after it", i)))
	}
	k.Register(first) // among the last again, and its beginning is the next that goes
	text := "bearer " + first.Value + " is dead"
	require.Equal(t, "bearer "+first.ID+" is dead", k.Hide(text))
	assert.Empty(t, k.short().secrets)
	k.windows.add("the beginning of one that is not listed yet", "tk_0")
	require.False(t, k.windows.findAll(first))
	require.Equal(t, "bearer "+first.ID+" is dead", k.Hide(text))
	assert.Equal(t, []*Secret{first}, k.short().secrets)
}

// What the windows do not find must be looked for: a value that is too short for them, and a secret with such a part.
func TestShortSecretsAreLookedForAsTheyAre(t *testing.T) {
	k, err := NewKeeper("x", nil, 0, func(string) {})
	require.NoError(t, err)
	long, short := New("value-alpha-bravo"), New("abc-12")
	part := &Secret{Value: "value-golf-hotel", ID: ID("value-golf-hotel"), Further: map[string]string{"pin": "99-88"}}
	for _, s := range []*Secret{long, short, part} {
		k.Register(s)
	}
	assert.ElementsMatch(t, []string{short.ID, ID("99-88"), part.ID}, ids(k.short().secrets))
	assert.Equal(t, long.ID+" "+short.ID+" "+part.ID+" "+ID("99-88"), k.Hide(long.Value+" "+short.Value+" "+part.Value+" 99-88"))
}

func ids(secrets []*Secret) (ids []string) {
	for _, s := range secrets {
		ids = append(ids, s.ID)
	}
	return ids
}

// A caller that has registered a short secret finds it hidden, also where another is registering it at that moment.
func TestRegisteredAtOnce(t *testing.T) {
	k, err := NewKeeper("x", nil, 0, func(string) {})
	require.NoError(t, err)
	long := strings.Repeat("-", 16<<10) // without letters to find it by, and registering takes its time
	for i := range 60 {
		s := New(fmt.Sprintf("%s%03d", long, i))
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				k.Hide("a text") // lists what is known
				k.Register(s)
				if text := k.Hide("a " + s.Value); text != "a "+s.ID {
					t.Error("it is not hidden")
				}
			})
		}
		all.Wait()
	}
}
