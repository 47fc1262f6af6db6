package tokenguard

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/counts"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/striped"
)

// statsTimeout bounds the look at the store that Stats takes.
const statsTimeout = time.Second

// Stats is a guard at one instant. It encodes to JSON. Counters named as totals are this process's own since New;
// windows, attempts and what is known of tokens are those of the shared state.
type Stats struct {
	Guard          string           `json:"guard"`
	At             time.Time        `json:"at"`
	Acquisitions   AcquisitionStats `json:"acquisitions"`
	Limiter        LimiterStats     `json:"rate_limit"`
	Calls          CallStats        `json:"calls"`
	Dedup          DedupStats       `json:"dedup"`
	Cache          CacheStats       `json:"cache"`
	Renewals       *RenewalStats    `json:"renewals,omitempty"` // nil where nothing is renewed
	Predictor      PredictorStats   `json:"predictor"`
	Store          StoreStats       `json:"store"`
	Usage          UsageStats       `json:"usage"`
	Recommendation Recommendation   `json:"recommendation"`
	// Shadow counts what shadow mode passed on; nil without it. What is refused above would have been refused.
	Shadow *ShadowStats `json:"shadow,omitempty"`
	// Candidate is the configuration that is judged beside the one in force; nil without WithCandidate.
	Candidate *CandidateStats `json:"candidate,omitempty"`
}

// CallStats counts this process's calls.
type CallStats struct {
	Total   int64 `json:"total"`
	Served  int64 `json:"served"`
	Refused int64 `json:"refused"`
	Failed  int64 `json:"failed"`
	Left    int64 `json:"left"` // callers whose context ended first
	// Answers by step and reason.
	Answers map[Step]map[Reason]int64 `json:"answers"`
	// FilterRate is the share of the answered calls that started no acquisition of their own, in [0,1]. Refused calls
	// started none either, so it rises in an outage: SavedRate says what was saved.
	FilterRate float64 `json:"filter_rate"`
	// SavedRate is the share of the served calls that got their token without an acquisition of their own, in [0,1].
	SavedRate float64 `json:"saved_rate"`
	// Outcomes reported, by class; "success" for none.
	Outcomes map[string]int64 `json:"outcomes"`
	Waiting  int64            `json:"waiting"` // now, for an acquisition in progress
	// Minutes are the answers by the minute, of the minutes of the last two hours in which there was a call; oldest first.
	Minutes []MinuteStats `json:"minutes,omitempty"`
}

// StoreStats is the state's store.
type StoreStats struct {
	Revision uint64    `json:"revision"`         // the newest that this process knows; it grows with each commit
	Error    string    `json:"error,omitempty"`  // of the look that Stats took
	LostAt   time.Time `json:"lost_at,omitzero"` // when commits were last found lost; zero: never
	Unsaved  int       `json:"unsaved"`          // changes not yet saved
}

// Stats returns what the guard knows, after one look at the store of at most a second.
func (g *Guard) Stats() Stats {
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	st, r, err := g.replica.Look(ctx)
	if st == nil {
		st = &replica.Revision{Doc: ledger.New()}
	}
	if waits := g.replica.AllPending(); len(waits) > 0 {
		counted := *st
		counted.Doc = st.Doc.Clone()
		counted.Doc.CountUses(waits)
		st = &counted
	}
	q := &decide.Request{Kind: ledger.Anonymous}
	if g.personal != nil {
		q.Personal, _ = g.personal.view(st.Doc, "", r.Now)
	}
	v := g.inputs.on(q, st, r.Now)
	v.Outage = decide.Outage{Away: err != nil, MayStart: g.replica.MayStart(st)}
	s := Stats{Guard: g.opt.name, At: r.Wall, Calls: g.counters.calls()}
	s.Calls.Minutes = minuteStats(g.counters.minutes.Last(r.Wall, g.counters.sums))
	s.Usage = g.counters.usage.stats(v, r.Now)
	s.Calls.Waiting = g.inputs.waiting.Load()
	s.Store = StoreStats{Revision: st.Rev, LostAt: r.Time(st.Doc.Lost)}
	if err != nil {
		s.Store.Error = g.reader.masked(err.Error())
	}
	s.Store.Unsaved = g.replica.Unsaved()
	s.Acquisitions = acquisitionStats(v, r)
	s.Limiter = limiterStats(v, r)
	if g.isClosed() {
		closed := closedVerdict(q)
		s.Limiter.Open, s.Limiter.NextAllowed, s.Limiter.Binding, s.Limiter.Detail = false, time.Time{}, closed.Reason, closed.Detail
	}
	s.Dedup = DedupStats{Duplicates: s.Calls.Answers[StepDedup][ReasonDuplicate], Records: len(st.Doc.Triggers)}
	s.Cache = cacheStats(v, r, s.Calls)
	s.Renewals = renewalStats(v, r)
	s.Predictor = predictorStats(v, r)
	s.Recommendation = recommend(v, r)
	s.Shadow, s.Candidate = g.trial.stats()
	return s
}

// Config returns the settings in force: the defaults under what the options set.
func (g *Guard) Config() Config { return g.opt.Config }

// Attempt is one started acquisition, of whichever process shares the state.
type Attempt struct {
	ID string `json:"id"`
	// Scope and Operation led to it; Operation is the Request.Caller without what varies. Both are empty also of attempts
	// of which it is not known any more: the state keeps it of the last 256.
	Scope     string    `json:"scope,omitempty"`
	Operation string    `json:"operation,omitempty"`
	Start     time.Time `json:"start"`
	// End is from when the windows and the spacing count it; of one that is in progress, the end of its lease.
	End   time.Time    `json:"end"`
	State AttemptState `json:"state"`
}

// AttemptState is what became of an attempt.
type AttemptState string

// The states of an attempt.
const (
	AttemptInProgress AttemptState = "in progress"
	AttemptSucceeded  AttemptState = "succeeded"
	AttemptFailed     AttemptState = "failed"
	AttemptAdopted    AttemptState = "adopted" // the token was fetched elsewhere and stored with Adopt
	AttemptKilled     AttemptState = "killed"  // its process ended before it did; it counts to its lease's end
)

// Attempts returns the charged attempts that the day window still looks at, oldest first, after one look at the store.
// The error is ErrStore.
func (g *Guard) Attempts(ctx context.Context) ([]Attempt, error) {
	st, r, err := g.replica.Look(ctx)
	if err != nil {
		return nil, g.reader.storeError(err)
	}
	out := make([]Attempt, 0, len(st.Doc.Attempts))
	for i := range st.Doc.Attempts {
		a := &st.Doc.Attempts[i]
		if r.Now.Sub(a.End) >= ledger.Day {
			continue
		}
		out = append(out, Attempt{ID: a.ID, Scope: a.Scope, Operation: a.Operation, Start: r.Time(a.Start), End: r.Time(a.End), State: AttemptState(a.State(r.Now))})
	}
	return out, nil
}

// Paused returns until when the upstream wants to hear nothing of the operation that the request names by its Caller, in
// its Scope; zero: it did not say so, or that is over. Any process that shares the state may have reported it, as a failure
// of the class rate_limited that states a wait. Of a scope the 16 operations are known whose waits end last.
//
// Acquire hands out a cached token all the same: this is for those who send the call. It takes a look at the store as
// Acquire does; if the store does not answer, what was known last counts. The error wraps ErrRequest.
func (g *Guard) Paused(ctx context.Context, req Request) (time.Time, error) {
	st, r, _ := g.replica.Look(ctx)
	req.Failure, req.Failing = Failure{}, ""
	q, err := g.reader.request(&req, r)
	if err != nil || st == nil {
		return time.Time{}, err
	}
	if p := st.Doc.Scope(q.Scope).StatedPauseOf(q.Operation); p.Until > r.Now {
		return r.Time(p.Until), nil
	}
	return time.Time{}, nil
}

// counters counts this process's calls.
type counters struct {
	answers  answerCounts                   // by index of answerKeys, without hits
	usage    usage                          // hits, and who asks
	outcomes [len(classes) + 1]atomic.Int64 // the last: successes
	left     atomic.Int64
	own      atomic.Int64 // answered calls that started an acquisition
	minutes  counts.Minutes
}

// sums are the calls that were served, refused, and failed.
func (c *counters) sums() (out counts.Sums) {
	for i, k := range answerKeys {
		out[kindOf(k.reason)] += c.answers.sum(i)
	}
	for sort, reason := range hitReasons {
		out[kindOf(reason)] += c.usage.hits(counts.Sort(sort))
	}
	return out
}

// What an answer is to the caller.
const (
	answerServed = iota
	answerRefused
	answerFailed
)

func kindOf(reason Reason) int {
	switch reason {
	case ReasonCached, ReasonPersonal, ReasonJoined, ReasonAcquired, ReasonRenewed:
		return answerServed
	case ReasonRequestFailed:
		return answerFailed
	}
	return answerRefused
}

// answerKeys are the answers that end a call.
var answerKeys = [...]struct {
	step   Step
	reason Reason
}{
	{StepDedup, ReasonDuplicate},
	{StepCache, ReasonCached}, {StepCache, ReasonPersonal}, {StepCache, ReasonPersonalUnavailable},
	{StepGate, ReasonJoined}, {StepGate, ReasonTooManyWaiters},
	{StepManager, ReasonUpstreamRateLimited}, {StepManager, ReasonForbidden}, {StepManager, ReasonPersonalUsable},
	{StepManager, ReasonNotQuotaFailure}, {StepManager, ReasonTokenTooNew}, {StepManager, ReasonRecentAcquisition}, {StepManager, ReasonResetsSoon}, {StepManager, ReasonUnconfirmed}, {StepManager, ReasonNotShared}, {StepManager, ReasonKeptBack},
	{StepLimiter, ReasonHourLimit}, {StepLimiter, ReasonDayLimit}, {StepLimiter, ReasonMinInterval}, {StepLimiter, ReasonBackoff}, {StepLimiter, ReasonRetryAfter},
	{StepPredictor, ReasonQuotaSufficient},
	{StepRequest, ReasonAcquired}, {StepRequest, ReasonRequestFailed},
	{StepRenewal, ReasonRenewed}, {StepRenewal, ReasonRenewalLimit}, {StepRenewal, ReasonRenewalBackoff}, {StepRenewal, ReasonRenewalElsewhere},
	{StepStore, ReasonStoreUnavailable}, {StepStore, ReasonClosed},
}

var answerIndex = func() map[Reason]int {
	m := make(map[Reason]int, len(answerKeys))
	for i, k := range answerKeys {
		m[k.reason] = i
	}
	return m
}()

func (c *counters) answered(reason Reason) { c.answers.add(answerIndex[reason]) }

func (c *counters) outcome(class Class) {
	i := len(classes)
	for j, known := range classes {
		if known == class {
			i = j
		}
	}
	c.outcomes[i].Add(1)
}

// successOutcome counts, beside the answers, the reports of successes that take the short road.
const successOutcome = len(answerKeys)

// calls sums up.
func (c *counters) calls() CallStats {
	out := CallStats{Left: c.left.Load(), Answers: map[Step]map[Reason]int64{}, Outcomes: map[string]int64{}}
	for i, k := range answerKeys {
		n := c.answers.sum(i)
		if sort := slices.Index(hitReasons[:], k.reason); sort >= 0 {
			n = c.usage.hits(counts.Sort(sort))
		}
		if out.Answers[k.step] == nil {
			out.Answers[k.step] = map[Reason]int64{}
		}
		out.Answers[k.step][k.reason] = n
		switch kindOf(k.reason) {
		case answerServed:
			out.Served += n
		case answerFailed:
			out.Failed += n
		default:
			out.Refused += n
		}
	}
	for i, class := range classes {
		out.Outcomes[string(class)] = c.outcomes[i].Load()
	}
	out.Outcomes["success"] = c.outcomes[len(classes)].Load() + c.answers.sum(successOutcome)
	out.Total = out.Served + out.Refused + out.Failed + out.Left
	if answered := out.Served + out.Refused + out.Failed; answered > 0 {
		out.FilterRate = 1 - float64(c.own.Load())/float64(answered)
	}
	if out.Served > 0 {
		out.SavedRate = 1 - float64(out.Answers[StepRequest][ReasonAcquired])/float64(out.Served)
	}
	return out
}

// tallied is how many counters a stripe has: whole pairs of cache lines of them, because processors fetch
// these together.
const tallied = (len(answerKeys) + 1 + 15) / 16 * 16

// answerCounts counts the answers that end calls, exactly, and without many cores waiting for each other.
type answerCounts struct {
	cells  [striped.Stripes][tallied]atomic.Int64
	shared [len(answerKeys)]striped.Shared
}

// add counts one answer, and returns how many of its sort the stripe has counted.
func (t *answerCounts) add(answer int) int64 { return t.cells[striped.Here()][answer].Add(1) }

// undo takes back what add counted.
func (t *answerCounts) undo(answer int) { t.cells[0][answer].Add(-1) }

func (t *answerCounts) sum(answer int) (n int64) {
	for i := range t.cells {
		n += t.cells[i][answer].Load()
	}
	if answer < len(t.shared) {
		n += t.shared[answer].Sum()
	}
	return n
}
