package meter

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// meterOf is a machine's meter with clocks that the test moves.
func meterOf(boot string, wall *time.Time, ticks *time.Duration) *Meter {
	m := New(nil)
	m.Simulate(func() time.Time { return *wall }, boot, func() int64 { return int64(*ticks) })
	return m
}

func TestMeter(t *testing.T) {
	wall, ticks := time.Unix(1.8e9, 0), 5*time.Hour
	var doc ledger.Clock
	a := meterOf("boot", &wall, &ticks)
	a.Stamp(&doc, a.Sample(), a.Read().Now)
	begin := doc.Last
	for _, step := range []time.Duration{-time.Second, -400 * 24 * time.Hour, 900 * 24 * time.Hour} {
		wall = wall.Add(step)
		a.Agree(doc)
		require.Equal(t, begin, a.Read().Now, "a step of %v in a process", step)
		b := meterOf("boot", &wall, &ticks)
		b.Agree(doc)
		require.Equal(t, begin, b.Read().Now, "a step of %v before a process", step)
		r := a.Read()
		require.Equal(t, r.Now.Plus(time.Hour), r.Instant(wall.Add(time.Hour)), "an expiry is a duration")
	}
	ticks += 3 * time.Hour // a suspend counts: the boot clock went on
	require.Equal(t, begin.Plus(3*time.Hour), a.Read().Now)
	a.Stamp(&doc, a.Sample(), a.Read().Now)

	wall = time.Unix(1.8e9, 0).Add(24 * time.Hour)
	ticks = time.Minute
	c := meterOf("next boot", &wall, &ticks)
	c.Agree(doc)
	require.Equal(t, begin.Plus(24*time.Hour), c.Read().Now, "forward over a reboot is trusted")
	wall = time.Unix(1.8e9, 0).Add(-24 * time.Hour)
	d := meterOf("another boot", &wall, &ticks)
	d.Agree(doc)
	require.Equal(t, doc.Last, d.Read().Now, "back over a reboot is not")
}

// Two processes that guessed from a wall clock that stepped in between agree on the first one's guess.
func TestMetersAgree(t *testing.T) {
	wall, ticks := time.Unix(1.8e9, 0), 5*time.Hour
	a := meterOf("boot", &wall, &ticks)
	wall = wall.Add(2 * time.Hour)
	b := meterOf("boot", &wall, &ticks)
	b.Agree(ledger.Clock{}) // both saw the empty document
	var doc ledger.Clock
	a.Stamp(&doc, a.Sample(), a.Read().Now)
	b.Agree(doc)
	require.Equal(t, a.Read().Now, b.Read().Now)
}

// A process that is restored from a checkpoint goes on in another time namespace: its boot clock counts from something
// else, and the meter goes on from where it was.
func TestRebase(t *testing.T) {
	wall, ticks := time.Unix(1.8e9, 0), 5*time.Hour
	m := meterOf("boot", &wall, &ticks)
	var doc ledger.Clock
	m.Stamp(&doc, m.Sample(), m.Read().Now)
	before := m.Read().Now
	base := "boot"
	m.bases = func() string { return base }
	m.Rebase()
	require.Equal(t, before, m.Read().Now)

	base, ticks, wall = "boot+1h", 6*time.Hour, wall.Add(time.Minute)
	m.Rebase()
	require.Equal(t, before.Plus(time.Minute), m.Read().Now, "the wall clock is believed")
	m.Agree(doc)
	require.Equal(t, before.Plus(time.Minute), m.Read().Now, "the document knows another base alone")
	m.Stamp(&doc, m.Sample(), m.Read().Now)
	require.Len(t, doc.Boots, 2)

	other := meterOf("boot", &wall, &ticks) // outside: 5 h and a minute since boot by its own clock
	ticks = 5*time.Hour + time.Minute
	other.Agree(doc)
	require.Equal(t, before.Plus(time.Minute), other.Read().Now)
}

// Between two answers of a store that has a clock its clock is carried on as this machine's boot clock counts: through a
// suspend, past any step of the wall clock, and by that alone where a checkpoint was restored.
func TestFollowedClockGoesOn(t *testing.T) {
	wall, ticks := time.Unix(1.8e9, 0), 5*time.Hour
	m := meterOf("boot", &wall, &ticks)
	base := "boot"
	m.bases = func() string { return base }
	m.Follow(wall.Add(5*time.Minute), m.Ticks())
	now := m.Read().Now
	require.Equal(t, timeline.UnixNano(wall.Add(5*time.Minute)), now)

	ticks, wall = ticks+2*time.Hour, wall.Add(2*time.Hour)
	require.Equal(t, now.Plus(2*time.Hour), m.Read().Now, "a suspend")
	wall = wall.Add(-30 * time.Hour)
	m.Rebase()
	require.Equal(t, now.Plus(2*time.Hour), m.Read().Now, "a step of the wall clock")

	m.Follow(wall.Add(6*time.Minute), m.Ticks())
	now = m.Read().Now
	base, ticks, wall = "boot+1h", time.Minute, wall.Add(time.Hour)
	m.Rebase()
	require.Equal(t, now.Plus(time.Hour), m.Read().Now, "a restored checkpoint")
}

// Two answers of a store at once, one of which was long on its way: whichever is followed last, a reading has the offset and
// the doubt of the same one.
func TestTwoAnswersAtOnce(t *testing.T) {
	const took = 5 * time.Second
	for _, slowFirst := range []bool{false, true} {
		for nth := range 6 { // of the looks at a clock that following the one takes; the other comes in the middle
			t.Run(fmt.Sprintf("slow first %v/%d", slowFirst, nth), func(t *testing.T) {
				wall, ticks, looks := time.Unix(1.8e9, 0), 5*time.Hour, -100
				now := wall.Add(5 * time.Minute) // by the store
				m := New(nil)
				var other func()
				looked := func() {
					if looks++; looks == nth+1 {
						other()
					}
				}
				m.Simulate(func() time.Time { defer looked(); return wall }, "boot", func() int64 { defer looked(); return int64(ticks) })
				quick := func() { m.Follow(now, ticks) }
				slow := func() { m.Follow(now, ticks-took) } // the answer was as long in coming
				one := quick
				if other = slow; slowFirst {
					one, other = slow, quick
				}
				looks = 0
				one()
				looks = -100
				r := m.Read()
				require.LessOrEqual(t, r.Least(), timeline.UnixNano(now), "%v", r)
				require.GreaterOrEqual(t, r.Now, timeline.UnixNano(now), "%v", r)
			})
		}
	}
}

// The same, as it happens, with readings meanwhile.
func TestAnswersAndReadingsAtOnce(t *testing.T) {
	wall, ticks := time.Unix(1.8e9, 0), 5*time.Hour
	now := wall.Add(5 * time.Minute)
	m := meterOf("boot", &wall, &ticks)
	m.Follow(now, ticks)
	var all sync.WaitGroup
	for _, took := range []time.Duration{0, 3 * time.Second, 5 * time.Second} {
		all.Go(func() {
			for range 2000 {
				m.Follow(now, ticks-took)
				m.Rebase()
				m.Agree(ledger.Clock{})
				if r := m.Read(); r.Least() > timeline.UnixNano(now) || r.Now < timeline.UnixNano(now) {
					t.Errorf("%v, doubt %v", time.Duration(r.Now-timeline.UnixNano(now)), r.Doubt)
					return
				}
			}
		})
	}
	all.Wait()
}

// A document that is agreed on while another is moves the meter to the later of both.
func TestTwoDocumentsAtOnce(t *testing.T) {
	wall, ticks := time.Unix(1.8e9, 0), 5*time.Hour
	m := meterOf("boot", &wall, &ticks)
	before := m.Read().Now
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() { m.Agree(ledger.Clock{Last: before.Plus(time.Duration(n) * time.Second)}) })
	}
	all.Wait()
	require.Equal(t, before.Plus(7*time.Second), m.Read().Now)
}

// A document that knows too many boots forgets those that began first, and never the one that it is written in. A store may run
// the change again: it has to be the same.
func TestTheBootsThatBeganFirstGiveWay(t *testing.T) {
	wall, ticks := time.Unix(1.8e9, 0), 5*time.Hour
	m := meterOf("boot", &wall, &ticks)
	for range 50 {
		doc := ledger.Clock{Last: 1, Boots: map[string]int64{"b of the same instant": 7, "a of the same instant": 7}}
		for n := range 2 * ledger.MaxBoots {
			doc.Boots[fmt.Sprint("boot ", n)] = int64(n)
		}
		before := maps.Clone(doc.Boots)
		shared := doc.Boots
		m.Stamp(&doc, m.Sample(), m.Read().Now)
		require.Equal(t, []string{"boot", "boot 10", "boot 11", "boot 12", "boot 13", "boot 14", "boot 15", "boot 9"}, slices.Sorted(maps.Keys(doc.Boots)))
		require.Equal(t, before, shared, "another document has them, too")
	}
	doc := ledger.Clock{Boots: map[string]int64{"boot": 1}}
	for n := range ledger.MaxBoots - 1 {
		doc.Boots[fmt.Sprint("boot ", n)] = int64(n)
	}
	m.Stamp(&doc, m.Sample(), m.Read().Now)
	require.Len(t, doc.Boots, ledger.MaxBoots, "none has to give way to one that is known")
	doc.Boots = map[string]int64{"boot 1": 7, "boot 2": 7, "boot 3": 7, "boot 4": 7, "boot 5": 7, "boot 6": 7, "boot 7": 7, "boot 8": 7}
	m.Stamp(&doc, m.Sample(), m.Read().Now)
	require.NotContains(t, doc.Boots, "boot 1", "by the name where nothing else decides")
}

// What a commit says of the clock is the same however often the store runs it, also where an answer of the store comes between.
func TestACommitStampsBySampleAlone(t *testing.T) {
	wall, ticks := time.Unix(1.8e9, 0), 5*time.Hour
	m := meterOf("boot", &wall, &ticks)
	s, before := m.Sample(), ledger.Clock{Last: 1, Boots: map[string]int64{"boot": int64(timeline.UnixNano(wall))}}
	first, again := before, before
	now := m.At(s, before)
	m.Stamp(&first, s, now.Now)
	m.Follow(wall.Add(-time.Hour), m.Ticks())
	require.Equal(t, now, m.At(s, before))
	m.Stamp(&again, s, now.Now)
	require.Equal(t, first, again)
	require.Equal(t, ledger.MachineClock, again.Kind)
}

func TestReadingAllocatesNothing(t *testing.T) {
	m := New(nil)
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = m.Read() }))
}
