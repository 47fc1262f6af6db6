package tokenguard

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/counts"
	"github.com/tokenguard/tokenguard/internal/journal"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/striped"
)

// answersKept bounds the answers that are remembered: about 1 KiB each, at most 6 MiB together when every request is as
// long as one may be.
const answersKept = 1024

// answerCache remembers answers so that a retry storm costs a lookup per call. An entry is valid for one revision, until
// its limit opens, and for at most hotLife. What each such call still does is to be counted, in the counters, in the
// sample of its events and, where it names a known token, in what the predictor learns.
type answerCache struct {
	seed     maphash.Seed
	keys     blockKeys
	slots    [answersKept / 2][2]atomic.Pointer[cachedAnswer] // the newer first
	long     [longKept]atomic.Pointer[longText]
	frequent frequent
}

// cachedAnswer is what the calls of one question get. Its words are absolute instants, so that they stay true.
type cachedAnswer struct {
	scope, caller, failing string
	question               uint64 // hash of these, the status and the text

	rev     *replica.Revision
	trusted int64 // monotonic nanoseconds, until which the slow path vouches for it
	loan
	grant   Grant
	err     *RefusedError // nil: grant; see refusal
	moves   bool          // the instant that err names rests on when the call's own report was made
	asked   int64         // monotonic nanoseconds, when that of err was
	answer  int           // of a refusal: its index in answerKeys
	use     *lastUse      // of the grant's token
	asker   asker
	event   Event
	sample  *journal.Sample
	counts  *ledger.Report                  // for the predictor; nil: names no known token
	counter atomic.Pointer[striped.Counter] // of a refusal: counts all that count does; nil: that is counted one by one
}

// count counts one more call, and its event as one that was left out, as add of the counts does. It is for one without a
// counter.
func (a *cachedAnswer) count(answers *answerCounts) int64 {
	a.sample.Skip()
	if a.err == nil {
		return a.asker.scope.Hits(counts.Cached).Add()
	}
	a.asker.refused()
	return answers.add(a.answer)
}

// refusal is err for a call at the monotonic nanoseconds given.
func (a *cachedAnswer) refusal(now int64) *RefusedError {
	own := *a.err
	own.Verdict.RetryAt = own.Verdict.RetryAt.Add(time.Duration(now - a.asked))
	return &own
}

// undo takes back what count counted.
func (a *cachedAnswer) undo(answers *answerCounts) {
	a.sample.Unskip()
	if a.err == nil {
		a.asker.scope.Hits(counts.Cached).AddTo(0, -1)
		return
	}
	a.asker.unrefused()
	answers.undo(a.answer)
}

// isShort reports whether there is no failure in which question would have to look for a text.
func (r *Request) isShort() bool {
	return r.bare() && r.Failure.At.IsZero() && max(len(r.Scope), len(r.Caller), len(r.Failing)) <= maxCaller
}

// question returns the text of the request's failure, if calls like this one may share an answer: classifying looks at
// nothing else then.
func question(req *Request, classifier bool) (text string, ok bool) {
	f := &req.Failure
	if len(f.Header) > 0 && (classifier || readsOneOf(f.Header)) {
		return "", false
	}
	if !req.Kind.plain() || !f.At.IsZero() || len(req.Scope) > maxScope {
		return "", false
	}
	text = f.Message
	if f.Err != nil {
		if classifier || errors.Is(f.Err, context.Canceled) || errors.Is(f.Err, context.DeadlineExceeded) {
			return "", false
		}
		if _, own := ownError(f); own { // it is classified by its type
			return "", false
		}
		if text == "" { // the rest of Failure.text, without the copy
			text = f.Err.Error()
		}
	}
	return text, len(text) <= maxText && len(req.Caller) <= maxCaller && len(req.Failing) <= maxCaller
}

// readsOneOf reports whether classifying looks at one of the headers.
func readsOneOf(header map[string][]string) bool {
	for name := range header {
		if classify.ReadsHeader(name) {
			return true
		}
	}
	return false
}

// hash is that of a question, with all of its text: two texts of one hash would be a chance of one in 2^64, which no
// caller can raise without the seed.
func (c *answerCache) hash(req *Request, text string) uint64 {
	h := uint64(req.Failure.StatusCode)
	if req.Scope != "" {
		h = (h ^ hashOf(req.Scope)) * 0x9E3779B97F4A7C15 // an odd number for each
	}
	if req.Caller != "" {
		h = (h ^ hashOf(req.Caller)) * 0xC2B2AE3D27D4EB4F
	}
	if req.Failing != "" {
		h = (h ^ hashOf(req.Failing)) * 0x165667B19E3779F9
	}
	if len(text) >= blockSize {
		blocks := len(text) &^ (blockSize - 1)
		h = (h ^ c.keys.blocks(text[:blocks])) * 0xD6E8FEB86659FD93
		text = text[blocks:]
	}
	if text != "" {
		h = (h ^ maphash.String(c.seed, text)) * 0xFF51AFD7ED558CCD
	}
	return h * 0x9E3779B97F4A7C15
}

// blockKeys key the hash of a long text.
type blockKeys [8]uint64

func newBlockKeys() (k blockKeys) {
	for i := range k {
		k[i] = rand.Uint64()
	}
	return k
}

const blockSize = 64

// blocks is the hash of a text of whole blocks: wyhash's step, a product of 128 bits folded to 64, in four lanes that do
// not wait for each other. It takes less than half the time of maphash, which is most of a refusal's.
func (k *blockKeys) blocks(text string) uint64 {
	a, b, c, d := k[0], k[1], k[2], k[3]
	for bytes := unsafe.Slice(unsafe.StringData(text), len(text)); len(bytes) >= blockSize; bytes = bytes[blockSize:] { // read only
		block := bytes[:blockSize:blockSize]
		a = fold(binary.LittleEndian.Uint64(block[0:])^k[4], binary.LittleEndian.Uint64(block[8:])^a)
		b = fold(binary.LittleEndian.Uint64(block[16:])^k[5], binary.LittleEndian.Uint64(block[24:])^b)
		c = fold(binary.LittleEndian.Uint64(block[32:])^k[6], binary.LittleEndian.Uint64(block[40:])^c)
		d = fold(binary.LittleEndian.Uint64(block[48:])^k[7], binary.LittleEndian.Uint64(block[56:])^d)
	}
	return fold(a^k[4], b^k[5]) ^ fold(c^k[6], d^k[7])
}

func fold(x, y uint64) uint64 {
	high, low := bits.Mul64(x, y)
	return high ^ low
}

func (c *answerCache) slot(hash uint64) *[2]atomic.Pointer[cachedAnswer] {
	return &c.slots[hash>>32%uint64(len(c.slots))]
}

// lookup returns the answer to the last call like this one, on the revision given.
func (c *answerCache) lookup(req *Request, text string, rev *replica.Revision) *cachedAnswer {
	if len(text) >= longLeast {
		if a := c.lookupLong(req, text, rev); a != nil {
			return a
		}
	}
	h := c.hash(req, text)
	slot := c.slot(h)
	a := slot[0].Load()
	if a == nil || a.question != h {
		if a = slot[1].Load(); a == nil || a.question != h {
			return nil
		}
	}
	if !a.answers(req, rev) {
		return nil
	}
	return a
}

// answers reports whether a is of the revision, and of a request like this one but for its failure.
func (a *cachedAnswer) answers(req *Request, rev *replica.Revision) bool {
	return a.rev == rev && same(a.scope, req.Scope) && same(a.caller, req.Caller) && same(a.failing, req.Failing)
}

// same is ==, without a call for what is empty, as most of a question is.
func same(a, b string) bool { return len(a) == len(b) && (len(a) == 0 || a == b) }

// often is called now and then for an answer whose question comes often.
func (c *answerCache) often(a *cachedAnswer, req *Request, text string, counts *answerCounts) {
	c.frequent.join(a, counts)
	if len(text) < longLeast {
		return
	}
	place := c.longPlace(text)
	if l := place.Load(); l == nil || l.answer != a {
		place.Store(&longText{strings.Clone(text), req.Failure.StatusCode, a})
	}
}

// add remembers an answer to the request, in the place of the older one beside it.
func (c *answerCache) add(req *Request, text string, a *cachedAnswer) {
	a.scope, a.caller, a.failing = strings.Clone(req.Scope), strings.Clone(req.Caller), strings.Clone(req.Failing)
	a.question = c.hash(req, text)
	slot := c.slot(a.question)
	if old := slot[0].Load(); old != nil && old.question != a.question {
		slot[1].Store(old)
	}
	slot[0].Store(a)
	if len(text) >= longLeast {
		place := c.longPlace(text)
		if l := place.Load(); l != nil && l.answer.question == a.question {
			place.Store(&longText{l.text, l.status, a})
		}
	}
}

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

// lookupLong is lookup for a question with a text of at least longLeast bytes that came often.
func (c *answerCache) lookupLong(req *Request, text string, rev *replica.Revision) *cachedAnswer {
	l := c.longPlace(text).Load()
	if l == nil || l.status != req.Failure.StatusCode || !l.answer.answers(req, rev) || l.text != text {
		return nil
	}
	return l.answer
}

// frequent counts the refusals that come often: with one addition each, where a refusal counts for its scope, its operation,
// its reason and the sample of its events.
type frequent struct {
	free *striped.Counters

	mu    sync.Mutex // guards what follows
	known map[placesCounted]*striped.Counter
}

// frequentKept is how many combinations of places have a counter of their own.
const frequentKept = 32

// placesCounted is where a refusal counts.
type placesCounted struct {
	asker
	answer int
	sample *journal.Sample
}

// join has the calls of an answer that came often counted with one addition, as long as there is room.
func (s *frequent) join(a *cachedAnswer, answers *answerCounts) {
	if a.err == nil || a.counter.Load() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := placesCounted{a.asker, a.answer, a.sample}
	t := s.known[key]
	if t == nil {
		if len(s.known) == frequentKept {
			return
		}
		t = s.free.Next()
		if s.known == nil {
			s.known = map[placesCounted]*striped.Counter{}
		}
		s.known[key] = t
		a.asker.share(t)
		answers.shared[a.answer].Add(t)
		a.sample.Share(t)
	}
	a.counter.Store(t)
}
