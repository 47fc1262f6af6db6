//go:build unix

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// groups are the commands that run.
var groups processGroups

type processGroups struct {
	starting sync.RWMutex // read-locked by each start, until its group is noted; guards what follows
	noted    sync.Map     // by number
	ended    bool
}

// start runs begin, which starts a command and returns its group.
func (g *processGroups) start(begin func() (int, error)) (number int, err error) {
	g.starting.RLock()
	defer g.starting.RUnlock()
	if g.ended {
		return 0, errors.New("tokenguard: interrupted")
	}
	if number, err = begin(); err == nil {
		g.noted.Store(number, nil)
	}
	return number, err
}

// end kills the groups, also those of commands that are just being started, and has no more started.
func (g *processGroups) end() {
	g.starting.Lock()
	defer g.starting.Unlock()
	g.ended = true
	g.noted.Range(func(number, _ any) bool {
		_ = syscall.Kill(-number.(int), syscall.SIGKILL)
		return true
	})
}

// dieOf ends this program as the signal does. What its commands have started ends first: each has a group of its own, which
// no signal of the terminal's or a supervisor's reaches, and would ask the upstream after the attempt's recorded end.
func dieOf(s os.Signal) {
	groups.end()
	signal.Reset(s)
	_ = syscall.Kill(os.Getpid(), s.(syscall.Signal))
}

// runGroup runs the command in a process group of its own. When its context ends, or the command fails, all processes
// of the group are killed; what a command that succeeds leaves behind, an agent for instance, lives on. A process that
// has put itself into another group or session is out of reach.
//
// A group of its own is in the background, where reading the terminal stops a process. So it gets the terminal for the
// time, if this process has it: a command may ask for a password. An interrupt from the terminal then reaches it alone,
// and is passed on.
func runGroup(ctx context.Context, cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd) }
	tty := foreground()
	if tty != nil {
		defer tty.Close()
		cmd.SysProcAttr.Foreground, cmd.SysProcAttr.Ctty = true, int(tty.Fd())
	}
	number, err := groups.start(func() (int, error) {
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		return cmd.Process.Pid, nil
	})
	if err != nil {
		return err
	}
	defer groups.noted.Delete(number)
	// Not cmd.Cancel alone, which is not called where the command has left its children behind.
	stop := context.AfterFunc(ctx, func() { _ = killGroup(cmd) })
	err = cmd.Wait()
	stop()
	if tty != nil {
		takeBack(tty, cmd.Process.Pid)
	}
	if err != nil {
		_ = killGroup(cmd) // whatever of it is left
		passOn(tty, cmd)
	}
	return err
}

// killGroup kills the command's group, which has the command's number.
func killGroup(cmd *exec.Cmd) error {
	err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// foreground returns this process' terminal if its group has it; nil otherwise.
func foreground() *os.File {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	if group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP); err != nil || group != unix.Getpgrp() {
		tty.Close()
		return nil
	}
	return tty
}

// takeBack makes this process' group the terminal's again, unless another has taken it from the command's. From the
// background that would stop this process, if it did not ignore the signal.
func takeBack(tty *os.File, from int) {
	if group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP); err != nil || group != from {
		return
	}
	signal.Ignore(syscall.SIGTTOU)
	defer signal.Reset(syscall.SIGTTOU)
	_ = unix.IoctlSetPointerInt(int(tty.Fd()), unix.TIOCSPGRP, unix.Getpgrp())
}

// passOn sends this process' group the interrupt that ended the command, as the terminal would have.
func passOn(tty *os.File, cmd *exec.Cmd) {
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if tty == nil || !ok || !status.Signaled() {
		return
	}
	if s := status.Signal(); s == syscall.SIGINT || s == syscall.SIGQUIT {
		_ = syscall.Kill(0, s)
	}
}

// become replaces this process by the program.
func become(args, environ []string) error {
	path, err := exec.LookPath(args[0])
	if err == nil {
		err = syscall.Exec(path, args, environ)
	}
	return cannotBecome(args[0], err)
}
