package statefile

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A file is what this process wrote if each byte is, and not otherwise.
func TestWhatWasWrittenIsComparedByteByByte(t *testing.T) {
	path := temp(t)
	f := open(t, path, Options{noFileSync: true, noFolderSync: true})
	for _, size := range []int{1, 200, 3*compared + 1} {
		put(t, f, string(bytes.Repeat([]byte{'x'}, size)))
		known := f.known.Load()
		require.NotNil(t, known)
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		whole, err := os.ReadFile(path)
		require.NoError(t, err)
		length := int64(len(whole))
		require.True(t, known.isIn(file, length))
		for i := range whole {
			if i > 400 && i < len(whole)-2 && i%compared > 1 && i%compared < compared-2 {
				continue // within a stretch one byte is as good as the next
			}
			_, err := file.WriteAt([]byte{whole[i] ^ 1}, int64(i))
			require.NoError(t, err)
			require.False(t, known.isIn(file, length), i)
			_, err = file.WriteAt(whole[i:i+1], int64(i))
			require.NoError(t, err)
		}
		require.True(t, known.isIn(file, length))
		require.False(t, known.isIn(file, length+1))
		require.NoError(t, file.Truncate(length-1))
		require.False(t, known.isIn(file, length-1))
		require.False(t, known.isIn(file, length), "it became shorter meanwhile")
		require.NoError(t, file.Close())
		f = open(t, temp(t), f.opts)
		path = f.path
	}
}

// What a commit leaves behind is believed for as long as the file holds it: damage to its own last document is noticed by
// the process that wrote it, and the commits of others are read.
func TestAProcessBelievesItsOwnCommitNoLongerThanTheFileHoldsIt(t *testing.T) {
	path := temp(t)
	opts := Options{noFileSync: true, noFolderSync: true}
	a, b := open(t, path, opts), open(t, path, opts)
	read := func(f *File) (got string) {
		t.Helper()
		_, err := f.Update(t.Context(), func(s Snapshot) ([]byte, error) { got = string(s.Data); return nil, nil })
		require.NoError(t, err)
		return got
	}
	put(t, a, "one")
	assert.Equal(t, "one", read(a))
	put(t, b, "two")
	assert.Equal(t, "two", read(a))
	put(t, a, "three")
	require.NotNil(t, a.known.Load())
	put(t, b, "four!")
	assert.Equal(t, "four!", string(view(t, a).Data))
	assert.Nil(t, a.known.Load(), "it takes up memory and is of no use any more")
	assert.NotNil(t, b.known.Load())
	view(t, b)
	assert.NotNil(t, b.known.Load())

	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	whole[len(whole)-2] ^= 4
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	var events []Event
	b.opts.OnEvent = func(e Event) { events = append(events, e) }
	assert.Empty(t, read(b))
	require.Len(t, events, 1)
	assert.Equal(t, EventDamaged, events[0].Kind)
	require.NoError(t, b.Close())
	assert.Nil(t, b.known.Load())
}
