package tokenguard

import (
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// ending is when a token ends by what was stated of it, on the meter and on the wall clock of this machine; zero: that was
// not stated.
type ending struct{ meter, wall timeline.Instant }

// over reports whether either clock has come to the end. A machine that its host paused has a wall clock that was set
// since, and a meter that stood still.
func (e ending) over(r timeline.Reading) bool {
	return e.meter != 0 && (r.Now >= e.meter || timeline.UnixNano(r.Wall) >= e.wall)
}

// ends is when a token that was just received ends. Its fetch began at began, or later.
func (t Token) ends(began timeline.Instant, r timeline.Reading) ending {
	b := t.read()
	if b.lifetime != 0 {
		// Whole seconds: two statements in a row are no time, also beside a user's clock that stands still.
		age := max(r.Least().Sub(began), b.made.age().Truncate(time.Second))
		left := max(b.lifetime, 0)
		return ending{ // stated, however far away
			min((r.Least() - timeline.Instant(age)).Plus(left), timeline.Never-1),
			min((timeline.UnixNano(r.Wall) - timeline.Instant(age)).Plus(left), timeline.Never-1),
		}
	}
	if b.expiry.IsZero() {
		return ending{}
	}
	expiry := t.ours(b.expiry, began, r)
	return ending{r.End(expiry), timeline.UnixNano(expiry)}
}

// refreshEnds is when the refresh token of a token that was just received ends; 0: that was not stated.
func (t Token) refreshEnds(began timeline.Instant, r timeline.Reading) timeline.Instant {
	return r.End(t.ours(t.read().refreshExpiry, began, r))
}

// answered is the Date of an answer, and when WithDate was called for it.
type answered struct {
	date string
	at   moment
}

// WithDate returns the token with the time at which its upstream says that it answered: the Date of its answer's header,
// which is an http.Header as it is. The instants that the token states (of NewToken and WithRefreshToken, not a lifetime) are
// then read by the upstream's clock, as far as that is within a day of this machine's. Without a Date that can be read
// nothing changes.
//
//	return NewToken(answer.Token, answer.ExpiresAt).WithDate(resp.Header), nil
//
// Call it as soon as the answer is there: it was made since the fetch began and before this call, and where that leaves
// it open when a token ends, it ends the earlier.
func (t Token) WithDate(header map[string][]string) Token {
	b := *t.read()
	date := classify.AnswerTime(header, time.Time{})
	if date.IsZero() {
		return t
	}
	b.answered = answered{date.UTC().Format(dateHeader), thisMoment()}
	return b.token()
}

// dateHeader is the form of a Date (RFC 9110, section 5.6.7), which has whole seconds.
const dateHeader = "Mon, 02 Jan 2006 15:04:05 GMT"

// ours is an instant that the upstream stated, on this machine's clock. Its fetch began at began, or later.
func (t Token) ours(stated time.Time, began timeline.Instant, r timeline.Reading) time.Time {
	a := t.read().answered
	if a.date == "" || stated.IsZero() {
		return stated
	}
	since := a.at.age().Truncate(time.Second) // as that of a lifetime
	last := r.Wall.Add(-since)
	first := r.Wall.Add(-max(r.Least().Sub(began), since))
	theirs := classify.AnswerTime(map[string][]string{"Date": {a.date}}, last)
	if theirs.Equal(last) { // it is no Date, or one that is more than a day off
		return stated
	}
	if !theirs.Before(first.Add(-time.Second)) && !theirs.After(last.Add(time.Second)) {
		return stated // the clocks agree, as far as whole seconds say
	}
	return stated.Add(first.Sub(theirs))
}
