package statefile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o600))
}

// TestLosses: what happens to the files, and what a new process and one that
// was there before make of it.
func TestLosses(t *testing.T) {
	remove := func(t *testing.T, names ...string) {
		for _, name := range names {
			require.NoError(t, os.RemoveAll(name))
		}
	}
	tests := []struct {
		name     string
		fault    func(t *testing.T, path, backup string) // backup: the data file as it was one commit ago
		fresh    EventKind                               // what a new File notices
		veteran  EventKind                               // what a File notices that saw the last commit
		kept     string                                  // the data afterwards
		setAside int
	}{
		{"nothing", func(*testing.T, string, string) {}, intact, intact, "two", 0},
		{"data deleted", func(t *testing.T, path, _ string) { remove(t, path) }, EventDeleted, EventDeleted, "", 0},
		{"rolled back", func(t *testing.T, path, backup string) { copyFile(t, backup, path) }, EventRolledBack, EventRolledBack, "one", 1},
		{"exchanged", func(t *testing.T, path, _ string) {
			other := temp(t)
			f := open(t, other, Options{})
			for range 5 {
				put(t, f, "other")
			}
			copyFile(t, other, path)
		}, EventReplaced, EventReplaced, "other", 1},
		{"damaged", func(t *testing.T, path, _ string) { require.NoError(t, os.Truncate(path, 30)) }, EventDamaged, EventDamaged, "", 1},
		{"lock file deleted", func(t *testing.T, path, _ string) { remove(t, path+lockSuffix) }, intact, intact, "two", 0},
		{"folder deleted", func(t *testing.T, path, _ string) { remove(t, filepath.Dir(path)) }, intact, EventDeleted, "", 0},
		{"folder deleted and begun anew", func(t *testing.T, path, _ string) {
			remove(t, filepath.Dir(path))
			f := open(t, path, Options{})
			for range 5 {
				put(t, f, "anew")
			}
		}, intact, EventReplaced, "anew", 1},
		{"both rolled back", func(t *testing.T, path, backup string) {
			copyFile(t, backup, path)
			remove(t, path+lockSuffix)
		}, intact, EventRolledBack, "one", 1},
	}
	for _, test := range tests {
		for _, who := range []string{"fresh", "veteran"} {
			for _, call := range []string{"View", "Update"} {
				t.Run(test.name+"/"+who+"/"+call, func(t *testing.T) {
					path := temp(t)
					backup := filepath.Join(t.TempDir(), "backup")
					var events []Event
					opts := Options{OnEvent: func(e Event) { events = append(events, e) }}
					veteran := open(t, path, opts)
					put(t, veteran, "one")
					copyFile(t, path, backup)
					last := put(t, veteran, "two")
					test.fault(t, path, backup)

					f, want, kept := veteran, test.veteran, test.kept
					if who == "fresh" {
						f, want = open(t, path, opts), test.fresh
					}
					var got Snapshot
					if call == "View" {
						got = view(t, f)
					} else {
						var err error
						got, err = f.Update(t.Context(), func(Snapshot) ([]byte, error) { return nil, nil })
						require.NoError(t, err)
					}
					assert.Equal(t, kept, string(got.Data))
					if want == intact {
						assert.Empty(t, events)
						assert.Empty(t, got.Epoch)
						return
					}
					require.Len(t, events, 1)
					assert.Equal(t, want, events[0].Kind)
					assert.Equal(t, got.Rev, events[0].Rev)
					assert.Greater(t, got.Rev, last.Rev)
					assert.NotEmpty(t, got.Epoch)
					aside := f.siblings(isAside)
					assert.Len(t, aside, test.setAside)
					if test.setAside > 0 {
						assert.Equal(t, aside[0], events[0].Aside)
					}
					// The loss is noticed once, and the lineage stays.
					next := put(t, open(t, path, opts), "next")
					assert.Equal(t, got.Rev+1, next.Rev)
					assert.Equal(t, got.Epoch, next.Epoch)
					assert.Equal(t, next, view(t, veteran))
					assert.Len(t, events, 1)
				})
			}
		}
	}
}

func TestSetAsideFilesAreBounded(t *testing.T) {
	path := temp(t)
	f := open(t, path, Options{})
	var last Event
	f.opts.OnEvent = func(e Event) { last = e }
	for range maxAside + 3 {
		put(t, f, "x")
		require.NoError(t, os.Truncate(path, 10))
		view(t, f)
	}
	names := f.siblings(isAside)
	assert.Len(t, names, maxAside)
	assert.Equal(t, last.Aside, names[maxAside-1], "the newest is kept")
}

func TestGenerationFollowsOthersAndTheirLosses(t *testing.T) {
	path := temp(t)
	a, b := open(t, path, Options{}), open(t, path, Options{})
	generation := func(f *File) uint64 {
		t.Helper()
		rev, err := f.Generation(t.Context())
		require.NoError(t, err)
		return rev
	}
	put(t, a, "x")
	assert.Equal(t, uint64(1), generation(b))
	put(t, a, "y")
	assert.Equal(t, uint64(2), generation(b))
	require.NoError(t, os.Remove(path+lockSuffix))
	assert.Equal(t, uint64(2), generation(b))
	put(t, a, "z")
	assert.Equal(t, uint64(3), generation(b))
	require.NoError(t, os.RemoveAll(filepath.Dir(path)))
	assert.Equal(t, uint64(4), generation(b), "the loss counts as a commit")
	require.NoError(t, os.Remove(path))
	assert.Equal(t, uint64(5), view(t, a).Rev)
	assert.Equal(t, uint64(5), generation(b))
}

func TestInspect(t *testing.T) {
	path := temp(t)
	inspect := func() Report {
		t.Helper()
		r, err := Inspect(path)
		require.NoError(t, err)
		return r
	}
	r := inspect()
	assert.False(t, r.Exists)
	assert.Equal(t, intact, r.Lost)
	assert.NoDirExists(t, filepath.Dir(path))

	f := open(t, path, Options{Name: "n"})
	want := put(t, f, "x")
	r = inspect()
	assert.True(t, r.Exists)
	assert.Equal(t, "n", r.Name)
	assert.Equal(t, want, r.Snapshot)
	assert.Equal(t, want.Rev, r.Generation)
	assert.Equal(t, os.Getpid(), r.LockedBy)
	assert.Equal(t, formatVersion, r.Version)
	assert.False(t, r.Locked)
	_, err := f.Update(t.Context(), func(Snapshot) ([]byte, error) {
		assert.True(t, inspect().Locked)
		return nil, nil
	})
	require.NoError(t, err)

	require.NoError(t, os.Truncate(path, 10))
	r = inspect()
	assert.Equal(t, EventDamaged, r.Lost)
	assert.ErrorIs(t, r.Problem, errDamaged)
	assert.Empty(t, r.SetAside, "nothing was changed")
	view(t, f)
	r = inspect()
	assert.Equal(t, intact, r.Lost)
	assert.Equal(t, 1, r.Losses)
	assert.Len(t, r.SetAside, 1)

	require.NoError(t, os.Remove(path))
	assert.Equal(t, EventDeleted, inspect().Lost)
	require.NoError(t, os.WriteFile(path, []byte(versionLine(3)), 0o600))
	r = inspect()
	assert.Equal(t, 3, r.Version)
	var version *VersionError
	assert.ErrorAs(t, r.Problem, &version)
}
