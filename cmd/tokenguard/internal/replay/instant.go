package replay

import (
	"fmt"
	"strconv"
	"time"
)

// layouts are those that can be told from each other. Month before day, or day before month, in figures cannot.
var layouts = []string{
	time.RFC3339, time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 -0700", "2006-01-02T15:04:05-0700",
	"02/Jan/2006:15:04:05 -0700", // access logs
	"2006/01/02 15:04:05",        // Go's log
	time.RFC1123, time.RFC1123Z, time.ANSIC, time.UnixDate, "20060102T150405Z0700", "2006-01-02 15:04:05 MST",
}

// instant reads a date and time in one of the layouts, or a number: Unix seconds, or milliseconds, microseconds,
// nanoseconds, by its size. Without a zone it is UTC.
func instant(s string) (time.Time, error) {
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 {
		for n < 1e17 {
			if n < 1e11 {
				n *= int64(time.Second)
				break
			}
			n *= 1000
		}
		return time.Unix(0, n).UTC(), nil
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && f > 0 && f < 1e10 {
		return time.Unix(0, int64(f*1e6)*1000).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("instant %q: want RFC 3339 or Unix seconds", shorten(s))
}

// shorten keeps a foreign text from flooding an error.
func shorten(s string) string {
	if runes := []rune(s); len(runes) > 60 {
		return string(runes[:60]) + "..."
	}
	return s
}
