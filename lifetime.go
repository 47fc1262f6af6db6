package tokenguard

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard/internal/bootclock"
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

// ExpiresIn is a lifetime as upstreams state it in JSON: a number of seconds (RFC 6749, section 5.1), with fraction or
// exponent, or a text that holds one ("3600", as Firebase sends it, and "3600s", the JSON of a protobuf Duration).
//
//	var answer struct {
//		AccessToken string    `json:"access_token"`
//		ExpiresIn   ExpiresIn `json:"expires_in"`
//	}
//	...
//	return NewTokenIn(answer.AccessToken, time.Duration(answer.ExpiresIn)), nil
//
// Absent, null, an empty text and 0 leave it 0, which NewTokenIn reads as not stated. A negative number stays negative:
// a token that has expired already. What is beyond ±292 years, all that a Duration holds, becomes that bound, and what is
// nearer to 0 than a nanosecond becomes one. Anything else, such as "soon", true or an object, is an error, which shows
// no part of it.
type ExpiresIn time.Duration

var errExpiresIn = errors.New("tokenguard: a lifetime (expires_in) must be a number of seconds, or a text that holds one")

// UnmarshalJSON reads what upstreams send. As for other types, null changes nothing.
func (e *ExpiresIn) UnmarshalJSON(data []byte) error {
	text := string(data)
	switch {
	case text == "null":
		return nil
	case strings.HasPrefix(text, `"`):
		if json.Unmarshal(data, &text) != nil {
			return errExpiresIn
		}
		if text = strings.TrimSpace(text); text == "" {
			*e = 0
			return nil
		}
		text = strings.TrimSuffix(text, "s")
	}
	if strings.Trim(text, "+-.0123456789eE") != "" { // or ParseFloat would read Inf, NaN, hexadecimal
		return errExpiresIn
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // a range error has seconds infinite
		return errExpiresIn
	}
	*e = ExpiresIn(fromSeconds(seconds))
	mantissa, _, _ := strings.Cut(strings.ToLower(text), "e")
	if *e == 0 && strings.ContainsAny(mantissa, "123456789") { // stated, though nearly nothing
		*e = 1
		if strings.HasPrefix(text, "-") {
			*e = -1
		}
	}
	return nil
}

// fromSeconds rounds to nanoseconds, within the bounds of a Duration. Whole seconds stay exact.
func fromSeconds(seconds float64) time.Duration {
	const most = math.MaxInt64 / int64(time.Second)
	whole, fraction := math.Modf(seconds)
	switch {
	case whole >= float64(most):
		return math.MaxInt64
	case whole <= -float64(most):
		return math.MinInt64
	}
	return time.Duration(whole)*time.Second + time.Duration(math.Round(fraction*float64(time.Second)))
}

// MarshalJSON writes a number of seconds, so that UnmarshalJSON reads the same lifetime again, but for the nanoseconds of
// one of more than a month.
func (e ExpiresIn) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(e).Seconds(), 'f', -1, 64), nil
}

// String is that of a Duration.
func (e ExpiresIn) String() string { return time.Duration(e).String() }

// moment is an instant whose age is told by the machine's clocks, whatever clock a guard has.
type moment struct {
	mono       time.Time     // with Go's monotonic reading, which stands still in a suspend
	boot, wall time.Duration // the clock since boot, and the wall clock; 0: not read
}

func thisMoment() moment {
	m := moment{mono: time.Now()}
	if !bootclock.InBubble() { // testing/synctest fakes Go's clocks alone
		m.boot, m.wall = bootclock.Now(), time.Duration(m.mono.UnixNano())
	}
	return m
}

// age counts suspends. In a checkpoint that is restored on another machine the boot clock is another, which shows by the
// wall clock; that one alone is not believed, since it is set.
func (m moment) age() time.Duration {
	age := time.Since(m.mono)
	if m.boot == 0 {
		return age
	}
	return max(age, min(bootclock.Now()-m.boot, time.Duration(time.Now().UnixNano())-m.wall))
}
