package statefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mountTmpfs mounts a small file system of its own, and skips where that is not
// permitted.
func mountTmpfs(t *testing.T, options string) string {
	t.Helper()
	folder := t.TempDir()
	if err := syscall.Mount("none", folder, "tmpfs", 0, options); err != nil {
		t.Skipf("SKIPPED: this fault needs a mount of its own (run as root): %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(folder, 0)) })
	return folder
}

// requireUnavailable checks a refusal that a person can act on.
func requireUnavailable(t *testing.T, err error, cause error, advice string) {
	t.Helper()
	require.ErrorIs(t, err, cause)
	assert.Regexp(t, `^tokenguard: state file "/.+/doc\.json": cannot `, err.Error())
	assert.ErrorContains(t, err, advice)
}

func update(t *testing.T, f *File, data string) error {
	_, err := f.Update(t.Context(), func(Snapshot) ([]byte, error) { return []byte(data), nil })
	return err
}

func TestFullDisk(t *testing.T) {
	folder := mountTmpfs(t, "size=128k")
	f := open(t, filepath.Join(folder, "doc.json"), Options{})
	filler := filepath.Join(folder, "filler")
	fill := func() {
		err := os.WriteFile(filler, make([]byte, 1<<20), 0o600)
		require.ErrorIs(t, err, syscall.ENOSPC)
	}
	fill()
	requireUnavailable(t, update(t, f, "x"), syscall.ENOSPC, "free some space")
	assert.Zero(t, view(t, f).Rev)
	require.NoError(t, os.Remove(filler))
	require.NoError(t, update(t, f, strings.Repeat("a", 20_000)))
	want := view(t, f)

	fill()
	requireUnavailable(t, update(t, f, strings.Repeat("b", 20_000)), syscall.ENOSPC, "free some space")
	assert.Equal(t, want, view(t, f))
	assert.Empty(t, f.siblings(isTemp))

	require.NoError(t, os.Truncate(f.path, 100))
	_, err := f.View(t.Context())
	if err != nil { // what truncation gave back may be enough to recover
		requireUnavailable(t, err, syscall.ENOSPC, "free some space")
	}
	require.NoError(t, os.Remove(filler))
	got := view(t, f)
	assert.NotEmpty(t, got.Epoch, "a full disk hides no damage")
	assert.Equal(t, got.Rev+1, put(t, f, "y").Rev)
}

func TestReadOnlyFileSystem(t *testing.T) {
	folder := mountTmpfs(t, "size=1m")
	remount := func(flags uintptr) {
		require.NoError(t, syscall.Mount("none", folder, "tmpfs", syscall.MS_REMOUNT|flags, ""))
	}
	f := open(t, filepath.Join(folder, "doc.json"), Options{})
	want := put(t, f, "x")
	remount(syscall.MS_RDONLY)
	for _, f := range []*File{f, open(t, f.path, Options{})} {
		assert.Equal(t, want, view(t, f), "reading goes on")
		requireUnavailable(t, update(t, f, "y"), syscall.EROFS, "mounted read-only")
	}
	none := open(t, filepath.Join(folder, "sub", "doc.json"), Options{})
	assert.Zero(t, view(t, none).Rev)
	requireUnavailable(t, update(t, none, "y"), syscall.EROFS, "mounted read-only")

	remount(0)
	put(t, f, "y")
	put(t, none, "y")
	require.NoError(t, os.Truncate(f.path, 10))
	remount(syscall.MS_RDONLY)
	_, err := f.View(t.Context())
	requireUnavailable(t, err, syscall.EROFS, "mounted read-only")
	remount(0)
	assert.NotEmpty(t, view(t, f).Epoch)
}

// asNobody runs fn on a thread without root's rights on files. The thread ends
// with it.
func asNobody(t *testing.T, fn func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		fn()
		return
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := syscall.Setfsuid(65534)
		if err == nil {
			fn()
		}
		done <- err
	}()
	require.NoError(t, <-done)
}

func TestPermissionDenied(t *testing.T) {
	for _, part := range []string{"folder", "data file", "lock file"} {
		t.Run(part, func(t *testing.T) {
			folder, err := os.MkdirTemp("", "statefile") // t.TempDir is closed to others
			require.NoError(t, err)
			t.Cleanup(func() { os.RemoveAll(folder) })
			require.NoError(t, os.Chmod(folder, 0o777))
			f := open(t, filepath.Join(folder, "sub", "doc.json"), Options{})
			put(t, f, "x")
			const nobody = 65534
			for _, name := range []string{f.folder, f.path, f.lockPath} {
				if os.Geteuid() == 0 {
					require.NoError(t, os.Chown(name, nobody, nobody))
				}
			}
			denied := map[string]string{"folder": f.folder, "data file": f.path, "lock file": f.lockPath}[part]
			require.NoError(t, os.Chmod(denied, 0))
			for _, f := range []*File{open(t, f.path, Options{}), f} {
				var viewed, updated error
				asNobody(t, func() {
					_, viewed = f.View(t.Context())
					updated = update(t, f, "y")
				})
				requireUnavailable(t, updated, syscall.EACCES, "permission on the file and its folder")
				if part != "lock file" { // one that is already open can still be read
					requireUnavailable(t, viewed, syscall.EACCES, "permission on the file and its folder")
				}
			}
			require.NoError(t, os.Chmod(denied, 0o700))
			var updated error
			asNobody(t, func() { updated = update(t, f, "y") })
			require.NoError(t, updated)
		})
	}
}

func TestRootKeepsTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can change owners")
	}
	const user = 12345
	f := open(t, temp(t), Options{})
	require.NoError(t, os.Mkdir(f.folder, 0o700))
	require.NoError(t, os.Chown(f.folder, user, user))
	for range 2 {
		put(t, f, "x")
		for _, name := range []string{f.path, f.lockPath} {
			info, err := os.Stat(name)
			require.NoError(t, err)
			assert.EqualValues(t, user, info.Sys().(*syscall.Stat_t).Uid, name)
		}
		require.NoError(t, os.Chown(f.folder, 0, 0)) // the file's owner goes first
	}
}

// TestSomethingInTheWay: nothing but a regular file is opened, and no link is
// followed.
func TestSomethingInTheWay(t *testing.T) {
	obstacles := map[string]func(t *testing.T, name string){
		"link": func(t *testing.T, name string) {
			target := filepath.Join(t.TempDir(), "target")
			require.NoError(t, os.WriteFile(target, []byte("precious"), 0o600))
			require.NoError(t, os.Symlink(target, name))
			t.Cleanup(func() {
				b, err := os.ReadFile(target)
				assert.NoError(t, err)
				assert.Equal(t, "precious", string(b))
			})
		},
		"dangling link": func(t *testing.T, name string) { require.NoError(t, os.Symlink("nowhere", name)) },
		"pipe":          func(t *testing.T, name string) { require.NoError(t, syscall.Mkfifo(name, 0o600)) },
		"folder":        func(t *testing.T, name string) { require.NoError(t, os.Mkdir(name, 0o700)) },
	}
	for what, obstruct := range obstacles {
		for _, suffix := range []string{"", lockSuffix} {
			t.Run(what+" as doc.json"+suffix, func(t *testing.T) {
				f := open(t, temp(t), Options{})
				put(t, f, "x")
				name := f.path + suffix
				require.NoError(t, os.Remove(name))
				obstruct(t, name)
				_, err := f.View(t.Context())
				require.ErrorContains(t, err, fmt.Sprintf("tokenguard: state file %q: cannot ", f.path))
				if strings.HasSuffix(what, "link") {
					assert.ErrorContains(t, err, "symbolic link, which is not followed")
				}
				require.ErrorContains(t, update(t, f, "y"), fmt.Sprintf("tokenguard: state file %q: cannot ", f.path))
				require.NoError(t, os.Remove(name))
				put(t, f, "z")
			})
		}
	}
}

func TestFolderMayBeALink(t *testing.T) {
	f := open(t, temp(t), Options{})
	put(t, f, "x")
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(f.folder, link))
	assert.Equal(t, "x", string(view(t, open(t, filepath.Join(link, f.base), Options{})).Data))
}

func TestTemporaryFilesOfTheDead(t *testing.T) {
	f := open(t, temp(t), Options{})
	put(t, f, "x")
	target := filepath.Join(t.TempDir(), "target")
	require.NoError(t, os.WriteFile(target, []byte("precious"), 0o600))
	require.NoError(t, os.Symlink(target, filepath.Join(f.folder, tempName(f.base))))
	require.NoError(t, os.WriteFile(filepath.Join(f.folder, tempName(f.base)), []byte("half"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(f.folder, tempName(f.base)), nil, 0o600))
	put(t, open(t, f.path, Options{}), "y")
	assert.Empty(t, f.siblings(isTemp))
	assert.FileExists(t, target)
}

func TestNetworkFileSystem(t *testing.T) {
	remote := func(string) (string, error) { return "NFS", nil }
	path := temp(t)
	f := open(t, path, Options{networkFS: remote})
	var network *NetworkError
	_, err := f.View(t.Context())
	require.ErrorAs(t, err, &network)
	assert.Equal(t, "NFS", network.FS)
	require.ErrorAs(t, update(t, f, "x"), &network)
	_, err = f.Generation(t.Context())
	require.ErrorAs(t, err, &network)
	assert.NoDirExists(t, filepath.Dir(path))
	require.NoError(t, update(t, open(t, path, Options{AllowNetwork: true, networkFS: remote}), "x"))

	broken := open(t, path, Options{networkFS: func(string) (string, error) { return "", syscall.EIO }})
	_, err = broken.View(t.Context())
	assert.True(t, errors.Is(err, syscall.EIO))
	for magic, want := range map[int64]string{0x6969: "NFS", 0xFF534D42: "SMB", 0xEF53: "", 0x01021994: ""} {
		assert.Equal(t, want, networkName(uint32(magic)))
	}
}
