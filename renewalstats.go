package tokenguard

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// RenewalStats are the accounts that can be renewed, and their renewals, over all processes.
type RenewalStats struct {
	// Renews: this process can renew. Hour.Limit of one that cannot is the default, and not the limit that applies elsewhere.
	Renews    bool        `json:"renews"`
	Accounts  int         `json:"accounts"` // that can be renewed
	Hour      WindowStats `json:"hour"`     // renewals that were begun; ExhaustedAt and Probability stay zero
	Needed    int         `json:"needed"`   // an hour, for the accounts that there are
	Succeeded uint64      `json:"succeeded"`
	Failed    uint64      `json:"failed"`
	// Failures are the failed ones by class; of class unknown are also those of which the state keeps none.
	Failures map[Class]uint64 `json:"failures"`
	Ended    uint64           `json:"ended"`   // accounts that the upstream does not know any more
	Dropped  uint64           `json:"dropped"` // accounts for which the state had no room
	// States are the accounts that the state knows, ended ones included, by IdentityStats.State.
	States map[string]int `json:"states"`
	// Unreplaced are those that ended or expired while no other has come in their place, without such as Clear ended.
	Unreplaced int `json:"unreplaced"`
	// ConsecutiveFailures are the failed renewals in a row of the account that has the most. It leaves out accounts that
	// calls no longer go by.
	ConsecutiveFailures int `json:"consecutive_failures"`
	// Next is the earliest IdentityStats.Next of the accounts that calls go by; zero: none.
	Next time.Time `json:"next,omitzero"`
	// Identities are the accounts that the state knows, the newest first: at most 20, ended ones included.
	Identities []IdentityStats `json:"identities,omitempty"`
}

// IdentityStats is what is known of one account whose tokens are renewed.
type IdentityStats struct {
	ID      string    `json:"id"` // as Token.Identity
	Scope   string    `json:"scope,omitempty"`
	TokenID string    `json:"token_id"` // of its newest value
	Since   time.Time `json:"since"`    // when the account was acquired
	// Expiry is when its newest value ends, RefreshExpiry when its refresh token does; zero: not stated.
	Expiry        time.Time `json:"expiry,omitzero"`
	RefreshExpiry time.Time `json:"refresh_expiry,omitzero"`
	// State is living, renewing, failing, backing_off (renewals that failed are not repeated yet), closed (by a ban or a
	// mistake of the caller's), spent, expired (its refresh token) or ended; StateSince is when that began, where an event
	// began it.
	State      string    `json:"state"`
	StateSince time.Time `json:"state_since,omitzero"`
	Cleared    bool      `json:"cleared,omitempty"` // it ended by Clear, and not on the upstream's word
	// Renewals that succeeded, and the end of the last of them.
	Renewals int       `json:"renewals"`
	Renewed  time.Time `json:"renewed,omitzero"`
	// Failures in a row; Class and Failure are of the last of them, masked, or say why the account ended.
	Failures int    `json:"failures,omitempty"`
	Class    Class  `json:"class,omitempty"`
	Failure  string `json:"failure,omitempty"`
	// Next is from when the next call renews it, in a process that can; zero: none does, as far as is known.
	Next time.Time `json:"next,omitzero"`
}

const identitiesShown = 20

// identityStates are those of IdentityStats.State.
var identityStates = [...]string{"living", "renewing", "failing", "backing_off", "closed", "spent", "expired", "ended"}

// superseded reports whether the calls of the account's scope go by a later token, or by another account that lives.
func superseded(of *decide.Input, rec *ledger.Token, t timeline.Instant) bool {
	if used := of.Identity(t); used != nil {
		return used != rec
	}
	return of.Doc.Newest(rec.Scope) != rec
}

// addIdentities enters what is known of each account.
func (out *RenewalStats) addIdentities(v *decide.Input, r timeline.Reading) {
	out.States = make(map[string]int, len(identityStates))
	for _, state := range identityStates {
		out.States[state] = 0
	}
	for _, rec := range v.Doc.Tokens {
		i := rec.Identity
		if i == nil {
			continue
		}
		of := *v
		of.Request = &decide.Request{Kind: ledger.Anonymous, Scope: rec.Scope}
		a := of.Account(rec, r.Now)
		s := IdentityStats{ID: i.ID, Scope: rec.Scope, TokenID: rec.ID, Since: r.Time(i.Since), RefreshExpiry: r.Time(i.Expiry),
			State: a.State, StateSince: r.Time(a.Since), Cleared: i.Cleared, Renewals: i.Renewals, Renewed: r.Time(i.Renewed), Failures: a.Failures, Next: r.Time(a.Next)}
		if rec.HasValue() || rec.Expiry != 0 {
			_, ends := v.Policy.Expiry(rec)
			s.Expiry = r.Time(ends)
		}
		if a.Failures > 0 || a.State == "ended" || a.State == "closed" {
			s.Class, s.Failure = Class(i.Last.Class), i.Last.Summary()
		}
		out.Identities = append(out.Identities, s)
		out.States[s.State]++
		if superseded(&of, rec, r.Now) {
			continue
		}
		switch s.State {
		case "ended", "expired":
			if !s.Cleared {
				out.Unreplaced++
			}
			continue
		}
		out.ConsecutiveFailures = max(out.ConsecutiveFailures, s.Failures)
		if out.Next.IsZero() || !s.Next.IsZero() && s.Next.Before(out.Next) {
			out.Next = s.Next
		}
	}
	slices.SortFunc(out.Identities, func(a, b IdentityStats) int {
		return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(a.TokenID, b.TokenID))
	})
	out.Identities = out.Identities[:min(len(out.Identities), identitiesShown)]
}

func renewalStats(v *decide.Input, r timeline.Reading) *RenewalStats {
	d := v.Doc
	if !d.Renewals.Known && !v.Policy.Renews {
		return nil
	}
	out := &RenewalStats{Renews: v.Policy.Renews, Succeeded: d.Renewals.Succeeded, Failed: d.Renewals.Failed, Ended: d.Renewals.Ended, Dropped: d.Renewals.Dropped, Failures: map[Class]uint64{}}
	unknown := out.Failed
	for _, c := range classes {
		n := d.Renewals.Failures[string(c)]
		out.Failures[c] = n
		unknown -= min(unknown, n)
	}
	out.Failures[ClassUnknown] += unknown
	var needed float64
	for _, rec := range d.Tokens {
		if !rec.Living(r.Now) {
			continue
		}
		out.Accounts++
		if life := v.Policy.RenewAt(rec).Sub(rec.Acquired); life > 0 {
			needed += float64(ledger.Hour) / float64(life)
		}
	}
	out.Needed = int(math.Ceil(needed))
	for _, at := range d.Renewals.Starts {
		if at > r.Now-timeline.Instant(ledger.Hour) {
			out.Hour.Used++
		}
	}
	out.Hour.Limit = v.Policy.Renewal.MaxPerHour
	out.Hour.Remaining = max(0, out.Hour.Limit-out.Hour.Used)
	out.addIdentities(v, r)
	return out
}

// warnRenewals warns once a day if the accounts need more renewals than the limit allows.
func (f *forecasts) warnRenewals(r timeline.Reading) {
	rev := f.inputs.replica.Newest()
	if rev == nil {
		return
	}
	s := renewalStats(f.inputs.on(&decide.Request{Kind: ledger.Anonymous}, rev, r.Now), r)
	if s == nil || s.Needed <= s.Hour.Limit || !f.once.first(fmt.Sprintf("renewals %d", int64(r.Now)/int64(ledger.Day))) {
		return
	}
	f.events.emit(Event{At: r.Wall, Kind: EventWarning, Text: fmt.Sprintf("%d accounts need about %d renewals an hour, and %d are allowed (RenewalLimits.MaxPerHour)", s.Accounts, s.Needed, s.Hour.Limit)})
}
