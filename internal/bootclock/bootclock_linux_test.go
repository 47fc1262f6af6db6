package bootclock

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const childEnv = "BOOTCLOCK_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "1" {
		base, at := Read()
		fmt.Println(base, int64(at))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// reading is what a process of its own reads, started by the command before it.
func reading(t *testing.T, before ...string) (base string, at time.Duration) {
	t.Helper()
	args := append(before, os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil && len(before) > 0 {
		t.Skipf("SKIPPED: needs the right to make a time namespace (run as root, util-linux): %s: %v: %s", before[0], err, out)
	}
	require.NoError(t, err, "%s", out)
	_, err = fmt.Sscan(string(out), &base, &at)
	require.NoError(t, err, "%s", out)
	return base, at
}

func TestProcessesOfOneBootReadOneClock(t *testing.T) {
	own, before := Read()
	require.NotEmpty(t, own)
	base, at := reading(t)
	_, after := Read()
	assert.Equal(t, own, base)
	assert.Greater(t, at, before)
	assert.Less(t, at, after)

	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	require.NoError(t, err)
	if link, _ := os.Readlink("/proc/self/ns/time"); link == firstNamespace {
		assert.Equal(t, strings.TrimSpace(string(id)), own, "documents that name the boot alone stay valid")
	}
}

// A real namespace with an offset: the boot id is the same, the clock is not.
func TestTimeNamespace(t *testing.T) {
	own, _ := Read()
	for _, offset := range []time.Duration{24 * time.Hour, time.Second, -30 * time.Second} {
		inside := []string{"unshare", "-T", "--boottime", fmt.Sprint(int(offset / time.Second))}
		base, at := reading(t, inside...)
		_, now := Read()
		assert.NotEqual(t, own, base)
		assert.NotEmpty(t, base)
		assert.InDelta(t, float64(offset), float64(at-now), float64(5*time.Second))
		again, later := reading(t, inside...)
		assert.Equal(t, base, again, "another namespace, of the same clock")
		assert.Greater(t, later, at)
	}
	base, _ := reading(t, "unshare", "-T", "--boottime", "0")
	assert.Equal(t, own, base, "another namespace, of the machine's clock")
}

// The forms of /proc, those of other kernels and of processes that no test can become.
func TestBaseFromProc(t *testing.T) {
	const id = "d7e4f3a0-0000-4000-8000-000000000001"
	full := map[string]string{
		"sys/kernel/random/boot_id": id + "\n", "self/ns/mnt": "->mnt:[4026531841]",
		"self/ns/time": "->time:[4026532177]", "self/ns/time_for_children": "->time:[4026532177]",
		"self/timens_offsets": "monotonic           5         0\nboottime        86400         0\n",
	}
	tests := []struct {
		name   string
		change map[string]string // "": removed
		want   string
	}{
		{"a namespace", nil, id + "+86400000000000ns"},
		{"one that counts back", map[string]string{"self/timens_offsets": "monotonic 0 0\nboottime -2 500000000\n"}, id + "-1500000000ns"},
		{"an older kernel's numbers", map[string]string{"self/timens_offsets": "1 5 0\n7 86400 1\n"}, id + "+86400000000001ns"},
		{"one without an offset", map[string]string{"self/timens_offsets": "monotonic 7 0\nboottime 0 0\n"}, id},
		{"the first one, and children in another", map[string]string{"self/ns/time": "->" + firstNamespace}, id},
		{"another one, and children in one more", map[string]string{"self/ns/time_for_children": "->time:[4026532999]"}, ""},
		{"a kernel without time namespaces", map[string]string{"self/ns/time": "", "self/ns/time_for_children": "", "self/timens_offsets": ""}, id},
		{"nothing said of namespaces", map[string]string{"self/ns/time": "", "self/ns/mnt": ""}, ""},
		{"no offsets", map[string]string{"self/timens_offsets": ""}, ""},
		{"offsets that say nothing", map[string]string{"self/timens_offsets": "monotonic 5 0\n"}, ""},
		{"offsets beyond what a Duration holds", map[string]string{"self/timens_offsets": "boottime 9223372036854775807 0\n"}, ""},
		{"offsets of another form", map[string]string{"self/timens_offsets": "boottime 1.5 0\n"}, ""},
		{"no boot id", map[string]string{"sys/kernel/random/boot_id": ""}, ""},
		{"an empty boot id", map[string]string{"sys/kernel/random/boot_id": "\n"}, ""},
		{"a boot id without the end of its line", map[string]string{"sys/kernel/random/boot_id": id}, id + "+86400000000000ns"},
		{"a boot id of which only a part could be read", map[string]string{"sys/kernel/random/boot_id": strings.Repeat(id, 4)}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			proc := t.TempDir()
			for name, content := range full {
				if other, changed := test.change[name]; changed {
					content = other
				}
				path := filepath.Join(proc, name)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
				if target, link := strings.CutPrefix(content, "->"); link {
					require.NoError(t, os.Symlink(target, path))
				} else if content != "" {
					require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
				}
			}
			assert.Equal(t, test.want, base(proc))
		})
	}
}

// The boot clock is real where Go's clocks are not, which is why the bubble must be known.
func TestBootClockInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := Now()
		time.Sleep(24 * time.Hour)
		assert.Less(t, Now()-before, time.Hour)
	})
}

func BenchmarkBase(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Base()
	}
}

func BenchmarkNow(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Now()
	}
}
