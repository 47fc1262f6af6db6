// Package period is the calendar of a quota: when it is full again, where the upstream does not say so. It is pure: no
// clock, and no zone data beyond those of the location that it is given.
package period

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Period is a daily, monthly or rolling period. The zero Period is none.
type Period struct {
	kind         kind
	day          int // of the month
	hour, minute int
	length       time.Duration // of a rolling one
	zone         *time.Location
}

type kind byte

const (
	none kind = iota
	daily
	monthly
	rolling
)

// Bounds of a rolling period.
const (
	MinRolling = time.Minute
	MaxRolling = 31 * 24 * time.Hour
)

// Forms says how a period is written.
const Forms = `"daily HH:MM ZONE", "monthly DAY ZONE" or "rolling DURATION", such as "daily 00:00 America/Los_Angeles"`

var errZone = errors.New("the zone is missing: name one, or UTC")

// Daily is the period that ends each day at this time of day.
func Daily(hour, minute int, zone *time.Location) (Period, error) {
	switch {
	case hour < 0 || hour > 23:
		return Period{}, fmt.Errorf("the hour is %d, from 0 to 23", hour)
	case minute < 0 || minute > 59:
		return Period{}, fmt.Errorf("the minute is %d, from 0 to 59", minute)
	case zone == nil:
		return Period{}, errZone
	}
	return Period{kind: daily, hour: hour, minute: minute, zone: named(zone)}, nil
}

// Monthly is the period that ends each month when this day begins. In a month that has not so many days, it is the last.
func Monthly(day int, zone *time.Location) (Period, error) {
	switch {
	case day < 1 || day > 31:
		return Period{}, fmt.Errorf("the day is %d, from 1 to 31", day)
	case zone == nil:
		return Period{}, errZone
	}
	return Period{kind: monthly, day: day, zone: named(zone)}, nil
}

// Rolling is the period that begins with the first use and has this length.
func Rolling(length time.Duration) (Period, error) {
	if length < MinRolling || length > MaxRolling {
		return Period{}, fmt.Errorf("the length is %v, from %v to %v", length, MinRolling, MaxRolling)
	}
	return Period{kind: rolling, length: length}, nil
}

// Parse reads what String writes.
func Parse(text string) (Period, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return Period{}, errors.New("it is empty")
	}
	word, args := strings.ToLower(fields[0]), fields[1:]
	switch {
	case word == "rolling" && len(args) == 1:
		length, err := time.ParseDuration(args[0])
		if err != nil {
			return Period{}, errors.New("its length is no duration")
		}
		return Rolling(length)
	case word != "daily" && word != "monthly" || len(args) > 2 || len(args) == 0:
		return Period{}, errors.New("it has another form")
	case len(args) == 1:
		return Period{}, errZone
	}
	zone, err := load(args[1])
	if err != nil {
		return Period{}, err
	}
	if word == "monthly" {
		day, ok := number(args[0])
		if !ok {
			return Period{}, errors.New("its day is no number from 1 to 31")
		}
		return Monthly(day, zone)
	}
	hh, mm, _ := strings.Cut(args[0], ":")
	hour, ok := number(hh)
	minute, ok2 := number(mm)
	if !ok || !ok2 || len(mm) != 2 {
		return Period{}, errors.New("its time of day is not HH:MM")
	}
	return Daily(hour, minute, zone)
}

// number reads one or two digits.
func number(s string) (n int, ok bool) {
	if len(s) > 2 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// String writes the period as Parse reads it; "" for none.
func (p Period) String() string {
	switch p.kind {
	case daily:
		return fmt.Sprintf("daily %02d:%02d %s", p.hour, p.minute, p.zone)
	case monthly:
		return fmt.Sprintf("monthly %d %s", p.day, p.zone)
	case rolling:
		return "rolling " + p.length.String()
	}
	return ""
}

// Length is that of a rolling period; 0: it is none.
func (p Period) Length() time.Duration { return p.length }

// Next is the first end after t of a daily or monthly period; the zero Time for others.
func (p Period) Next(t time.Time) time.Time {
	if p.zone == nil {
		return time.Time{}
	}
	year, month, day := t.In(p.zone).Date()
	for n := -1; ; n++ { // a day can be missing in a zone, so the next end may be that of a later one
		var at time.Time
		if p.kind == monthly {
			first := time.Date(year, month+time.Month(n), 1, 0, 0, 0, 0, time.UTC)
			last := first.AddDate(0, 1, -1).Day()
			at = p.reached(first.AddDate(0, 0, min(p.day, last)-1))
		} else {
			at = p.reached(time.Date(year, month, day+n, p.hour, p.minute, 0, 0, time.UTC))
		}
		if at.After(t) {
			return at.In(t.Location())
		}
	}
}

// reached is the first instant at which the clocks of the zone show this reading, given in UTC, or more: in a gap the end
// of the gap, and of two the first.
func (p Period) reached(reading time.Time) time.Time {
	const farthest = 50 * time.Hour // no clock is so far from UTC, nor was set by so much
	for t := reading.Add(-farthest).In(p.zone); ; {
		_, offset := t.Zone()
		at := reading.Add(-time.Duration(offset) * time.Second)
		begins, ends := t.ZoneBounds()
		if at.Before(begins) {
			at = begins
		}
		if ends.IsZero() || at.Before(ends) {
			return at
		}
		t = ends
	}
}
