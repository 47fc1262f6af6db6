package tokenguard

import (
	"fmt"
	"time"

	"github.com/tokenguard/tokenguard/internal/period"
)

// QuotaPeriod says when the quota of a spent token is full again, where the upstream does not state it: see
// ManagerConfig.QuotaPeriod. Daily, Monthly, Rolling and ParsePeriod make one; the zero QuotaPeriod is none. As text, and
// in JSON, it is what String writes.
type QuotaPeriod struct {
	p     period.Period
	fault error // why it cannot be used: New and ParseConfig report it
}

// Daily is the quota that is full again each day at this time of day, hour 0 to 23 and minute 0 to 59, in this time zone,
// which must not be nil. On a day on which the clocks leave that time out it is when they have left it out; where they
// show it twice, the first.
//
// time.LoadLocation finds a zone in the zone data of the system, or in those that a program brings with
// import _ "time/tzdata". What cannot be is an error of New.
func Daily(hour, minute int, zone *time.Location) QuotaPeriod {
	p, err := period.Daily(hour, minute, zone)
	return QuotaPeriod{p, err}
}

// Monthly is the quota that is full again each month when this day begins in this time zone, day 1 to 31: the last of the
// month where it has fewer. What cannot be is an error of New.
func Monthly(day int, zone *time.Location) QuotaPeriod {
	p, err := period.Monthly(day, zone)
	return QuotaPeriod{p, err}
}

// Rolling is the quota that is full again this long after its first use, from a minute to 31 days. The first use is the
// first success that was reported (Guard.Report); where none was, it counts from when the quota was found spent. What
// cannot be is an error of New.
func Rolling(d time.Duration) QuotaPeriod {
	p, err := period.Rolling(d)
	return QuotaPeriod{p, err}
}

// ParsePeriod reads "daily HH:MM ZONE", "monthly DAY ZONE" and "rolling DURATION", such as
// "daily 00:00 America/Los_Angeles". ZONE is a name of the IANA time zone database, UTC, Local, or a fixed offset such as
// UTC+05:30. The error says what is wrong; a zone that is not known is one, too.
func ParsePeriod(text string) (QuotaPeriod, error) {
	p, err := period.Parse(text)
	if err != nil {
		return QuotaPeriod{}, fmt.Errorf("tokenguard: the quota period %.60q: %w; want %s", text, err, period.Forms)
	}
	return QuotaPeriod{p: p}, nil
}

// IsZero reports whether no period is set.
func (q QuotaPeriod) IsZero() bool { return q.fault == nil && q.p == period.Period{} }

// String writes the period as ParsePeriod reads it; "" for none.
func (q QuotaPeriod) String() string {
	if q.fault != nil {
		return "invalid: " + q.fault.Error()
	}
	return q.p.String()
}

// MarshalText is String. The error is that of a period that cannot be.
func (q QuotaPeriod) MarshalText() ([]byte, error) {
	if q.fault != nil {
		return nil, fmt.Errorf("tokenguard: the quota period: %w", q.fault)
	}
	return []byte(q.p.String()), nil
}

// UnmarshalText is ParsePeriod; an empty text is none.
func (q *QuotaPeriod) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*q = QuotaPeriod{}
		return nil
	}
	read, err := ParsePeriod(string(text))
	if err == nil {
		*q = read
	}
	return err
}
