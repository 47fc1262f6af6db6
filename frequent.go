package tokenguard

import (
	"sync"

	"github.com/tokenguard/tokenguard/internal/journal"
	"github.com/tokenguard/tokenguard/internal/striped"
)

// frequent counts the refusals that come often: with one addition each, where a refusal counts for its scope, its operation,
// its reason and the sample of its events.
type frequent struct {
	mu       sync.Mutex // guards what follows
	known    map[placesCounted]*striped.Counter
	counters striped.Counters
}

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
		if t = s.counters.Next(); t == nil {
			return
		}
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
