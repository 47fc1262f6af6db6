package period

import (
	"fmt"
	"strings"
	"time"
)

// load finds a zone by its name in the zone data, or reads one of a fixed offset: UTC+05:30.
func load(name string) (*time.Location, error) {
	if offset, ok := offsetOf(name); ok {
		return fixed(offset), nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf(`the zone %.40q is not known here: either its name is wrong, or there are no zone data (a program embeds them with import _ "time/tzdata")`, name)
	}
	return zone, nil
}

const offsetPrefix = "UTC"

// offsetOf reads UTC+05:30, in seconds.
func offsetOf(name string) (offset int, ok bool) {
	text, is := strings.CutPrefix(name, offsetPrefix)
	if !is || len(text) != len("+05:30") || text[0] != '+' && text[0] != '-' || text[3] != ':' {
		return 0, false
	}
	hours, ok := number(text[1:3])
	minutes, ok2 := number(text[4:])
	if !ok || !ok2 || hours > 23 || minutes > 59 {
		return 0, false
	}
	if offset = hours*3600 + minutes*60; text[0] == '-' {
		offset = -offset
	}
	return offset, true
}

func fixed(offset int) *time.Location {
	sign, from := '+', offset
	if from < 0 {
		sign, from = '-', -from
	}
	return time.FixedZone(fmt.Sprintf("%s%c%02d:%02d", offsetPrefix, sign, from/3600, from/60%60), offset)
}

// named is the zone under a name by which load finds it: time.FixedZone takes any.
func named(zone *time.Location) *time.Location {
	known, err := load(zone.String())
	if err == nil && zone.String() != "" {
		same := true
		for _, t := range probes {
			_, a := t.In(zone).Zone()
			_, b := t.In(known).Zone()
			same = same && a == b
		}
		if same {
			return zone
		}
	}
	_, offset := probes[0].In(zone).Zone()
	for _, t := range probes {
		if _, o := t.In(zone).Zone(); o != offset || o%60 != 0 {
			return zone // of data of its own: it serves, though its name does not tell it
		}
	}
	return fixed(offset)
}

// probes tell zones apart well enough: summer and winter, lately.
var probes = []time.Time{
	time.Date(2024, time.January, 15, 12, 0, 0, 0, time.UTC), time.Date(2024, time.July, 15, 12, 0, 0, 0, time.UTC),
	time.Date(2026, time.January, 15, 12, 0, 0, 0, time.UTC), time.Date(2026, time.July, 15, 12, 0, 0, 0, time.UTC),
}
