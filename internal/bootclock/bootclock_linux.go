package bootclock

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const (
	procRoot = "/proc"

	// firstNamespace is the link of the time namespace that the kernel starts in,
	// which has no offsets (PROC_TIME_INIT_INO in linux/proc_ns.h).
	firstNamespace = "time:[4026531834]"
)

func base(proc string) string {
	b, err := os.ReadFile(filepath.Join(proc, "sys/kernel/random/boot_id"))
	id := strings.TrimSpace(string(b))
	if err != nil || id == "" || now() == 0 {
		return ""
	}
	offset, ok := namespaceOffset(filepath.Join(proc, "self"))
	switch {
	case !ok:
		return ""
	case offset == 0: // as if there were no namespaces: it is the same clock
		return id
	}
	return fmt.Sprintf("%s%+dns", id, offset)
}

// namespaceOffset is by how much the boot clock of this process is ahead of the
// machine's. The offset and not the namespace's number is what tells clocks apart:
// numbers are given again, and namespaces of one offset have one clock.
func namespaceOffset(self string) (offset time.Duration, ok bool) {
	own, err := os.Readlink(filepath.Join(self, "ns/time"))
	if os.IsNotExist(err) { // a kernel without time namespaces, if it shows the others
		_, err := os.Readlink(filepath.Join(self, "ns/mnt"))
		return 0, err == nil
	}
	if err != nil {
		return 0, false
	}
	if own == firstNamespace {
		return 0, true
	}
	// timens_offsets is of the namespace that children start in, which is this
	// process' own unless it has just unshared it.
	children, err := os.Readlink(filepath.Join(self, "ns/time_for_children"))
	if err != nil || children != own {
		return 0, false
	}
	b, err := os.ReadFile(filepath.Join(self, "timens_offsets"))
	if err != nil {
		return 0, false
	}
	return parseOffset(string(b))
}

// parseOffset reads the line "boottime SECONDS NANOSECONDS", in which older
// kernels name the clock by its number.
func parseOffset(text string) (time.Duration, bool) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "boottime" && f[0] != strconv.Itoa(clockBoottime) {
			continue
		}
		sec, err := strconv.ParseInt(f[1], 10, 64)
		nsec, err2 := strconv.ParseInt(f[2], 10, 64)
		const most = int64(1<<63-1) / int64(time.Second)
		if err != nil || err2 != nil || sec >= most || sec <= -most || nsec < 0 || nsec >= int64(time.Second) {
			return 0, false
		}
		return time.Duration(sec)*time.Second + time.Duration(nsec), true
	}
	return 0, false
}

const clockBoottime = 7 // CLOCK_BOOTTIME of linux/time.h

func now() time.Duration {
	var ts syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0
	}
	return time.Duration(ts.Sec)*time.Second + time.Duration(ts.Nsec)
}
