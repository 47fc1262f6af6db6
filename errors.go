package tokenguard

import (
	"errors"
	"fmt"
	"time"

	"github.com/tokenguard/tokenguard/internal/panics"
)

// What a refusal is, for errors.Is. Every refusal is ErrRefused; the others say of which kind. The comment of each
// lists its reasons.
var (
	ErrRefused         = errors.New("tokenguard: refused")
	ErrDuplicate       = errors.New("tokenguard: an acquisition for the same failure was just started") // duplicate
	ErrNotNeeded       = errors.New("tokenguard: a new token is not needed")                            // personal_unavailable, personal_usable, not_quota_failure, token_too_new, recent_acquisition, resets_soon, unconfirmed, not_shared, quota_sufficient, renewal_elsewhere
	ErrInProgress      = errors.New("tokenguard: an acquisition is in progress")                        // too_many_waiters
	ErrUpstreamLimited = errors.New("tokenguard: the upstream limits the rate")                         // upstream_rate_limited
	ErrForbidden       = errors.New("tokenguard: the upstream forbids it")                              // forbidden
	ErrRateLimited     = errors.New("tokenguard: acquisition limit reached")                            // hour_limit, day_limit, min_interval, kept_back, renewal_limit: the guard's own
	ErrBackoff         = errors.New("tokenguard: backing off after a failure")                          // backoff, retry_after, renewal_backoff
	ErrStore           = errors.New("tokenguard: the state store is unavailable")                       // store_unavailable
	ErrClosed          = errors.New("tokenguard: the guard is closed")                                  // closed
)

var sentinels = map[Reason]error{
	ReasonDuplicate:           ErrDuplicate,
	ReasonPersonalUnavailable: ErrNotNeeded,
	ReasonTooManyWaiters:      ErrInProgress,
	ReasonUpstreamRateLimited: ErrUpstreamLimited,
	ReasonForbidden:           ErrForbidden,
	ReasonPersonalUsable:      ErrNotNeeded,
	ReasonNotQuotaFailure:     ErrNotNeeded,
	ReasonTokenTooNew:         ErrNotNeeded,
	ReasonRecentAcquisition:   ErrNotNeeded,
	ReasonResetsSoon:          ErrNotNeeded,
	ReasonUnconfirmed:         ErrNotNeeded,
	ReasonNotShared:           ErrNotNeeded,
	ReasonKeptBack:            ErrRateLimited,
	ReasonHourLimit:           ErrRateLimited,
	ReasonDayLimit:            ErrRateLimited,
	ReasonMinInterval:         ErrRateLimited,
	ReasonBackoff:             ErrBackoff,
	ReasonRetryAfter:          ErrBackoff,
	ReasonQuotaSufficient:     ErrNotNeeded,
	ReasonRenewalLimit:        ErrRateLimited,
	ReasonRenewalBackoff:      ErrBackoff,
	ReasonRenewalElsewhere:    ErrNotNeeded,
	ReasonStoreUnavailable:    ErrStore,
	ReasonClosed:              ErrClosed,
}

// RefusedError is a call that the guard answered without a token and without asking the upstream. Callers who ask the
// same may get the same one: it must not be changed.
type RefusedError struct {
	Verdict Verdict
	// Cause is the failure behind the refusal, if there is one: the failed acquisition during a backoff (rebuilt,
	// with its text masked, after a restart), or the store's error. JSON leaves it out: it may hold a secret.
	Cause error `json:"-"`
}

func (e *RefusedError) Error() string {
	s := fmt.Sprintf("tokenguard: refused: %s (%s)", e.Verdict.Reason, e.Verdict.Step)
	if e.Verdict.Detail != "" {
		s += ": " + e.Verdict.Detail
	}
	return s + retryWords(e.Verdict.RetryAt)
}

func retryWords(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return " (retry at " + at.Format(time.RFC3339) + ")"
}

// Is matches ErrRefused and the sentinel of the verdict's reason.
func (e *RefusedError) Is(target error) bool {
	return target == ErrRefused || target == sentinels[e.Verdict.Reason] && target != nil
}

// Unwrap returns Cause.
func (e *RefusedError) Unwrap() error { return e.Cause }

// RetryAfter returns how long to wait from now until a token could be had, at least 0.
// ok is false where waiting alone does not help.
func (e *RefusedError) RetryAfter(now time.Time) (d time.Duration, ok bool) {
	return retryAfter(e.Verdict.RetryAt, now)
}

func retryAfter(at, now time.Time) (time.Duration, bool) {
	if at.IsZero() {
		return 0, false
	}
	return max(at.Sub(now), 0), true
}

// RequestError is an acquisition that was started and failed: RequestFunc's error, untouched, and what it means.
type RequestError struct {
	// Err is what RequestFunc returned, or what became of it (a panic, a timeout, an unusable token). JSON leaves it
	// out: it may hold a secret.
	Err error `json:"-"`
	// Class of the failure.
	Class Class
	// RetryAt is when this caller could next have a token; zero: waiting alone changes nothing.
	RetryAt time.Time
	// Verdict is the one of StepRequest, request_failed.
	Verdict Verdict
}

func (e *RequestError) Error() string {
	detail := e.Verdict.Detail // masked, as Err need not be
	if detail == "" {
		detail = fmt.Sprintf("request failed (%s): %s", e.Class, mask(e.Err.Error()))
	}
	return "tokenguard: " + detail + retryWords(e.RetryAt)
}

// Unwrap returns what RequestFunc returned.
func (e *RequestError) Unwrap() error { return e.Err }

// RetryAfter returns how long to wait from now until a token could be had, as RefusedError.RetryAfter.
func (e *RequestError) RetryAfter(now time.Time) (d time.Duration, ok bool) {
	return retryAfter(e.RetryAt, now)
}

// storeError is an error of the store. The store may repeat in it what it was given, so its text is not the store's own.
type storeError struct {
	text string
	err  error
}

func (e *storeError) Error() string { return e.text }

func (e *storeError) Unwrap() []error { return []error{ErrStore, e.err} }

// PanicError is a panic in a user-supplied function.
type PanicError struct {
	Func  string // RequestFunc, WithPersonalToken, or Store for what several calls share
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("tokenguard: %s panicked: %s", e.Func, mask(fmt.Sprint(e.Value)))
}

// Unwrap returns the value that the function panicked with, if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// panicError is a caught panic as callers see it.
func panicError(p *panics.Error) error {
	return &PanicError{Func: p.Func, Value: p.Value, Stack: p.Stack}
}

// foreignError is the error of a user-supplied function as callers see it.
func foreignError(err error) error {
	if p, ok := err.(*panics.Error); ok { // not errors.As: the function may return the panic of another guard
		return panicError(p)
	}
	if err != nil && errors.Is(err, panics.ErrGoexit) {
		return fmt.Errorf("tokenguard: %w", err)
	}
	return err
}
