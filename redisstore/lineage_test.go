package redisstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
)

const testTTL = 48 * time.Hour

// rev is the revision of a commit made so many seconds into the test.
func rev(seconds int) uint64 { return uint64(1_700_000_000+seconds) * 1_000_000 }

func at(seconds int) time.Time { return time.UnixMicro(int64(rev(seconds))) }

func logOf(revs ...uint64) (log string) {
	for _, r := range revs {
		log += version{rev: r}.revision() + ":OPERATION;"
	}
	return log
}

func TestSightingNext(t *testing.T) {
	const ours, theirs = "our data", "their data"
	seen := sighting{ // two commits of epoch A
		snap: tokenguard.Snapshot{Data: []byte(ours), Rev: rev(20), Epoch: "A"}, base: version{"A", rev(20)},
	}
	lost := sighting{ // then the key vanished
		snap: tokenguard.Snapshot{Data: []byte(ours), Rev: rev(20) + 1, Epoch: "B"}, lost: true, left: "A",
	}
	some := func(epoch string, r uint64, log string) reply {
		return reply{version: version{epoch, r}, now: at(100), log: log, data: []byte(theirs)}
	}
	none := reply{now: at(100)}
	tests := []struct {
		name  string
		seen  sighting
		reply reply
		epoch string // "new": one never seen
		rev   uint64
		data  string
	}{
		{"never written", sighting{}, none, "", 0, ""},
		{"first look", sighting{}, some("A", rev(20), ""), "A", rev(20), theirs},
		{"nothing changed", seen, some("A", rev(20), ""), "A", rev(20), ours},
		{"later commits", seen, some("A", rev(22), logOf(rev(22), rev(21), rev(20), rev(10))), "A", rev(22), theirs},
		{"so many that the log has forgotten", seen, some("A", rev(90), logOf(rev(90), rev(80))), "A", rev(90), theirs},
		{"vanished", seen, none, "new", rev(20) + 1, ours},
		{"vanished at the end of its life", seen, reply{now: at(20).Add(testTTL)}, "A", rev(20), ours},
		{"went back", seen, some("A", rev(10), logOf(rev(10))), "new", rev(20) + 1, ours},
		{"went back and on without ours", seen, some("A", rev(30), logOf(rev(30), rev(10))), "new", rev(30) + 1, theirs},
		{"begun anew by another process", seen, some("C", rev(40), logOf(rev(40))), "C", rev(40), theirs},
		{"begun anew on an earlier clock", seen, some("C", rev(5), logOf(rev(5))), "new", rev(20) + 1, ours},
		{"still vanished", lost, none, "B", rev(20) + 1, ours},
		{"our commit, its answer lost", lost, some("B", rev(30), logOf(rev(30))), "B", rev(30), theirs},
		{"restored by another process", lost, some("C", rev(30), logOf(rev(30))), "C", rev(30), theirs},
		{"the old lineage came back", lost, some("A", rev(30), logOf(rev(30), rev(20))), "B", rev(30) + 1, theirs},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := test.seen.next(test.reply, testTTL)
			if test.epoch == "new" {
				require.NotContains(t, []string{"", "A", "B", "C"}, got.snap.Epoch)
			} else {
				require.Equal(t, test.epoch, got.snap.Epoch)
			}
			require.Equal(t, test.rev, got.snap.Rev)
			require.Equal(t, test.data, string(got.snap.Data))
			require.Equal(t, test.reply.now, got.snap.Now)
			require.Equal(t, test.reply.version, got.base, "the next commit replaces what the engine holds")
			require.Equal(t, got, got.next(test.reply, testTTL), "looking twice shows the same")
			if changed := got.snap.Rev != test.seen.snap.Rev; changed {
				require.NotEqual(t, test.seen.snap.Rev, test.seen.revision(test.reply.version))
			}
		})
	}
}

// A lineage that was left does not count as a recovery when it returns, even after the new one was stored.
func TestSightingNextSplitBrain(t *testing.T) {
	seen := sighting{
		snap: tokenguard.Snapshot{Data: []byte("b"), Rev: rev(30), Epoch: "B"}, base: version{"B", rev(30)}, left: "A",
	}
	got := seen.next(reply{version: version{"A", rev(40)}, log: logOf(rev(40)), data: []byte("a")}, testTTL)
	require.NotContains(t, []string{"A", "B"}, got.snap.Epoch)
	require.True(t, got.lost)
}

func TestFollows(t *testing.T) {
	require.True(t, follows("30:X;20:Y;10:Z;", 20))
	require.False(t, follows("30:X;10:Z;", 20))
	require.True(t, follows("30:X;25:Z;", 20), "cannot tell")
	require.True(t, follows("30:X;20:Y;1", 20), "the cut entry at the end is none")
	require.False(t, follows("", 20))
}
