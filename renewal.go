package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/panics"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// RenewalFunc renews the token of a known account: it presents old.RefreshToken to the upstream and returns the new
// value, with the new refresh token where the upstream rotates them. What it leaves out stays as it was (RFC 6749, section
// 6). old's value may have ended, and is empty where an acquisition returned a refresh token alone.
//
// At most one renewal of an account is in progress over all processes that share the state, as long as the function
// returns when its context ends. It should call the upstream once: where the answer is lost, the guard presents the same
// refresh token again. An error that wraps ErrIdentityEnded, or whose class is auth_invalid (invalid_grant, revoked,
// deleted), says that the account is gone for good.
type RenewalFunc func(ctx context.Context, old Token) (Token, error)

// ErrIdentityEnded is wrapped by the error of a RenewalFunc that knows the account to be gone for good.
var ErrIdentityEnded = errors.New("tokenguard: the identity has ended")

// RenewalLimits bounds the renewals of known accounts. They use up none of the limits on acquisitions.
type RenewalLimits struct {
	// MinInterval is the least time between two successful renewals of one account: up to 24 h, default 60 s.
	MinInterval time.Duration
	// MaxPerHour bounds the renewals of all accounts of the name that are begun in an hour: 1 to 10000, default 60.
	MaxPerHour int
	// BackoffBase is the wait after a failed renewal, doubling with each further one in a row, up to MaxBackoff: up to 24 h
	// each, default 5 s and 10 min.
	BackoffBase, MaxBackoff time.Duration
	// Timeout bounds one run of RenewalFunc: up to 1 h, default 10 s.
	Timeout time.Duration
	// ReplaceAfter is how long after the end of its last value an account that could not be renewed may be replaced by an
	// acquisition, once until a renewal succeeds again: up to 31 days, default 24 h.
	ReplaceAfter time.Duration
}

// WithRenewal renews the tokens of known accounts, those that came WithRefreshToken, in place of acquiring new ones: from
// min(5 min, a tenth of the lifetime) before the end of a value, or from WithRefreshAhead. While an account lives, its key
// acquires nothing. It must not be nil.
func WithRenewal(renew RenewalFunc) Option {
	return func(o *options) {
		if o.given(renew != nil, "WithRenewal", "a function") {
			o.renewal = renew
		}
	}
}

// WithRenewalLimits bounds the renewals; see RenewalLimits for units, bounds and defaults.
func WithRenewalLimits(l RenewalLimits) Option {
	return func(o *options) {
		set := func(field string, to *time.Duration, d, most time.Duration) {
			if o.within("RenewalLimits."+field, d, most) && d > 0 {
				*to = d
			}
		}
		set("MinInterval", &o.renewals.MinInterval, l.MinInterval, ledger.Day)
		set("BackoffBase", &o.renewals.BackoffBase, l.BackoffBase, ledger.Day)
		set("MaxBackoff", &o.renewals.MaxBackoff, l.MaxBackoff, ledger.Day)
		set("Timeout", &o.renewals.Timeout, l.Timeout, maxTimeout)
		set("ReplaceAfter", &o.renewals.ReplaceAfter, l.ReplaceAfter, ledger.MaxRetryAfter)
		switch {
		case l.MaxPerHour < 0 || l.MaxPerHour > maxRenewals:
			o.mistake("RenewalLimits.MaxPerHour", fmt.Sprint(l.MaxPerHour), fmt.Sprintf("from 0 to %d", maxRenewals))
		case l.MaxPerHour > 0:
			o.renewals.MaxPerHour = l.MaxPerHour
		}
	}
}

const maxRenewals = 10000 // an hour

func defaultRenewalLimits() RenewalLimits {
	return RenewalLimits(ledger.DefaultRenewals())
}

// renewalJob is one renewal on its way.
type renewalJob struct {
	q        *decide.Request
	identity string
	record   string // the ID of the value that is renewed
	lease    ledger.Lease
	old      Token
	rec      *ledger.Token
	secret   *secrets.Secret
}

// renew renews the account of the request's key, if the newest document still allows it, and sees that through.
func (f *flights) renew(ctx context.Context, q *decide.Request) result {
	if !f.begin() {
		return result{}
	}
	defer f.running.Done()
	return f.renewal(ctx, q)
}

func (f *flights) renewal(ctx context.Context, q *decide.Request) result {
	r, err := f.lease(ctx, q)
	switch {
	case err != nil:
		return result{ran: true, renewal: true, err: err}
	case r == nil:
		return result{renewal: true}
	}
	f.usage.renewing(q)
	j := &job{
		name: "RenewalFunc", start: r.lease.Start, timeout: f.policy.Renewal.Timeout,
		fetch: func(ctx context.Context) (Token, error) {
			f.renewing(f.meter.Read())
			if err := ctx.Err(); err != nil {
				return Token{}, err
			}
			return f.renewer(ctx, r.old)
		},
	}
	j.finish = func(t Token, err error) result { return f.renewed(r, j.began, t, err, false) }
	j.late = func(ans answer) {
		res := f.renewed(r, j.began, ans.token, ans.err, true)
		if res.event.Kind != EventRenewalFailed && (res.event.Kind != EventRenewed || res.token.Value() != "") {
			f.events.emit(res.event)
		}
	}
	return f.perform(ctx, j)
}

// lease enters the intent to renew into the newest document, if that still allows it; nil: it does not. Without a store
// that takes it nothing is renewed.
func (f *flights) lease(ctx context.Context, q *decide.Request) (*renewalJob, error) {
	id := f.attemptID()
	own := *q
	var leased atomic.Pointer[renewalJob]
	r, err := f.replica.Commit(ctx, func(d *replica.Draft) bool {
		leased.Store(nil)
		in := onDraft(d, &own)
		if in.Decide(d.At.Now).Answer != decide.AnswerRenew {
			return false
		}
		rec := in.Identity(d.At.Now)
		l := d.Doc.LeaseRenewal(f.policy, rec, id, f.owner, d.At.Now)
		leased.Store(&renewalJob{q: q, identity: rec.Identity.ID, record: rec.ID, lease: l})
		return true
	})
	j := leased.Load()
	if err != nil || j == nil {
		return nil, err
	}
	rev := f.replica.Newest()
	rec, s := rev.Doc.Tokens[j.record], rev.Secrets[j.record]
	if rec == nil || s == nil || rec.Identity == nil || rec.Identity.Lease.ID != id || rec.Identity.Hash != j.lease.Hash {
		return nil, nil // a newer commit says otherwise
	}
	j.rec, j.secret = rec, s
	j.old = tokenBody{secret: s, kind: Anonymous, scope: q.Named, acquired: r.Time(rec.Acquired), expiry: r.Time(rec.Expiry),
		refresh: s.Refresh, refreshExpiry: r.Time(rec.Identity.Expiry), account: rec.Identity.Account, identity: rec.Identity.ID}.token()
	return j, nil
}

// renewed records the end of a renewal and publishes it to all waiters. late: its failure has been entered already, and new
// is what the answer asks for, and a refresh token.
func (f *flights) renewed(j *renewalJob, began timeline.Instant, t Token, err error, late bool) result {
	r := f.meter.Read()
	end, failure, err := f.renewalEnd(j, began, t, err, r)
	var gone, entered, stale atomic.Bool
	complete := func(end *ledger.Renewal, last bool) replica.Change {
		return func(d *replica.Draft) bool {
			if stale.Store(!last && d.Doc.Stale(end)); stale.Load() {
				return false
			}
			changed, ended := d.Doc.CompleteRenewal(f.policy, end)
			gone.Store(ended)
			entered.Store(changed)
			return changed
		}
	}
	if err != nil {
		f.errs.Add(j.lease.ID, err)
	}
	cerr := error(nil)
	for round := range maxRounds {
		next := *end
		next.Merged = f.merged(t, j, &next)
		if _, cerr = f.replica.Commit(context.Background(), complete(&next, round == maxRounds-1)); !stale.Load() || cerr != nil {
			break
		}
	}
	if cerr != nil {
		next := *end
		next.Merged = f.merged(t, j, &next)
		f.replica.ApplyLocally(complete(&next, true), replica.ForEnd) // first in the next commit: the old refresh token may be worthless now
		f.events.notice(r.Wall, "the end of a renewal could not be stored and waits: "+f.reader.masked(cerr.Error()))
	}
	if end.Cut {
		f.events.cut(r.Wall, j.q.Named)
	}
	res := result{ran: true, renewal: true, event: Event{At: r.Wall, Kind: EventRenewed, Scope: j.q.Named, Caller: j.q.Caller, TokenID: j.record, Identity: j.identity, Took: r.Now.Sub(j.lease.Start)}}
	if err != nil {
		res.event.Kind, res.event.Text = EventRenewalFailed, f.reader.masked(failure.text())
		in := f.inputs.newest(j.q, r.Now)
		res.event.Verdict = failedVerdict(in, decide.StepRenewal, &end.Failed, r)
		if late && entered.Load() && !gone.Load() {
			f.events.late(r.Wall, j.q.Named, "renewal", &end.Failed)
		}
		if gone.Load() {
			if !late {
				f.events.emit(res.event)
			}
			res.event.Kind, res.event.Text = EventIdentityEnded, "the upstream does not know the account any more: "+res.event.Text
		}
		return res
	}
	rev := f.replica.Newest()
	if known, ok := tokenIn(rev, end.Token.ID, j.q.Named); ok {
		res.token = known
	}
	res.event.TokenID = end.Token.ID
	res.event.Verdict = renewed(f.inputs.newest(j.q, r.Now), end.Token.ID, r)
	return res
}

// renewalEnd reads an answer: a new value of the account, or what its failure means.
func (f *flights) renewalEnd(j *renewalJob, began timeline.Instant, t Token, err error, r timeline.Reading) (*ledger.Renewal, Failure, error) {
	end := &ledger.Renewal{Identity: j.identity, Record: j.record, Lease: j.lease, End: max(r.Now, j.lease.Start)}
	var ours bool
	if err == nil {
		if end.Token, err = f.successor(t, j, began, r); err == nil {
			return end, Failure{}, nil
		}
		end.Rest = f.rest(t, j, began, r, err)
		ours = true
	}
	failure := answerOf(err, j.lease.Start, r)
	in := f.reader.answer(failure, r)
	switch {
	case ours && end.End >= j.lease.End: // this process stood still: it may have been a good value when it came
		in = f.reader.classified(failure, ClassUnknown, r)
	case ours:
		in = f.reader.classified(failure, ClassClientError, r)
	case errors.As(err, new(*PanicError)), errors.Is(err, panics.ErrGoexit): // no answer of the upstream, whatever its words
		in = f.reader.classified(failure, ClassUnknown, r)
		in.Until = 0
	case errors.Is(err, ErrIdentityEnded):
		in.Class = classify.AuthInvalid
	case in.Class == classify.AuthInvalid && refusesApplication(failure):
		in.Class = classify.ClientError
	}
	end.Failed = ledger.Streak{At: end.End, ID: j.lease.ID, Class: in.Class, Status: failure.StatusCode, Text: in.Text}
	switch in.Class {
	case classify.AuthInvalid:
		end.Gone = true
	case classify.Forbidden, classify.ClientError:
		end.Barred = true
	case classify.RateLimited, classify.QuotaExhausted:
		if in.Until > end.End {
			most := end.End.Plus(ledger.MaxRetryAfter)
			end.Pause, end.Cut = ledger.Pause{From: end.End, Until: min(in.Until, most)}, in.Until > most
		}
	}
	return end, failure, err
}

// refusesApplication reports whether an answer refuses the credential of the application (a client secret, an API key) and
// not the account's: a mistake of ours, which ends no account.
func refusesApplication(f Failure) bool {
	j := classify.Judge(classify.Input{StatusCode: f.StatusCode, Header: f.Header, Text: f.text()})
	return j.Class == classify.AuthInvalid && j.Whose == classify.WhoseApp
}

// successor turns what a RenewalFunc gave into the record of the account's new value, or says why it is none.
func (f *flights) successor(t Token, j *renewalJob, began timeline.Instant, r timeline.Reading) (*ledger.Token, error) {
	b := t.read()
	whole := completed(b.secret, j.secret)
	known := j.rec
	if rev := f.replica.Newest(); rev.Doc.Tokens[b.secret.ID] != nil {
		known = rev.Doc.Tokens[b.secret.ID] // it was given before
	}
	again := b.secret.ID == known.ID
	ends := t.ends(began, r)
	switch err := t.fault(ends, r); {
	case err != nil:
		return nil, err
	case whole.Size() > maxTokenSize:
		return nil, fmt.Errorf("tokenguard: the renewed token has %d bytes with what stayed as it was, at most %d are taken", whole.Size(), maxTokenSize)
	case again && known.Identity != nil && known.Identity.ID != j.identity,
		b.account != "" && j.rec.Identity.Account != "" && b.account != j.rec.Identity.Account:
		return nil, errOtherAccount
	case again && (known.Rejected != 0 || known.By(j.q.Operation) != nil && known.By(j.q.Operation).Refused != 0 && !known.WorksBeside(j.q.Operation, r.Now)):
		return nil, fmt.Errorf("tokenguard: the renewal returned the token %s, which was rejected", b.secret.ID)
	}
	rec := &ledger.Token{ID: whole.ID, Kind: ledger.Anonymous, Scope: j.q.Scope, Acquired: r.Now, Doubt: r.Doubt, Used: r.Now, Expiry: ends.meter, WallExpiry: ends.wall,
		Identity: &ledger.Identity{Hash: secrets.Hash("refresh", whole.Refresh), Expiry: t.refreshEnds(began, r), Account: b.account}}
	f.keeper.Seal(rec, whole)
	return rec, nil
}

var errOtherAccount = errors.New("tokenguard: the renewal returned a token of another account")
