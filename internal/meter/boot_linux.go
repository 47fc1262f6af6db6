package meter

import (
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// bootID names this boot of the machine; empty where it cannot be read.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || bootTime() == 0 {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// bootTime is the time since boot in nanoseconds, suspends included; 0 where the kernel does not tell.
func bootTime() int64 {
	const clockBoottime = 7
	var ts syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0
	}
	return int64(ts.Sec)*int64(time.Second) + int64(ts.Nsec)
}
