package main

const replicaDir = "internal/replica/"

// replicaFaults breach what holds between this process and the store.
var replicaFaults = []fault{
	{replicaDir + "commit.go", "r.batch, r.committing = nil, b != nil", "r.batch, r.committing = nil, false", "a batch keeps the next commits waiting"},
	{replicaDir + "commit.go", "b.changes = append(b.changes, c)", "b.changes = []Change{c}", "each change of a batch is applied"},
	{replicaDir + "commit.go", "return u.n <= last }", "return u.n == 0 && last == 0 }", "what was saved waits no more"},
	{replicaDir + "commit.go", "r.restorePending(usage)\n\t\tr.markAway(caller, err)", "r.markAway(caller, err)", "outcomes survive a commit that failed"},
	{replicaDir + "commit.go", "&& !changed && len(usage) == 0", "&& len(usage) == 0 && changed", "a change that did nothing writes nothing"},
	{replicaDir + "pending.go", "known || len(all) < maxOperations", "known || len(all) < 2*maxOperations", "outcomes that wait are bounded"},
	{replicaDir + "offline.go", "len(r.unsaved) < int(room)", "true", "changes that wait are bounded"},
	{replicaDir + "offline.go", "ForEnd    Room = 2 * ForReport", "ForEnd    Room = ForReport", "reports leave room for the ends of acquisitions"},
	{replicaDir + "offline.go", "case now < o.aloneUntil:", "case false:", "the share holds for an hour after an outage"},
	{replicaDir + "offline.go", "r.share != nil && rev != nil && rev.Rev > 0", "r.share != nil", "without a document nothing bounds a start"},
	{replicaDir + "refresh.go", "!r.EachCall && r.Meter.Mono()-checked < r.Freshness", "!r.EachCall && r.Meter.Mono()-checked < 2*r.Freshness", "the store is read again after the freshness"},
	{replicaDir + "refresh.go", "\tif slow != nil {\n\t\treturn slow\n\t}\n\tpatience", "\tpatience", "a store that hangs holds only the first callers"},
	{replicaDir + "wait.go", "case <-r.Ended:\n\t\treturn ErrClosed", "", "those who wait leave when the guard closes"},
	{replicaDir + "load.go", "l.dirty = len(l.notices) > 0", "l.dirty = false", "what was recovered is saved"},
}
