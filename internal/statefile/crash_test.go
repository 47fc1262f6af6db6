package statefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// crash is the folder as a kill at one instant leaves it.
type crash struct {
	at   string
	path string // of the state file in a copy of the folder
}

func copyFolder(t testing.TB, from string) string {
	to := t.TempDir()
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
	return to
}

// crashes runs call and returns the folder before each of its steps, with the
// temporary file torn at each multiple of stride, and after the last step.
func crashes(t *testing.T, f *File, stride int, call func()) []crash {
	var all []crash
	keep := func(at string) crash {
		c := crash{at, filepath.Join(copyFolder(t, f.folder), f.base)}
		all = append(all, c)
		return c
	}
	f.opts.hook = func(s step) error {
		if _, err := os.Stat(f.folder); err != nil {
			return nil
		}
		keep("before " + string(s))
		if s != stepSyncFile {
			return nil
		}
		temps := f.siblings(isTemp)
		require.Len(t, temps, 1)
		info, err := os.Stat(filepath.Join(f.folder, temps[0]))
		require.NoError(t, err)
		for n := int64(0); n < info.Size(); n += int64(stride) {
			c := keep(fmt.Sprintf("%d bytes written", n))
			require.NoError(t, os.Truncate(filepath.Join(filepath.Dir(c.path), temps[0]), n))
		}
		return nil
	}
	call()
	f.opts.hook = nil
	keep("after")
	return all
}

// reopened is what the next process makes of a crash.
func reopened(t *testing.T, c crash) (Snapshot, []Event) {
	var events []Event
	f := open(t, c.path, Options{noFileSync: true, noFolderSync: true, OnEvent: func(e Event) { events = append(events, e) }})
	got := view(t, f)
	next := put(t, f, "next")
	require.Equal(t, got.Rev+1, next.Rev, c.at)
	require.Equal(t, next, view(t, f), c.at)
	require.Empty(t, f.siblings(isTemp), c.at)
	return got, events
}

func TestCrashBetweenAnyTwoStepsOfACommit(t *testing.T) {
	for _, first := range []bool{true, false} {
		f := open(t, temp(t), Options{noLinks: !first})
		old := Snapshot{}
		if !first {
			old = put(t, f, "old")
		}
		var committed Snapshot
		all := crashes(t, f, 1, func() { committed = put(t, f, "new") })
		states := map[uint64]int{}
		for _, c := range all {
			got, events := reopened(t, c)
			require.Empty(t, events, c.at)
			if got.Rev == committed.Rev {
				require.Equal(t, committed, got, c.at)
			} else {
				require.Equal(t, old, got, c.at)
			}
			states[got.Rev]++
		}
		assert.Greater(t, states[old.Rev], 150, "before the rename")
		assert.GreaterOrEqual(t, states[committed.Rev], 3, "after the rename")
	}
}

func TestCrashBetweenAnyTwoStepsOfARecovery(t *testing.T) {
	for _, fault := range []EventKind{EventDamaged, EventRolledBack, EventDeleted} {
		for _, noLinks := range []bool{false, true} {
			path := temp(t)
			f := open(t, path, Options{noLinks: noLinks})
			put(t, f, "one")
			backup := filepath.Join(t.TempDir(), "backup")
			copyFile(t, path, backup)
			last := put(t, f, "two")
			switch fault {
			case EventDamaged: // and no generation to notice it by
				b, err := os.ReadFile(path)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(path, append(b, 'x'), 0o600))
				require.NoError(t, os.Remove(path+lockSuffix))
				f = open(t, path, f.opts)
			case EventRolledBack:
				copyFile(t, backup, path)
			case EventDeleted:
				require.NoError(t, os.Remove(path))
			}
			for _, c := range crashes(t, f, 25, func() { view(t, f) }) {
				got, events := reopened(t, c)
				at := fmt.Sprintf("%s, no links %v, %s", fault, noLinks, c.at)
				require.NotEmpty(t, got.Epoch, at)
				require.Greater(t, got.Rev, last.Rev, at)
				require.LessOrEqual(t, len(events), 1, at)
				if fault != EventRolledBack {
					require.Empty(t, got.Data, at)
				} else if !noLinks { // a file that is renamed is out of reach for a moment
					require.Equal(t, "one", string(got.Data), at)
				}
			}
		}
	}
}

// TestFailureOfEveryStep: the error says whether the commit can be there, and
// once the fault is gone the same File goes on.
func TestFailureOfEveryStep(t *testing.T) {
	steps := map[step]bool{ // whether the outcome is unknown
		stepOpenLock: false, stepMakeLock: false, stepLock: false, stepCreate: false, stepWrite: false, stepSyncFile: false, stepRename: true, stepSyncFolder: true,
	}
	for at, isUnknown := range steps {
		for _, fault := range []error{syscall.EIO, syscall.ENOSPC, syscall.EACCES, syscall.EROFS} {
			t.Run(fmt.Sprintf("%s/%v", at, fault), func(t *testing.T) {
				f := open(t, temp(t), Options{})
				put(t, f, "old")
				if at == stepMakeLock {
					require.NoError(t, os.Remove(f.lockPath))
				}
				f.opts.hook = func(s step) error {
					if s == at {
						return &os.PathError{Op: "write", Path: f.path, Err: fault}
					}
					return nil
				}
				_, err := f.Update(t.Context(), func(Snapshot) ([]byte, error) { return []byte("new"), nil })
				require.ErrorIs(t, err, fault)
				assert.Equal(t, isUnknown, errors.Is(err, ErrOutcomeUnknown))
				assert.ErrorContains(t, err, fmt.Sprintf("tokenguard: state file %q: cannot ", f.path))
				assert.Equal(t, 1, strings.Count(err.Error(), f.path), "the path is named once")
				assert.Contains(t, err.Error(), "; ", "says what to do")
				got := view(t, f)
				if at == stepSyncFolder {
					assert.Equal(t, "new", string(got.Data))
				} else {
					assert.Equal(t, Snapshot{Data: []byte("old"), Rev: 1}, got)
				}
				assert.Empty(t, f.siblings(isTemp))
				f.opts.hook = nil
				assert.Equal(t, got.Rev+1, put(t, f, "again").Rev)
			})
		}
	}
}

func TestGenerationNotWritten(t *testing.T) {
	f := open(t, temp(t), Options{})
	var events []Event
	f.opts.OnEvent = func(e Event) { events = append(events, e) }
	put(t, f, "old")
	f.opts.hook = func(s step) error {
		if s == stepMark {
			return syscall.EIO
		}
		return nil
	}
	got := put(t, f, "new")
	require.Len(t, events, 1)
	assert.Equal(t, EventGenerationNotWritten, events[0].Kind)
	assert.Equal(t, got.Rev, events[0].Rev)
	assert.ErrorIs(t, events[0].Err, syscall.EIO)
	f.opts.hook = nil
	other := open(t, f.path, Options{})
	_, err := other.Update(t.Context(), func(Snapshot) ([]byte, error) { return nil, nil })
	require.NoError(t, err)
	r, err := Inspect(f.path)
	require.NoError(t, err)
	assert.Equal(t, got.Rev, r.Generation, "any update catches up")
}

// TestStolen removes files between the steps, as nobody should: the commit
// starts again and is there once.
func TestStolen(t *testing.T) {
	for _, at := range []step{stepCreate, stepWrite, stepSyncFile, stepRename} {
		for _, what := range []string{"lock file", "temporary file", "folder"} {
			t.Run(string(at)+"/"+what, func(t *testing.T) {
				f := open(t, temp(t), Options{})
				done := false
				f.opts.hook = func(s step) error {
					if s != at || done {
						return nil
					}
					done = true
					switch what {
					case "lock file":
						return os.Remove(f.lockPath)
					case "temporary file":
						for _, name := range f.siblings(isTemp) {
							require.NoError(t, os.Remove(filepath.Join(f.folder, name)))
						}
						return nil
					}
					return os.RemoveAll(f.folder)
				}
				calls := 0
				_, err := f.Update(t.Context(), func(s Snapshot) ([]byte, error) {
					calls++
					return increment(s)
				})
				require.NoError(t, err)
				assert.LessOrEqual(t, calls, 2)
				assert.True(t, strings.HasPrefix(string(view(t, open(t, f.path, Options{})).Data), "1"))
			})
		}
	}
}

// TestFirstCommitsOfTwo: each holds a lock file of its own, since somebody
// removed one, and there is no data file yet to exclude the other.
func TestFirstCommitsOfTwo(t *testing.T) {
	f := open(t, temp(t), Options{})
	other := open(t, f.path, Options{})
	other.swept.Store(true) // sweeping would save f by accident
	f.opts.hook = func(s step) error {
		if s == stepRename {
			f.opts.hook = nil
			require.NoError(t, os.Remove(f.lockPath))
			_, err := other.Update(t.Context(), increment)
			require.NoError(t, err)
		}
		return nil
	}
	got, err := f.Update(t.Context(), increment)
	require.NoError(t, err)
	assert.Equal(t, Snapshot{Data: []byte("2"), Rev: 2}, got)
	assert.Equal(t, got, view(t, other))
}

// TestWaiterOfARemovedLockFile: the generation must go where others read it.
func TestWaiterOfARemovedLockFile(t *testing.T) {
	f := open(t, temp(t), Options{})
	put(t, f, "x")
	waiter := open(t, f.path, Options{})
	opened := make(chan struct{})
	var once sync.Once
	waiter.opts.hook = func(s step) error {
		if s == stepLock {
			once.Do(func() { close(opened) })
		}
		return nil
	}
	done := make(chan error)
	_, err := f.Update(t.Context(), func(Snapshot) ([]byte, error) {
		go func() {
			_, err := waiter.Update(t.Context(), func(Snapshot) ([]byte, error) { return []byte("y"), nil })
			done <- err
		}()
		<-opened
		return nil, os.Remove(f.lockPath)
	})
	require.NoError(t, err)
	require.NoError(t, <-done)
	r, err := Inspect(f.path)
	require.NoError(t, err)
	assert.Equal(t, uint64(2), r.Snapshot.Rev)
	assert.Equal(t, uint64(2), r.Generation)
}

// TestYieldToAWaiter: a File that others waited for lets them go first.
func TestYieldToAWaiter(t *testing.T) {
	f := open(t, temp(t), Options{})
	put(t, f, "x")
	assert.Zero(t, f.yieldTo.Load())
	waiter := open(t, f.path, Options{})
	tries, done := make(chan struct{}, 1000), make(chan error)
	waiter.opts.hook = func(s step) error {
		if s == stepLock {
			tries <- struct{}{}
		}
		return nil
	}
	_, err := f.Update(t.Context(), func(Snapshot) ([]byte, error) {
		go func() {
			_, err := waiter.Update(t.Context(), increment)
			done <- err
		}()
		<-tries
		<-tries // the first one failed, and the waiter said so
		return nil, nil
	})
	require.NoError(t, err)
	assert.NotZero(t, f.yieldTo.Load())
	require.Error(t, <-done) // "x" is no number
}
