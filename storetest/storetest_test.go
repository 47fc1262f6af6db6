package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

func TestMemoryStore(t *testing.T) {
	t.Parallel()
	Run(t, func(*testing.T) tokenguard.Store { return tokenguard.NewMemoryStore() })
}

// recorder keeps what a check reports.
type recorder struct {
	testing.TB // for Helper and Context

	mu     sync.Mutex // guards errors
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// reports runs one check against a store with a fault and returns what it says.
func reports(t *testing.T, name, fault string, patience time.Duration) []string {
	for _, c := range checks {
		if c.name == name {
			opener, r := newEngine(fault), &recorder{TB: t}
			c.run(r, func() tokenguard.Store { return opener() }, patience)
			return r.errors
		}
	}
	t.Errorf("there is no check %s", name)
	return nil
}

func TestARightStorePasses(t *testing.T) {
	for _, c := range checks {
		assert.Empty(t, reports(t, c.name, "", patience), c.name)
	}
}

// TestWrongStoresFail: each breaks one rule, and that rule's check must say so.
func TestWrongStoresFail(t *testing.T) {
	hanging := map[string]bool{ // these are worth a short wait only
		"locked for good by a cancel": true, "locked for good by a panic": true, "watch never hints": true, "watch blocks updates": true,
		"watch stays open": true, "hangs after close": true, "second close hangs": true,
	}
	unchecked := map[string]bool{}
	for _, c := range checks {
		unchecked[c.name] = true
	}
	for fault, check := range map[string]string{
		"rev starts at 1":             "NeverWritten",
		"update not stored":           "UpdateIsSeen",
		"update returns the old":      "UpdateIsSeen",
		"fn sees nothing":             "UpdateIsSeen",
		"error stores":                "ErrorAborts",
		"error is wrapped":            "ErrorAborts",
		"nil stores":                  "NothingToWrite",
		"nil raises rev":              "NothingToWrite",
		"same content is no commit":   "RevGrows",
		"one document":                "NamesAreIndependent",
		"names fold case":             "NamesAreIndependent",
		"names are cut":               "NamesAreIndependent",
		"text only":                   "AnyBytes",
		"trims":                       "AnyBytes",
		"at most 64 KiB":              "LargeDocument",
		"keeps fn's buffer":           "DataIsNotShared",
		"reuses its buffer":           "DataIsNotShared",
		"ignores a canceled context":  "CanceledBefore",
		"claims a canceled commit":    "CanceledDuring",
		"locked for good by a cancel": "CanceledDuring",
		"locked for good by a panic":  "PanicLeavesNoLock",
		"read, then write":            "ConcurrentUpdates",
		"stale read":                  "ConcurrentUpdates",
		"epoch changes":               "EpochIsStable",
		"now goes back":               "NowIsMonotone",
		"now is set sometimes":        "NowIsMonotone",
		"revision is constant":        "Revision",
		"watch never hints":           "Watch",
		"watch blocks updates":        "Watch",
		"watch stays open":            "Watch",
		"watch closes early":          "Watch",
		"usable after close":          "UseAfterClose",
		"hangs after close":           "UseAfterClose",
		"second close hangs":          "UseAfterClose",
		"revision after close":        "UseAfterClose",
		"handles are blind":           "HandlesSeeEachOther",
		"revision of own commits":     "HandlesSeeEachOther",
		"lock per handle":             "ConcurrentHandles",
		"close closes all":            "CloseLeavesOthers",
		"forgets on close":            "Reopen",
		"rev restarts on open":        "Reopen",
		"epoch of each handle":        "Reopen",
	} {
		delete(unchecked, check)
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			wait := patience
			if hanging[fault] {
				wait = 300 * time.Millisecond
			}
			said := reports(t, check, fault, wait)
			require.NotEmpty(t, said, check)
			t.Logf("%s says %q", check, said[0])
		})
	}
	assert.Empty(t, unchecked, "checks that no wrong store has failed")
}
