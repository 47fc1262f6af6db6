package statefile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// long says whether the tests that take minutes run.
var long = os.Getenv("TOKENGUARD_LONG") == "1"

func open(t testing.TB, path string, opts Options) *File {
	t.Helper()
	f, err := Open(path, opts)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func temp(t testing.TB) string { return filepath.Join(t.TempDir(), "state", "doc.json") }

// put commits data and returns what Update does.
func put(t testing.TB, f *File, data string) Snapshot {
	t.Helper()
	s, err := f.Update(t.Context(), func(Snapshot) ([]byte, error) { return []byte(data), nil })
	require.NoError(t, err)
	return s
}

func view(t testing.TB, f *File) Snapshot {
	t.Helper()
	s, err := f.View(t.Context())
	require.NoError(t, err)
	return s
}

// increment adds one to a decimal number.
func increment(s Snapshot) ([]byte, error) {
	n := 0
	if len(s.Data) > 0 {
		var err error
		if n, err = strconv.Atoi(string(s.Data)); err != nil {
			return nil, err
		}
	}
	return strconv.AppendInt(nil, int64(n+1), 10), nil
}

func TestOpenAndViewTouchNothing(t *testing.T) {
	path := temp(t)
	f := open(t, path, Options{})
	assert.Equal(t, Snapshot{}, view(t, f))
	gen, err := f.Generation(t.Context())
	require.NoError(t, err)
	assert.Zero(t, gen)
	assert.NoDirExists(t, filepath.Dir(path))
}

func TestOpenRefusesMistakes(t *testing.T) {
	for _, c := range []struct {
		path string
		opts Options
		want string
	}{{"", Options{}, "path is empty"}, {"x", Options{LockTimeout: -1}, "-1ns"}, {"x", Options{Name: strings.Repeat("n", maxName+1)}, "513 bytes"}} {
		_, err := Open(c.path, c.opts)
		assert.ErrorContains(t, err, c.want)
	}
	name := strings.Repeat("\x00", maxName)
	f := open(t, temp(t), Options{Name: name})
	put(t, f, strings.Repeat("x", MaxData))
	assert.Len(t, view(t, f).Data, MaxData)
}

func TestUpdateIsSeenByOthersAndAfterReopen(t *testing.T) {
	path := temp(t)
	a, b := open(t, path, Options{Name: "n"}), open(t, path, Options{Name: "n"})
	got := put(t, a, "one")
	assert.Equal(t, Snapshot{Data: []byte("one"), Rev: 1}, got)
	assert.Equal(t, got, view(t, b))
	got = put(t, b, "two")
	assert.Equal(t, uint64(2), got.Rev)
	assert.Equal(t, got, view(t, a))
	for _, f := range []*File{a, b} {
		gen, err := f.Generation(t.Context())
		require.NoError(t, err)
		assert.Equal(t, uint64(2), gen)
	}
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	assert.Equal(t, got, view(t, open(t, path, Options{Name: "n"})))
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	path := temp(t)
	put(t, open(t, path, Options{}), "x")
	for name, want := range map[string]os.FileMode{filepath.Dir(path): 0o700, path: 0o600, path + lockSuffix: 0o600} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode().Perm(), name)
	}
}

func TestFnErrorAndNothingToWrite(t *testing.T) {
	f := open(t, temp(t), Options{})
	want := put(t, f, "x")
	boom := errors.New("boom")
	_, err := f.Update(t.Context(), func(Snapshot) ([]byte, error) { return []byte("y"), boom })
	assert.True(t, err == boom)
	got, err := f.Update(t.Context(), func(s Snapshot) ([]byte, error) {
		assert.Equal(t, want, s)
		return nil, nil
	})
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Equal(t, want, view(t, f))
}

func TestPanicInFnReleasesTheLock(t *testing.T) {
	f := open(t, temp(t), Options{})
	assert.Panics(t, func() {
		f.Update(t.Context(), func(Snapshot) ([]byte, error) { panic("boom") })
	})
	put(t, f, "x")
}

func TestSizeBound(t *testing.T) {
	f := open(t, temp(t), Options{})
	put(t, f, strings.Repeat("x", MaxData))
	assert.Len(t, view(t, f).Data, MaxData)
	_, err := f.Update(t.Context(), func(Snapshot) ([]byte, error) { return make([]byte, MaxData+1), nil })
	var size *SizeError
	require.ErrorAs(t, err, &size)
	assert.Equal(t, MaxData+1, size.Size)
	assert.Equal(t, uint64(1), view(t, f).Rev)
}

func TestContext(t *testing.T) {
	f := open(t, temp(t), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := f.Update(ctx, func(Snapshot) ([]byte, error) {
		cancel()
		return []byte("x"), nil
	})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, view(t, f).Rev)
	_, err = f.View(ctx)
	assert.ErrorIs(t, err, context.Canceled)
	_, err = f.Generation(ctx)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestBusyWithinOneProcess(t *testing.T) {
	path := temp(t)
	a, b := open(t, path, Options{}), open(t, path, Options{LockTimeout: 10 * time.Millisecond})
	_, err := a.Update(t.Context(), func(Snapshot) ([]byte, error) {
		for range 2 { // from another File, and again from the same one
			_, err := b.Update(t.Context(), func(Snapshot) ([]byte, error) {
				_, err := b.Update(t.Context(), increment)
				return nil, err
			})
			var busy *BusyError
			assert.ErrorAs(t, err, &busy)
			assert.ErrorContains(t, err, "this process itself")
			b = a
			a.opts.LockTimeout = 10 * time.Millisecond
		}
		return nil, nil
	})
	require.NoError(t, err)
}

// Who waits behind others that get on waits for as long as they do.
func TestPatience(t *testing.T) {
	path := temp(t)
	const timeout = time.Second
	slow := func() *File {
		return open(t, path, Options{LockTimeout: timeout, hook: func(at step) error {
			if at == stepMark {
				time.Sleep(timeout / 3)
			}
			return nil
		}})
	}
	shared := slow()
	var all sync.WaitGroup
	for i := range 6 { // in sum two timeouts
		f := shared
		if i%2 == 0 {
			f = slow()
		}
		all.Go(func() {
			_, err := f.Update(t.Context(), increment)
			assert.NoError(t, err)
		})
	}
	all.Wait()
	assert.EqualValues(t, 6, view(t, shared).Rev)
}

func TestClose(t *testing.T) {
	f := open(t, temp(t), Options{})
	put(t, f, "x")
	inside, finish, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		_, err := f.Update(context.Background(), func(Snapshot) ([]byte, error) {
			close(inside)
			<-finish
			return nil, nil
		})
		done <- err
	}()
	<-inside
	waiting := make(chan error)
	go func() {
		_, err := f.Update(context.Background(), increment)
		waiting <- err
	}()
	require.NoError(t, f.Close())
	assert.ErrorIs(t, <-waiting, ErrClosed)
	close(finish)
	require.NoError(t, <-done)
	require.NoError(t, f.Close())
	_, err := f.View(t.Context())
	assert.ErrorIs(t, err, ErrClosed)
	_, err = f.Generation(t.Context())
	assert.ErrorIs(t, err, ErrClosed)
}

func TestConcurrentIncrementsLoseNone(t *testing.T) {
	path := temp(t)
	goroutines, each := 50, 6
	if long {
		each = 20
	}
	files := make([]*File, 5)
	for i := range files {
		files[i] = open(t, path, Options{LockTimeout: time.Minute})
	}
	var wg sync.WaitGroup
	errs := make(chan error, goroutines)
	for g := range goroutines {
		wg.Go(func() {
			var last uint64
			for range each {
				s, err := files[g%len(files)].Update(t.Context(), increment)
				if err == nil && s.Rev <= last {
					err = fmt.Errorf("revision %d after %d", s.Rev, last)
				}
				if err != nil {
					errs <- err
					return
				}
				last = s.Rev
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	got := view(t, files[0])
	assert.Equal(t, strconv.Itoa(goroutines*each), string(got.Data))
	assert.Equal(t, uint64(goroutines*each), got.Rev)
}

// TestReadersNeverGoBack reads beside writers: no revision may go back and no
// loss may be seen where there is none.
func TestReadersNeverGoBack(t *testing.T) {
	path := temp(t)
	opts := Options{LockTimeout: time.Minute, OnEvent: func(e Event) { t.Errorf("event %+v", e) }}
	updates := 8 // of each writer; the readers read without a pause meanwhile
	if long {
		updates = 60
	}
	var writers, readers sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	shared := open(t, path, opts)
	for r := range 4 {
		f := shared
		if r%2 == 0 {
			f = open(t, path, opts)
		}
		readers.Go(func() {
			var last uint64
			for ctx.Err() == nil {
				s, err := f.View(t.Context())
				if err == nil && (s.Rev < last || s.Epoch != "" || s.Rev > 0 && string(s.Data) != strconv.FormatUint(s.Rev, 10)) {
					err = fmt.Errorf("%q, revision %d after %d, epoch %q", s.Data, s.Rev, last, s.Epoch)
				}
				var gen uint64
				if err == nil {
					gen, err = f.Generation(t.Context())
				}
				if err == nil && gen < s.Rev {
					err = fmt.Errorf("generation %d after revision %d", gen, s.Rev)
				}
				if err != nil {
					t.Error(err)
					return
				}
				last = gen
			}
		})
	}
	for range 2 {
		f := open(t, path, opts)
		writers.Go(func() {
			for range updates {
				if _, err := f.Update(t.Context(), increment); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	stop()
	readers.Wait()
}
