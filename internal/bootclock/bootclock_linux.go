package bootclock

import (
	"bytes"
	"fmt"
	"os"
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
	var room [128]byte
	b, ok := readSmall(proc+"/sys/kernel/random/boot_id", room[:])
	id := string(bytes.TrimSpace(b))
	if !ok || id == "" || now() == 0 {
		return ""
	}
	offset, ok := namespaceOffset(proc + "/self")
	switch {
	case !ok:
		return ""
	case offset == 0: // as if there were no namespaces: it is the same clock
		return id
	}
	return fmt.Sprintf("%s%+dns", id, offset)
}

// readSmall reads a file of one line that fits into room with a byte to spare: to its end, or to that of the line. Every
// look at a store comes here, and what an os.File tells the poller takes longer than reading the file.
func readSmall(path string, room []byte) ([]byte, bool) {
	fd, err := retried(func() (int, error) { return syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0) })
	if err != nil {
		return nil, false
	}
	defer syscall.Close(fd)
	n := 0
	for n < len(room) {
		m, err := retried(func() (int, error) { return syscall.Read(fd, room[n:]) })
		switch {
		case err != nil:
			return nil, false
		case m == 0:
			return room[:n], true
		}
		if n += m; room[n-1] == '\n' { // there is no more, and to be told so costs another call
			return room[:n], true
		}
	}
	return nil, false
}

// retried is call until no signal interrupts it.
func retried(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != syscall.EINTR {
			return n, err
		}
	}
}

// namespaceOffset is by how much the boot clock of this process is ahead of the
// machine's. The offset and not the namespace's number is what tells clocks apart:
// numbers are given again, and namespaces of one offset have one clock.
func namespaceOffset(self string) (offset time.Duration, ok bool) {
	var room [128]byte
	own, err := readLink(self+"/ns/time", room[:])
	if err == syscall.ENOENT { // a kernel without time namespaces, if it shows the others
		_, err := readLink(self+"/ns/mnt", room[:])
		return 0, err == nil
	}
	if err != nil {
		return 0, false
	}
	if string(own) == firstNamespace {
		return 0, true
	}
	// timens_offsets is of the namespace that children start in, which is this
	// process' own unless it has just unshared it.
	children, err := os.Readlink(self + "/ns/time_for_children")
	if err != nil || children != string(own) {
		return 0, false
	}
	b, err := os.ReadFile(self + "/timens_offsets")
	if err != nil {
		return 0, false
	}
	return parseOffset(string(b))
}

// readLink is os.Readlink for the short links of /proc.
func readLink(path string, room []byte) ([]byte, error) {
	n, err := retried(func() (int, error) { return syscall.Readlink(path, room) })
	if err != nil {
		return nil, err
	}
	return room[:n], nil
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
