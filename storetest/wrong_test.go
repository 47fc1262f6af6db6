package storetest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tokenguard/tokenguard"
)

// engine is a right store, but for one fault that it is asked for.
type engine struct {
	fault   string
	lock    chan struct{}
	mu      sync.Mutex // guards the rest; lock decides who updates
	docs    map[string]tokenguard.Snapshot
	handles int
	closed  bool
	hints   map[chan struct{}]bool
	looks   int
}

type handle struct {
	*engine
	id     int
	closed bool
	own    uint64 // the newest revision that this handle wrote
	seen   map[string]tokenguard.Snapshot
	lock   chan struct{}
}

func newEngine(fault string) func() *handle {
	e := &engine{fault: fault, lock: make(chan struct{}, 1), docs: map[string]tokenguard.Snapshot{}, hints: map[chan struct{}]bool{}}
	return func() *handle {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.handles++
		h := &handle{engine: e, id: e.handles, seen: map[string]tokenguard.Snapshot{}, lock: e.lock}
		if e.is("lock per handle") {
			h.lock = make(chan struct{}, 1)
		}
		if e.is("rev restarts on open") {
			for name, s := range e.docs {
				s.Rev = 1
				e.docs[name] = s
			}
		}
		return h
	}
}

func (e *engine) is(fault string) bool { return e.fault == fault }

// yield lets others in between where a wrong store has a gap.
func yield() { time.Sleep(50 * time.Microsecond) }

func (h *handle) key(name string) string {
	switch {
	case h.is("one document"):
		return ""
	case h.is("names fold case"):
		return strings.ToLower(name)
	case h.is("names are cut"):
		return name[:1]
	case h.is("handles are blind"):
		return fmt.Sprint(h.id, name)
	}
	return name
}

func (h *handle) usable() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if (h.closed || h.engine.closed) && !h.is("usable after close") {
		return tokenguard.ErrClosed
	}
	return nil
}

// load returns the document as this handle shows it.
func (h *handle) load(name string) tokenguard.Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.docs[h.key(name)]
	h.looks++
	switch {
	case h.is("rev starts at 1"):
		s.Rev++
	case h.is("epoch changes"):
		s.Epoch = fmt.Sprint(h.looks)
	case h.is("epoch of each handle") && s.Rev > 0:
		s.Epoch = fmt.Sprint(h.id)
	case h.is("now goes back"):
		s.Now = time.Unix(1000-int64(h.looks), 0)
	case h.is("now is set sometimes") && h.looks%2 == 0:
		s.Now = time.Unix(1000, 0)
	case h.is("stale read"):
		old, ok := h.seen[name]
		h.seen[name] = s
		if ok && h.looks%7 == 0 {
			s.Data = old.Data
		}
	}
	return s
}

func (h *handle) View(_ context.Context, name string) (tokenguard.Snapshot, error) {
	if err := h.usable(); err != nil {
		if h.is("hangs after close") {
			select {}
		}
		return tokenguard.Snapshot{}, err
	}
	return h.load(name), nil
}

func (h *handle) Update(ctx context.Context, name string, fn func(tokenguard.Snapshot) ([]byte, error)) (tokenguard.Snapshot, error) {
	if err := h.usable(); err != nil {
		return tokenguard.Snapshot{}, err
	}
	if err := ctx.Err(); err != nil && !h.is("ignores a canceled context") {
		return tokenguard.Snapshot{}, err
	}
	h.lock <- struct{}{}
	release := true
	defer func() {
		if r := recover(); r != nil {
			if !h.is("locked for good by a panic") {
				<-h.lock
			}
			panic(r)
		}
		if release {
			<-h.lock
		}
	}()
	if h.is("read, then write") {
		<-h.lock
		release = false
	}
	old := h.load(name)
	given := old
	if h.is("fn sees nothing") {
		given = tokenguard.Snapshot{}
	}
	data, err := fn(given)
	if h.is("read, then write") || h.is("lock per handle") {
		yield()
	}
	if ctx.Err() != nil {
		if h.is("locked for good by a cancel") {
			release = false
		}
		if h.is("claims a canceled commit") {
			old.Data, old.Rev = data, old.Rev+1
			return old, nil
		}
	}
	switch {
	case err != nil && h.is("error is wrapped"):
		return old, fmt.Errorf("store: %w", err)
	case err != nil && h.is("error stores"):
		h.commit(name, data)
		return old, err
	case err != nil:
		return old, err
	case data == nil && (h.is("nil stores") || h.is("nil raises rev")):
		if h.is("nil raises rev") {
			data = old.Data
		}
		return h.commit(name, data), nil
	case data == nil, h.is("same content is no commit") && string(data) == string(old.Data):
		return old, nil
	}
	s := h.commit(name, data)
	if h.is("update returns the old") {
		return old, nil
	}
	return s, nil
}

func (h *handle) commit(name string, data []byte) tokenguard.Snapshot {
	h.mu.Lock()
	key := h.key(name)
	s := h.docs[key]
	kept := append([]byte(nil), data...)
	switch {
	case h.is("keeps fn's buffer"):
		kept = data
	case h.is("reuses its buffer"):
		kept = append(s.Data[:0], data...)
	case h.is("text only"):
		kept = []byte(strings.ToValidUTF8(string(data), "?"))
	case h.is("trims"):
		kept = []byte(strings.TrimSpace(string(data)))
	case h.is("at most 64 KiB"):
		kept = kept[:min(len(kept), 64<<10)]
	case h.is("update not stored"):
		kept = s.Data
	}
	s = tokenguard.Snapshot{Data: kept, Rev: s.Rev + 1, Epoch: s.Epoch}
	h.docs[key] = s
	h.own = s.Rev
	full := false
	for c := range h.hints {
		select {
		case c <- struct{}{}:
		default:
			full = true
		}
	}
	h.mu.Unlock()
	if full && h.is("watch blocks updates") {
		select {}
	}
	s.Data = append([]byte(nil), kept...)
	if h.is("reuses its buffer") {
		s.Data = kept
	}
	if h.is("epoch of each handle") {
		s.Epoch = fmt.Sprint(h.id)
	}
	return s
}

func (h *handle) Revision(_ context.Context, name string) (uint64, error) {
	if err := h.usable(); err != nil && !h.is("revision after close") {
		return 0, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.is("revision is constant"):
		return 0, nil
	case h.is("revision of own commits"):
		return h.own, nil
	}
	return h.docs[h.key(name)].Rev, nil
}

func (h *handle) Watch(ctx context.Context, _ string) <-chan struct{} {
	c := make(chan struct{}, 1)
	if h.is("watch closes early") {
		close(c)
		return c
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.is("watch never hints") {
		h.hints[c] = true
	}
	if !h.is("watch stays open") {
		context.AfterFunc(ctx, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.hints, c)
			close(c)
		})
	}
	return c
}

func (h *handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed && h.is("second close hangs") {
		select {}
	}
	h.closed = true
	switch {
	case h.is("close closes all"):
		h.engine.closed = true
	case h.is("forgets on close"):
		clear(h.docs)
	}
	return nil
}
