package statefile

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can change owners and mount (run as root)")
	}
}

// openFolder is a folder that other users can reach, unlike t.TempDir.
func openFolder(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "statefile")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(folder) })
	require.NoError(t, os.Chmod(folder, 0o755))
	return folder
}

func stat(t *testing.T, path string) (mode fs.FileMode, user, group int) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	o, ok := ownersOf(info)
	require.True(t, ok)
	return info.Mode() &^ fs.ModeDir, o.user, o.group
}

// as runs one call of another user's process: "put" or "view", with the option for a shared group or without. It
// returns what the process printed.
func as(t *testing.T, user int, groups []uint32, call, path string, shared bool) string {
	t.Helper()
	cmd := command(t, "user", path, call, strconv.FormatBool(shared))
	var err error
	cmd.Path, err = reachable()
	require.NoError(t, err)
	cmd.Stderr = nil // with the rest
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user), Groups: groups}}
	out, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		require.NoError(t, err)
	}
	return strings.TrimSpace(string(out))
}

// reachable is the test binary where other users can run it; TestMain removes it.
var reachable = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "statefile")
	if err != nil {
		return "", err
	}
	atExit = append(atExit, func() { os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o755); err != nil {
		return "", err
	}
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, "statefile.test")
	return path, os.WriteFile(path, b, 0o755)
})

const (
	alice, bob = 12001, 12002
	team       = 12100
)

// Two users of one group, each a process of its own under its own umask: neither locks the other out, whichever begins
// and after however many commits.
func TestSharedGroup(t *testing.T) {
	requireRoot(t)
	groups := []uint32{team}
	for _, made := range []bool{false, true} { // the folder, by the first process
		t.Run(fmt.Sprintf("folder made %v", made), func(t *testing.T) {
			folder := openFolder(t)
			require.NoError(t, os.Chown(folder, 0, team))
			require.NoError(t, os.Chmod(folder, 0o770|fs.ModeSetgid))
			if made {
				folder = filepath.Join(folder, "sub", "state")
			}
			path := filepath.Join(folder, "doc.json")
			for i := range 3 {
				for _, user := range []int{alice, bob} {
					require.Equal(t, fmt.Sprintf("rev %d", 2*i+1+user-alice), as(t, user, groups, "put", path, true))
					for _, name := range []string{path, path + lockSuffix} {
						mode, _, group := stat(t, name)
						assert.Equal(t, fs.FileMode(0o660), mode, name)
						assert.Equal(t, team, group, name)
					}
				}
			}
			if made {
				mode, user, group := stat(t, folder)
				assert.Equal(t, 0o770|fs.ModeSetgid, mode)
				assert.Equal(t, alice, user)
				assert.Equal(t, team, group)
			}
			assert.Equal(t, "rev 7", as(t, 0, nil, "put", path, true), "and root, too")
			assert.Equal(t, "rev 8", as(t, bob, groups, "put", path, true))
		})
	}
}

// A state that began without the option is opened to the group by its owner's next commit with it.
func TestSharedGroupLater(t *testing.T) {
	requireRoot(t)
	folder := openFolder(t)
	require.NoError(t, os.Chown(folder, alice, team))
	require.NoError(t, os.Chmod(folder, 0o770|fs.ModeSetgid))
	path := filepath.Join(folder, "doc.json")
	groups := []uint32{team}
	require.Equal(t, "rev 1", as(t, alice, groups, "put", path, false))
	mode, _, _ := stat(t, path)
	require.Equal(t, fs.FileMode(0o600), mode)
	require.Contains(t, as(t, bob, groups, "put", path, true), "permission")
	require.Equal(t, "rev 2", as(t, alice, groups, "put", path, true))
	require.Equal(t, "rev 3", as(t, bob, groups, "put", path, true))
	require.Equal(t, "rev 4", as(t, alice, groups, "put", path, true))
	// Without the option the other's file is not trusted, and the words say what to do.
	said := as(t, alice, groups, "view", path, false)
	assert.Contains(t, said, path)
	assert.Contains(t, said, "shared group")
}

// The mode and the group that a file was given by hand outlive commits and losses, whichever process commits.
func TestModeAndGroupAreKept(t *testing.T) {
	requireRoot(t)
	for _, mode := range []fs.FileMode{0o640, 0o660, 0o644, 0o600, 0o400} {
		for _, user := range []int{0, alice} {
			t.Run(fmt.Sprintf("%04o/user %d", mode, user), func(t *testing.T) {
				folder := openFolder(t)
				require.NoError(t, os.Chown(folder, alice, alice))
				path := filepath.Join(folder, "doc.json")
				require.Equal(t, "rev 1", as(t, alice, nil, "put", path, false))
				for _, name := range []string{path, path + lockSuffix} {
					require.NoError(t, os.Chown(name, -1, team))
				}
				require.NoError(t, os.Chmod(path, mode))
				for rev := 2; rev <= 3; rev++ {
					require.Equal(t, fmt.Sprintf("rev %d", rev), as(t, user, []uint32{team}, "put", path, false))
					got, owner, group := stat(t, path)
					assert.Equal(t, mode, got)
					assert.Equal(t, alice, owner)
					assert.Equal(t, team, group)
				}
				require.NoError(t, os.Truncate(path, 10)) // damaged, and set aside
				require.Equal(t, "rev 5", as(t, user, []uint32{team}, "put", path, false))
				got, owner, group := stat(t, path)
				assert.Equal(t, mode, got)
				assert.Equal(t, alice, owner)
				assert.Equal(t, team, group)
			})
		}
	}
}

// Who may not give the file's group away does not open the state to another group: it says so and changes nothing.
func TestGroupThatCannotBeKept(t *testing.T) {
	requireRoot(t)
	folder := openFolder(t)
	require.NoError(t, os.Chown(folder, alice, alice))
	path := filepath.Join(folder, "doc.json")
	require.Equal(t, "rev 1", as(t, alice, nil, "put", path, false))
	require.NoError(t, os.Chown(path, -1, team))
	require.NoError(t, os.Chmod(path, 0o640))
	said := as(t, alice, nil, "put", path, false)
	assert.Contains(t, said, "mode is 0640 for group "+strconv.Itoa(team))
	assert.Equal(t, "rev 1", as(t, alice, nil, "view", path, false))
	require.NoError(t, os.Chmod(path, 0o600))
	assert.Equal(t, "rev 2", as(t, alice, nil, "put", path, false), "a group that may do nothing is not missed")
}

// What root makes under another user's home is that user's: the folders, the files, and what comes to be in them.
func TestRootGivesFoldersToTheUser(t *testing.T) {
	requireRoot(t)
	home := openFolder(t)
	require.NoError(t, os.Chown(home, alice, team))
	path := filepath.Join(home, ".local", "state", "tokenguard", "doc.json")
	require.Equal(t, "rev 1", as(t, 0, nil, "put", path, false))
	for name := path; name != home; name = filepath.Dir(name) {
		_, user, group := stat(t, name)
		assert.Equal(t, alice, user, name)
		assert.Equal(t, team, group, name)
	}
	_, user, _ := stat(t, path+lockSuffix)
	assert.Equal(t, alice, user)
	assert.Equal(t, "rev 2", as(t, alice, nil, "put", path, false))
	assert.Equal(t, "rev 3", as(t, 0, nil, "put", path, false))
	assert.Equal(t, "rev 4", as(t, alice, nil, "put", path, false))
}

// A user who swaps the folder that root has just made for a link gains nothing by it.
func TestRootGivesNothingElseAway(t *testing.T) {
	requireRoot(t)
	home, elsewhere := openFolder(t), openFolder(t)
	require.NoError(t, os.Chown(home, alice, alice))
	require.NoError(t, os.Mkdir(filepath.Join(elsewhere, "state"), 0o755))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(home, ".local")))
	path := filepath.Join(home, ".local", "state", "tokenguard", "doc.json")
	require.Equal(t, "rev 1", as(t, 0, nil, "put", path, false))
	for _, name := range []string{elsewhere, filepath.Join(elsewhere, "state"), filepath.Join(elsewhere, "state", "tokenguard")} {
		_, user, _ := stat(t, name)
		assert.Zero(t, user, name)
	}

	full := filepath.Join(home, "full")
	require.NoError(t, os.Mkdir(full, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(full, "roots"), nil, 0o600))
	dir, err := os.Open(full)
	require.NoError(t, err)
	defer dir.Close()
	above, err := os.Stat(home)
	require.NoError(t, err)
	assert.Error(t, give(dir, above), "this is not the empty folder that was made")
	_, user, _ := stat(t, full)
	assert.Zero(t, user)
}

// Files that somebody else may have put in place, in each kind of folder in which that can be.
func TestPlantedFileIsRefused(t *testing.T) {
	requireRoot(t)
	tests := []struct {
		name        string
		folderMode  fs.FileMode
		folderUser  int
		fileMode    fs.FileMode
		fileUser    int
		user        int // who looks
		shared      bool
		want        string // "": trusted
		wantWritten string // where writing fails for another reason
	}{
		{"own, private", 0o700, alice, 0o600, alice, alice, false, "", ""},
		{"own, in a folder for all", 0o777 | fs.ModeSticky, 0, 0o600, alice, alice, false, "", ""},
		{"own, in a group's folder", 0o775, alice, 0o600, alice, alice, false, "", ""},
		{"another's, in a folder for all", 0o777 | fs.ModeSticky, 0, 0o666, bob, alice, false, "belongs to user 12002", ""},
		{"another's, in a folder for all, shared", 0o777 | fs.ModeSticky, 0, 0o666, bob, alice, true, "belongs to user 12002", ""},
		{"another's, in a group's folder", 0o770, 0, 0o660, bob, alice, false, "belongs to user 12002", ""},
		{"another's, in a group's folder, shared", 0o770, 0, 0o660, bob, alice, true, "", ""},
		{"another's, in another's folder", 0o755, bob, 0o666, bob, alice, false, "belongs to user 12002", ""},
		{"own, for all to write, in a folder for all", 0o777, 0, 0o606, alice, alice, false, "has mode 0606", ""},
		{"own, for the group to write, in a group's folder", 0o770, alice, 0o660, alice, alice, false, "has mode 0660", ""},
		{"own, for the group to write, in a group's folder, shared", 0o770, alice, 0o660, alice, alice, true, "", ""},
		{"own, for all to write, private", 0o755, alice, 0o666, alice, alice, false, "", ""},
		{"root's, in a folder for all", 0o777, 0, 0o644, 0, alice, false, "", "permission"},
		{"another's, in a folder for all, root looks", 0o777 | fs.ModeSticky, 0, 0o600, bob, 0, false, "belongs to user 12002", ""},
		{"a user's, in that user's folder, root looks", 0o755, bob, 0o600, bob, 0, false, "", ""},
		{"a user's, in that user's group's folder, root looks", 0o775, bob, 0o600, bob, 0, false, "", ""},
	}
	for _, test := range tests {
		for _, part := range []string{"", lockSuffix} {
			t.Run(test.name+"/doc.json"+part, func(t *testing.T) {
				folder := openFolder(t)
				path := filepath.Join(folder, "doc.json")
				put(t, open(t, path, Options{}), "x")
				for _, suffix := range []string{"", lockSuffix} {
					user, mode := test.user, fs.FileMode(0o600)
					if suffix == part {
						user, mode = test.fileUser, test.fileMode
					}
					require.NoError(t, os.Chown(path+suffix, user, team))
					require.NoError(t, os.Chmod(path+suffix, mode))
				}
				require.NoError(t, os.Chown(folder, test.folderUser, team))
				require.NoError(t, os.Chmod(folder, test.folderMode))
				groups := []uint32{team}
				viewed := as(t, test.user, groups, "view", path, test.shared)
				if test.want == "" {
					assert.Equal(t, "rev 1", viewed)
					written := as(t, test.user, groups, "put", path, test.shared)
					if test.wantWritten != "" && part != "" {
						assert.Contains(t, written, test.wantWritten)
					} else {
						assert.Equal(t, "rev 2", written)
					}
					return
				}
				for _, said := range []string{viewed, as(t, test.user, groups, "put", path, test.shared)} {
					assert.Contains(t, said, test.want)
					assert.Contains(t, said, fmt.Sprintf("state file %q", path+part))
				}
				_, err := Inspect(path)
				assert.NoError(t, err, "looking is free")
			})
		}
	}
}

// A single file that is mounted cannot be replaced: the words say that it is the folder that must be.
func TestBindMountedFile(t *testing.T) {
	requireRoot(t)
	for _, content := range []string{"a state", "nothing"} {
		t.Run(content, func(t *testing.T) {
			source := filepath.Join(t.TempDir(), "source.json")
			want := uint64(0)
			if content == "a state" {
				want = put(t, open(t, source, Options{}), "x").Rev
			} else {
				require.NoError(t, os.WriteFile(source, nil, 0o600))
			}
			path := filepath.Join(t.TempDir(), "doc.json")
			require.NoError(t, os.WriteFile(path, nil, 0o600))
			if err := syscall.Mount(source, path, "", syscall.MS_BIND, ""); err != nil {
				t.Skipf("SKIPPED: this fault needs a mount of its own: %v", err)
			}
			t.Cleanup(func() { assert.NoError(t, syscall.Unmount(path, 0)) })
			f := open(t, path, Options{})
			if want > 0 {
				assert.Equal(t, want, view(t, f).Rev, "what is there can be read")
			}
			for range 2 {
				err := update(t, f, "y")
				require.ErrorIs(t, err, syscall.EBUSY)
				assert.ErrorContains(t, err, "mount its folder")
				assert.ErrorContains(t, err, path)
				assert.NotErrorIs(t, err, ErrOutcomeUnknown, "it is certain that nothing was stored")
			}
			assert.Empty(t, f.siblings(isTemp))
			assert.Empty(t, f.siblings(isAside))
		})
	}
}
