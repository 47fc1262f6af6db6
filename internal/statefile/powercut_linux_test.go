package statefile

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const imageSize = 24 << 20

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}

// mountImage mounts an ext4 image through a loop device and returns where.
func mountImage(t *testing.T, image string) (folder string, unmount func(), err error) {
	folder = t.TempDir()
	if err := run("mount", "-o", "loop", image, folder); err != nil {
		return "", nil, err
	}
	unmount = sync.OnceFunc(func() { assert.NoError(t, run("umount", folder)) })
	t.Cleanup(unmount)
	return folder, unmount, nil
}

// acknowledged is what the writers were told is durable: revisions by file.
type acknowledged struct {
	mu   sync.Mutex // guards revs
	revs map[string]uint64
}

func (a *acknowledged) read(line string) bool {
	var name string
	var rev uint64
	if _, err := fmt.Sscanf(line, "%s %d\n", &name, &rev); err != nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.revs[name] = max(a.revs[name], rev)
	return true
}

// TestPowerCut cuts a file system off its disk at random instants under load
// and mounts it again, as after a power cut. Each acknowledged commit must be
// there, and none may look lost. Without the sync of the folder, or any, the
// same test must find losses.
func TestPowerCut(t *testing.T) {
	if !long {
		t.Skip("SKIPPED: the power-cut test runs with TOKENGUARD_LONG=1, as root, with loop devices")
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: the power-cut test must mount an image: run it as root")
	}
	for _, test := range []struct {
		syncs string
		cuts  int
		lossy bool
	}{{"all", 40, false}, {"nofolder", 40, true}, {"nofile,nofolder", 40, true}} {
		t.Run(test.syncs, func(t *testing.T) {
			lossy := 0
			for cut := range test.cuts {
				lost, err := powerCut(t, test.syncs)
				require.NoError(t, err, "cut %d", cut)
				if lost != "" {
					lossy++
					if !test.lossy {
						t.Errorf("cut %d: %s", cut, lost)
					}
				}
			}
			t.Logf("%d of %d cuts lost an acknowledged commit", lossy, test.cuts)
			if test.lossy {
				assert.Positive(t, lossy, "the control must lose")
			}
		})
	}
}

// powerCut makes one cut in a fresh file system and says what was lost.
func powerCut(t *testing.T, syncs string) (lost string, err error) {
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return "", err
	}
	if err := os.Truncate(image, imageSize); err != nil {
		return "", err
	}
	if err := run("mkfs.ext4", "-q", "-F", image); err != nil {
		return "", err
	}
	folder, unmount, err := mountImage(t, image)
	if err != nil {
		t.Skipf("SKIPPED: no loop devices here: %v", err)
	}
	defer unmount()
	acks := acknowledged{revs: map[string]uint64{}}
	const writers = 3
	var readers sync.WaitGroup
	enough := make(chan struct{}, writers)
	errs := make(chan error, writers)
	var commands []*exec.Cmd
	for i := range writers {
		cmd := command(t, "churn", folder, fmt.Sprint(i), syncs)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			return "", err
		}
		if err := cmd.Start(); err != nil {
			return "", err
		}
		commands = append(commands, cmd)
		wait := 5 + rand.IntN(200)
		readers.Go(func() {
			lines := bufio.NewReader(stdout)
			for n := 0; ; n++ {
				line, err := lines.ReadString('\n')
				if err != nil {
					errs <- fmt.Errorf("a writer ended: %w", err)
					return
				}
				if !acks.read(line) {
					errs <- fmt.Errorf("a writer says %s", line)
					return
				}
				if n == wait {
					enough <- struct{}{}
				}
			}
		})
	}
	select {
	case <-enough:
	case err := <-errs:
		return "", err
	}
	if err := cutOff(folder); err != nil {
		return "", err
	}
	for _, cmd := range commands { // they end by themselves: nothing can be written
		cmd.Wait()
	}
	readers.Wait()
	unmount()

	after, unmountAgain, err := mountImage(t, image)
	if err != nil {
		return "", err
	}
	defer unmountAgain()
	for name, rev := range acks.revs {
		var events []Event
		f, err := Open(filepath.Join(after, name), Options{OnEvent: func(e Event) { events = append(events, e) }})
		if err != nil {
			return "", err
		}
		got, err := f.View(t.Context())
		f.Close()
		switch {
		case err != nil: // such as a lock file whose content never reached the disk
			lost = fmt.Sprintf("%s: %v", name, err)
		case len(events) > 0:
			lost = fmt.Sprintf("%s: %v", name, events)
		case got.Rev < rev:
			lost = fmt.Sprintf("%s: revision %d, acknowledged %d", name, got.Rev, rev)
		}
	}
	return lost, os.Remove(image)
}

// cutOff stops all writing to the disk at once, with nothing flushed: the
// file system's own shutdown (FS_IOC_SHUTDOWN with NOLOGFLUSH). A copy of the
// image under load is no such instant: its parts are of different times.
func cutOff(folder string) error {
	const shutdown, noLogFlush = 0x8004587D, uint32(2)
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	flags := noLogFlush
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, dir.Fd(), shutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return fmt.Errorf("shut the file system down: %w", errno)
	}
	return nil
}
