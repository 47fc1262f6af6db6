package tokenguard

import (
	"sync/atomic"
	"unsafe"
)

// striped is a counter that many cores can add to without waiting for each other: goroutines that run at the same time
// have stacks of their own, so the address of a variable tells them apart for less than a random number costs.
type striped struct{ cells [stripes]cell }

const stripes = 64

type cell struct {
	n atomic.Int64
	_ [120]byte // two cache lines each: processors fetch them in pairs
}

// add counts one, and returns how many its stripe has counted.
func (s *striped) add() int64 {
	var here byte
	at := uint64(uintptr(unsafe.Pointer(&here)))
	return s.cells[at>>11*0x9E3779B97F4A7C15>>58].n.Add(1) // stacks begin at multiples of 2 KiB or more
}

// undo takes back what add counted.
func (s *striped) undo() { s.cells[0].n.Add(-1) }

func (s *striped) sum() (n int64) {
	for i := range s.cells {
		n += s.cells[i].n.Load()
	}
	return n
}
