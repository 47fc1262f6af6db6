package statefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// plant writes files of another program and returns a check that they are as they were.
func plant(t *testing.T, files map[string]string) (untouched func()) {
	t.Helper()
	before := map[string]os.FileInfo{}
	for path, content := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		info, err := os.Stat(path)
		require.NoError(t, err)
		before[path] = info
	}
	return func() {
		t.Helper()
		for path, content := range files {
			b, err := os.ReadFile(path)
			if assert.NoError(t, err) {
				assert.Equal(t, content, string(b), path)
			}
			if info, err := os.Stat(path); assert.NoError(t, err) {
				assert.True(t, os.SameFile(before[path], info), "%s was replaced", path)
			}
		}
	}
}

// Another program's file in the place of the lock file: no method writes into it, neither where the state is new nor
// where it has been there for long, and every error names it.
func TestForeignLockFileIsNeverTouched(t *testing.T) {
	contents := map[string]string{
		"text":              "# yarn lockfile v1\n\nleft-pad@^1.0.0:\n  version \"1.3.0\"\n",
		"one letter":        "7\n",
		"long":              strings.Repeat("0123456789abcdef\n", 100),
		"begins as ours":    "tokenguard-lock is a word that this text begins with, and goes on with others\n",
		"holder's name":     "locked by process 17\n",
		"ours, and more":    string(mark{}.encode()) + fmt.Sprintf("%-61s -\n", "locked by process 17") + "a note",
		"state of ours":     string(document{name: "other", lineage: "0123456789abcdef", rev: 3, data: []byte("{}")}.encode()),
		"newer state":       versionLine(2) + "some other layout",
		"empty":             "",
		"zeros":             strings.Repeat("\x00", 2*recordSize),
		"the magic, no end": lockMagic,
	}
	for what, content := range contents {
		for _, settled := range []bool{false, true} {
			if settled && claimOf([]byte(content)) == claimRemains {
				continue // what damage leaves of a lock file, beside a state file: see TestLockFileDamagedAtEveryByte
			}
			t.Run(fmt.Sprintf("%s/settled %v", what, settled), func(t *testing.T) {
				path := temp(t)
				veteran := open(t, path, Options{})
				if settled {
					put(t, veteran, "x")
					require.NoError(t, os.Remove(path+lockSuffix))
				}
				untouched := plant(t, map[string]string{path + lockSuffix: content})
				for _, f := range []*File{open(t, path, Options{}), veteran} {
					_, err := f.Update(t.Context(), func(Snapshot) ([]byte, error) { return []byte("mine"), nil })
					var foreign *ForeignError
					require.ErrorAs(t, err, &foreign)
					assert.Equal(t, path+lockSuffix, foreign.Path)
					assert.ErrorContains(t, err, path+lockSuffix)
					if claimOf([]byte(content)) == claimForeign {
						_, err = f.View(t.Context())
						require.ErrorAs(t, err, &foreign)
						_, err = f.Generation(t.Context())
						require.ErrorAs(t, err, &foreign)
					}
				}
				untouched()
				if !settled {
					assert.NoFileExists(t, path)
				}
				require.NoError(t, os.Remove(path+lockSuffix))
				put(t, veteran, "y")
			})
		}
	}
}

// Two states of which one has the other's lock file's name, in both orders.
func TestStateNamedAsAnotherOnesLockFile(t *testing.T) {
	for _, lockFirst := range []bool{false, true} {
		path := temp(t)
		first, second := open(t, path+lockSuffix, Options{}), open(t, path, Options{})
		if lockFirst {
			first, second = second, first
		}
		put(t, first, "precious")
		for range 2 {
			_, err := second.Update(t.Context(), func(Snapshot) ([]byte, error) { return []byte("mine"), nil })
			var foreign *ForeignError
			require.ErrorAs(t, err, &foreign)
			require.Equal(t, path+lockSuffix, foreign.Path)
		}
		assert.Equal(t, "precious", string(view(t, open(t, first.path, Options{})).Data))
		assert.Empty(t, view(t, first).Epoch)
		put(t, first, "and goes on")
	}
}

// The lock file of another state lies where a generation says that this state was: it is not moved away from under
// the processes that lock it.
func TestLockFileOfAnotherStateIsNotSetAside(t *testing.T) {
	path := temp(t)
	f := open(t, path+lockSuffix, Options{})
	put(t, f, "x")
	require.NoError(t, os.Remove(f.path))
	put(t, open(t, path, Options{}), "other")
	for _, f := range []*File{f, open(t, f.path, Options{})} {
		_, err := f.View(t.Context())
		var foreign *ForeignError
		require.ErrorAs(t, err, &foreign)
	}
	assert.Equal(t, "other", string(view(t, open(t, path, Options{})).Data))
	put(t, open(t, path, Options{}), "goes on")
}

// Files that merely have names like those that the library gives are nobody's to sweep, whatever is in them.
func TestFilesOfLikeNamesStay(t *testing.T) {
	path := temp(t)
	state := string(document{lineage: "0123456789abcdef", rev: 3, data: []byte("{}")}.encode())
	files := map[string]string{}
	for _, suffix := range []string{
		".tmp-notes", ".tmp-", ".tmp-0", ".tmp-0123456789abcdef", ".tmp-0123456789abcdef-notes", ".tmp-0123456789abcdef-00000000",
		".tmp-0123456789abcdef-00000000.lock", ".set-aside-notes", ".set-aside-000000000001", ".set-aside-000000000001-damaged", ".lock.bak", ".lock.tmp-1",
		".set-aside-1-20200101T000000Z-damaged", ".set-aside-000000000001-20200101T000000Z-lost",
	} {
		files[path+suffix] = "precious"
	}
	files[path+".tmp-fedcba9876543210"] = state
	files[path+".set-aside-000000000002"] = state
	for i := range maxAside + 2 { // another program's files, which the library itself moved out of its way, look like this
		files[fmt.Sprintf("%s.set-aside-%012d-20200101T000000Z-damaged", path, i)] = "precious"
	}
	untouched := plant(t, files)
	f := open(t, path, Options{})
	for range maxAside + 3 {
		put(t, f, "x")
		put(t, open(t, path, Options{}), "y")
		require.NoError(t, os.Truncate(path, 10))
		view(t, f)
	}
	untouched()
}

// What another program wrote over the state file is set aside, and never deleted there to make room.
func TestForeignContentIsKept(t *testing.T) {
	path := temp(t)
	f := open(t, path, Options{})
	put(t, f, "x")
	for i := range maxAside + 3 {
		require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, "precious %d\n", i), 0o600))
		put(t, f, "x")
	}
	kept := map[string]bool{}
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(path), e.Name()))
		require.NoError(t, err)
		if strings.HasPrefix(string(b), "precious ") {
			kept[string(b)] = true
		}
	}
	assert.Len(t, kept, maxAside+3)
}

// A file comes to the state's place, or to a name that the library wants, while it works: the newcomer is not replaced.
func TestNewcomerIsNotReplaced(t *testing.T) {
	for _, noLinks := range []bool{false, true} {
		for _, exists := range []bool{false, true} {
			for _, at := range []step{stepCreate, stepRename} {
				t.Run(fmt.Sprintf("no links %v/exists %v/%s", noLinks, exists, at), func(t *testing.T) {
					f := open(t, temp(t), Options{noLinks: noLinks})
					if exists {
						put(t, f, "old")
					}
					done := false
					f.opts.hook = func(s step) error {
						if s == at && !done {
							done = true
							_ = os.Remove(f.path)
							return os.WriteFile(f.path, []byte("precious"), 0o600)
						}
						return nil
					}
					_, err := f.Update(t.Context(), func(Snapshot) ([]byte, error) { return []byte("new"), nil })
					f.opts.hook = nil
					if !exists {
						var foreign *ForeignError
						require.ErrorAs(t, err, &foreign)
						b, err := os.ReadFile(f.path)
						require.NoError(t, err)
						assert.Equal(t, "precious", string(b))
						return
					}
					require.NoError(t, err) // the state was here: the newcomer is set aside
					names, err := filepath.Glob(f.path + ".set-aside-*")
					require.NoError(t, err)
					require.Len(t, names, 1)
					b, err := os.ReadFile(names[0])
					require.NoError(t, err)
					assert.Equal(t, "precious", string(b))
				})
			}
		}
	}
}

// Where there are no links, a name that is wanted for a set-aside file may be taken as well.
func TestSetAsideReplacesNothing(t *testing.T) {
	for _, noLinks := range []bool{false, true} {
		f := open(t, temp(t), Options{noLinks: noLinks})
		put(t, f, "x")
		again := func() {
			_ = os.Remove(f.path)
			require.NoError(t, os.WriteFile(f.path, []byte("again"), 0o600))
		}
		s := &session{f: f}
		made, err := s.setAside(EventDamaged, 7)
		require.NoError(t, err)
		again()
		untouched := plant(t, map[string]string{filepath.Join(f.folder, made): "precious"})
		for range 3 { // within a second the same name comes up again
			other, err := s.setAside(EventDamaged, 7)
			require.NoError(t, err)
			require.NotEqual(t, made, other)
			again()
		}
		untouched()
	}
}

func TestTemporaryNames(t *testing.T) {
	for _, base := range []string{"x", "x.lock", "x" + tempInfix + "y", strings.Repeat("n", maxBase)} {
		name := tempName(base)
		assert.True(t, isTemp(base, name))
		assert.True(t, hasTempName(name))
		assert.LessOrEqual(t, len(name), maxFile)
		for i := len(base); i < len(name); i++ {
			for _, other := range []byte{'0', 'g', name[i] ^ 1} {
				if b := []byte(name); b[i] != other {
					b[i] = other
					assert.False(t, isTemp(base, string(b)), "%s", b)
				}
			}
		}
		assert.False(t, isTemp("y"+base, name))
		assert.False(t, isTemp(base, name+"0"))
		assert.False(t, isTemp(base, name+lockSuffix))
		_, err := Open(filepath.Join(t.TempDir(), name), Options{})
		assert.ErrorContains(t, err, name, "such a state would be swept by the one beside it")
	}
	aside := "x.set-aside-000000000003-20260101T000000Z-damaged"
	assert.True(t, isAside("x", aside))
	_, err := Open(aside, Options{})
	assert.ErrorContains(t, err, aside)
	_, err = Inspect(filepath.Join(t.TempDir(), aside))
	assert.NoError(t, err, "but anybody may look at it")
}

// The bound on the base name: at it, everything works, a loss at the highest revision included; over it Open says so.
func TestBaseNameLength(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("n", maxBase))
	f := open(t, path, Options{})
	put(t, f, "x")
	high := document{lineage: "0123456789abcdef", rev: maxRev - 2, data: []byte("{}")}
	require.NoError(t, os.WriteFile(path, high.encode(), 0o600))
	lost := view(t, f)
	assert.NotEmpty(t, lost.Epoch)
	assert.Equal(t, uint64(maxRev-1), lost.Rev)
	assert.Len(t, f.siblings(isAside), 1)

	_, err := Open(path+"n", Options{})
	require.ErrorContains(t, err, "196 bytes, at most 195 are allowed")
	require.ErrorContains(t, err, path+"n")

	short := open(t, filepath.Join(t.TempDir(), strings.Repeat("n", 100)), Options{nameLimit: func(string) int { return 143 }})
	_, err = short.View(t.Context())
	require.ErrorContains(t, err, "100 bytes, this file system allows 83")
}

// Revisions do not overflow: the state says that it cannot go on, and stays what it is.
func TestHighestRevision(t *testing.T) {
	path := temp(t)
	f := open(t, path, Options{})
	put(t, f, "x")
	write := func(rev uint64) {
		require.NoError(t, os.Remove(path+lockSuffix))
		require.NoError(t, os.WriteFile(path, document{lineage: "0123456789abcdef", rev: rev, data: []byte("high")}.encode(), 0o600))
	}
	write(maxRev)
	f = open(t, path, Options{})
	assert.Equal(t, uint64(maxRev), view(t, f).Rev)
	for range 3 {
		_, err := f.Update(t.Context(), func(Snapshot) ([]byte, error) { return []byte("new"), nil })
		var rev *RevisionError
		require.ErrorAs(t, err, &rev)
		assert.Equal(t, RevisionError{Path: path, Rev: maxRev}, *rev)
	}
	assert.Equal(t, "high", string(view(t, f).Data))
	require.NoError(t, os.Truncate(path, 10))
	_, err := f.View(t.Context())
	var rev *RevisionError
	require.ErrorAs(t, err, &rev)

	write(1<<64 - 1)
	got := view(t, open(t, path, Options{}))
	assert.NotEmpty(t, got.Epoch, "no commits lead there: damaged")
	assert.Less(t, got.Rev, uint64(maxRev))
	assert.Equal(t, got.Rev+1, put(t, open(t, path, Options{}), "y").Rev)
}

// A folder made for the lock file that cannot be written leaves nothing half made behind.
func TestFailedLockFileLeavesNothing(t *testing.T) {
	f := open(t, temp(t), Options{})
	boom := errors.New("boom")
	f.opts.hook = func(s step) error {
		if s == stepMakeLock {
			return boom
		}
		return nil
	}
	_, err := f.Update(t.Context(), increment)
	require.ErrorIs(t, err, boom)
	entries, err := os.ReadDir(f.folder)
	require.NoError(t, err)
	assert.Empty(t, entries)
	f.opts.hook = nil
	put(t, f, "x")
}
