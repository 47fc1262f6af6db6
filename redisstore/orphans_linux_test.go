package redisstore

import (
	"os/exec"
	"syscall"
)

// dieWithTest ends a process when the thread that started it ends, also where the test could not clean up.
func dieWithTest(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
