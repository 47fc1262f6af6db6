// Package bootclock reads the clock that counts from the machine's boot, and says
// whether two processes read the same one.
//
// No step of the wall clock moves it and a suspend does not stop it, so what one
// process stored of it another can go on from, as long as both count from the
// same base. That is not so across a reboot, nor between time namespaces: a
// container that was checkpointed and restored, or that was started with an
// offset, has the machine's boot id and another clock.
package bootclock

import "time"

// Base names what the clock counts from, as a short line of text to store and to
// compare: the boot's id, and the offset of this process' time namespace where it
// has one. Two processes with the same Base read the same clock, up to the length
// of one reading. It is empty where there is no such clock or its base cannot be
// told: the clock may then be used within this process only.
//
// No process with more than one thread, as each of Go's is, can move to another
// time namespace: unshare moves its children alone, and setns fails with EUSERS.
// It is no constant all the same: a process that is restored from a checkpoint
// goes on in another namespace, or on another machine, and is not told. It takes
// a file and a link of /proc, so that a caller can afford to ask anew.
func Base() string { return base(procRoot) }

// Now is the time since Base, suspends included. It is 0 where there is no such
// clock.
func Now() time.Duration { return now() }

// Read returns Base and Now of one instant. Where a checkpoint comes between the
// two time and again, which nothing but a fault can do, the base is empty.
func Read() (base string, at time.Duration) {
	const tries = 4
	before := Base()
	for range tries {
		at = Now()
		after := Base()
		if before == after {
			return after, at
		}
		before = after
	}
	return "", at
}
