package statefile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestHeaderIsReadable(t *testing.T) {
	path := temp(t)
	put(t, open(t, path, Options{Name: "upstream \"a\"\n"}), `{"attempts":[]}`)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(string(b), "\n")
	require.Len(t, lines, 9)
	assert.Equal(t, "tokenguard-state 1 835a385c", lines[0])
	assert.Equal(t, `name: "upstream \"a\"\n"`, lines[1])
	assert.Regexp(t, `^lineage: [0-9a-f]{16}$`, lines[2])
	assert.Equal(t, []string{"losses: 0", "revision: 1", "length: 15"}, lines[3:6])
	assert.Regexp(t, `^sha256: [0-9a-f]{64}$`, lines[6])
	assert.Equal(t, []string{"", `{"attempts":[]}`}, lines[7:])
}

func TestDecodeReadsWhatEncodeWrote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := document{
			name:    rapid.String().Draw(t, "name"),
			lineage: newLineage(),
			losses:  rapid.IntRange(0, 9).Draw(t, "losses"),
			rev:     rapid.Uint64Range(1, maxRev).Draw(t, "rev"),
			data:    rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "data"),
		}
		got, err := decode(d.encode())
		require.NoError(t, err)
		require.Equal(t, d, got)
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(document{name: "n", lineage: newLineage(), rev: 3, data: []byte("x")}.encode())
	f.Add([]byte(versionLine(2) + "whatever"))
	f.Add([]byte(firstLine + "\n"))
	f.Add([]byte(firstLine + "name: \"n\"\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := decode(b); err == nil && string(d.encode()) != string(b) {
			t.Errorf("decoded %q, which encode does not write", b)
		}
	})
}

// TestEveryBitFlipIsDamage: not one is read as whole, nor as a newer version.
func TestEveryBitFlipIsDamage(t *testing.T) {
	whole := document{name: "n", lineage: newLineage(), losses: 1, rev: 7, data: []byte("some data")}.encode()
	for i := range whole {
		for bit := range 8 {
			b := []byte(string(whole))
			b[i] ^= 1 << bit
			_, err := decode(b)
			require.ErrorIs(t, err, errDamaged, "byte %d bit %d", i, bit)
		}
	}
}

// damageEvery writes each variant of a committed data file in turn and checks
// what a new process makes of it.
func damageEvery(t *testing.T, variants func(whole []byte) [][]byte) {
	for _, lockLost := range []bool{false, true} {
		path := temp(t)
		f := open(t, path, Options{})
		put(t, f, "one")
		put(t, f, "two")
		whole, err := os.ReadFile(path)
		require.NoError(t, err)
		lock, err := os.ReadFile(path + lockSuffix)
		require.NoError(t, err)
		for i, b := range variants(whole) {
			require.NoError(t, os.WriteFile(path, b, 0o600))
			require.NoError(t, os.WriteFile(path+lockSuffix, lock, 0o600))
			if lockLost {
				require.NoError(t, os.Remove(path+lockSuffix))
			}
			var events []Event
			g := open(t, path, Options{noFileSync: true, noFolderSync: true, OnEvent: func(e Event) { events = append(events, e) }})
			got := view(t, g)
			require.Nil(t, got.Data, i)
			require.NotEmpty(t, got.Epoch, i)
			require.NotZero(t, got.Rev, i)
			if !lockLost {
				require.Equal(t, uint64(3), got.Rev, i)
			}
			require.Len(t, events, 1, i)
			require.Equal(t, EventDamaged, events[0].Kind, i)
			aside, err := os.ReadFile(filepath.Join(filepath.Dir(path), events[0].Aside))
			require.NoError(t, err)
			require.Equal(t, b, aside, i)
			require.Equal(t, got, view(t, open(t, path, Options{})), i)
		}
	}
}

func TestTruncatedAtEveryByte(t *testing.T) {
	damageEvery(t, func(whole []byte) (all [][]byte) {
		for n := range whole {
			all = append(all, whole[:n:n])
		}
		return all
	})
}

func TestDamagedAtEveryByte(t *testing.T) {
	damageEvery(t, func(whole []byte) (all [][]byte) {
		for i := range whole {
			b := []byte(string(whole))
			b[i] ^= 1 << (i % 8)
			all = append(all, b)
		}
		return append(all, append([]byte(string(whole)), 'x'), make([]byte, len(whole)), make([]byte, maxHeader+MaxData+1))
	})
}

// TestLockFileDamagedAtEveryByte: the document stays what it is, and the next
// commit writes a whole lock file again.
func TestLockFileDamagedAtEveryByte(t *testing.T) {
	path := temp(t)
	f := open(t, path, Options{})
	put(t, f, "one")
	put(t, f, "two")
	lock, err := os.ReadFile(path + lockSuffix)
	require.NoError(t, err)
	var variants [][]byte
	for i := range lock {
		b := []byte(string(lock))
		b[i] ^= 1 << (i % 8)
		variants = append(variants, b, lock[:i:i])
	}
	for i, b := range variants {
		require.NoError(t, os.WriteFile(path+lockSuffix, b, 0o600))
		g := open(t, path, Options{noFileSync: true, noFolderSync: true})
		got := view(t, g)
		require.Equal(t, "two", string(got.Data), i)
		require.Empty(t, got.Epoch, i)
		rev, err := g.Generation(t.Context())
		require.NoError(t, err)
		require.Equal(t, got.Rev, rev, i)
		require.Equal(t, got.Rev+1, put(t, g, "two").Rev, i)
		info, err := os.Stat(path + lockSuffix)
		require.NoError(t, err)
		require.EqualValues(t, 2*recordSize, info.Size(), i)
	}
}

func TestNewerVersionIsNeverOverwritten(t *testing.T) {
	path := temp(t)
	f := open(t, path, Options{})
	put(t, f, "x")
	future := []byte(versionLine(2) + "some other layout")
	require.NoError(t, os.WriteFile(path, future, 0o600))
	var version *VersionError
	_, err := f.View(t.Context())
	require.ErrorAs(t, err, &version)
	assert.Equal(t, VersionError{Path: path, Version: 2}, *version)
	_, err = f.Update(t.Context(), increment)
	require.ErrorAs(t, err, &version)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, future, b)
	assert.Empty(t, f.siblings(isAside))
}

func TestOtherNameIsRefused(t *testing.T) {
	path := temp(t)
	put(t, open(t, path, Options{Name: "alpha"}), "x")
	f := open(t, path, Options{Name: "beta"})
	_, err := f.View(t.Context())
	var name *NameError
	require.ErrorAs(t, err, &name)
	assert.ErrorContains(t, err, `"alpha"`)
	assert.ErrorContains(t, err, `"beta"`)
	_, err = f.Update(t.Context(), increment)
	require.ErrorAs(t, err, &name)
	assert.Equal(t, "x", string(view(t, open(t, path, Options{Name: "alpha"})).Data))
}

// A path by mistake: somebody else's file stays what it is, until a generation says that a state file lay there.
func TestForeignFileIsNeverTouched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.json")
	theirs := []byte("root:x:0:0:root:/root:/bin/sh\n")
	require.NoError(t, os.WriteFile(path, theirs, 0o600))
	f := open(t, path, Options{})
	var foreign *ForeignError
	_, err := f.View(t.Context())
	require.ErrorAs(t, err, &foreign)
	assert.Equal(t, path, foreign.Path)
	_, err = f.Update(t.Context(), increment)
	require.ErrorAs(t, err, &foreign)
	r, err := Inspect(path)
	require.NoError(t, err)
	assert.Empty(t, r.Lost)
	require.ErrorAs(t, r.Problem, &foreign)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, theirs, b)
	assert.Empty(t, f.siblings(isAside))

	require.NoError(t, os.Remove(path))
	put(t, f, "x")
	require.NoError(t, os.WriteFile(path, theirs, 0o600))
	assert.NotEmpty(t, view(t, open(t, path, Options{})).Epoch, "damaged")
}
