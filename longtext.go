package tokenguard

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/tokenguard/tokenguard/internal/replica"
)

// A long text costs most to hash of all that a known refusal does, and to compare it with one that is at hand takes half of
// that. So the texts of a few questions that come often are kept as they are.
const (
	longLeast = 256 // bytes
	longKept  = 64  // at most 8 KiB each
)

// longText is the text of an answer's question.
type longText struct {
	text   string
	status int
	answer *cachedAnswer
}

// longPlace is where a long text would be kept: a look at a few of its bytes.
func (c *answerCache) longPlace(text string) *atomic.Pointer[longText] {
	b := unsafe.Slice(unsafe.StringData(text), len(text)) // read only
	at := func(i int) uint64 { return binary.LittleEndian.Uint64(b[i : i+8]) }
	h := fold(at(0)^c.keys[0], at(len(b)-8)^c.keys[1]) ^ fold(at(len(b)/2)^c.keys[2], uint64(len(b))^c.keys[3])
	return &c.long[h%longKept]
}

// lookupLong is lookup for a question with a long text that came often.
func (c *answerCache) lookupLong(req *Request, text string, rev *replica.Revision) *cachedAnswer {
	if len(text) < longLeast {
		return nil
	}
	l := c.longPlace(text).Load()
	if l == nil || l.status != req.Failure.StatusCode || !l.answer.answers(req, rev) || l.text != text {
		return nil
	}
	return l.answer
}
