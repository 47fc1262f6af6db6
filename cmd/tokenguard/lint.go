package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/tailscale/hujson"

	"github.com/tokenguard/tokenguard"
)

// lint finds settings that are right each and do not go together. data is the document, which is known to be right;
// what it leaves out has its default. A rule speaks only where the document states a setting that it holds to be at
// fault, since the others are the library's choice.
func lint(data []byte, stated tokenguard.Config) (out []finding) {
	doc, err := hujson.Parse(data)
	if err != nil {
		return nil
	}
	in, err := inForce(stated)
	if err != nil {
		return nil
	}
	warn := func(path, format string, args ...any) { // what is wrong with the setting at path
		v := doc.Find("/" + strings.ReplaceAll(path, ".", "/"))
		if v == nil {
			return
		}
		before := data[:v.StartOffset]
		out = append(out, finding{Line: 1 + bytes.Count(before, []byte("\n")), Column: v.StartOffset - bytes.LastIndexByte(before, '\n'),
			Field: path, Text: path + fmt.Sprintf(format, args...)})
	}
	l, m, c := in.RateLimit, in.Manager, in.Cache
	if l.MaxRequestsPerHour > l.MaxRequestsPerDay {
		warn("rate_limit.max_requests_per_hour", " is %d, above max_requests_per_day (%d): the day is full first, so it has no effect", l.MaxRequestsPerHour, l.MaxRequestsPerDay)
	}
	if most := 24 * l.MaxRequestsPerHour; l.MaxRequestsPerDay > most {
		warn("rate_limit.max_requests_per_day", " is %d, but max_requests_per_hour (%d) allows at most %d in 24 hours: it has no effect", l.MaxRequestsPerDay, l.MaxRequestsPerHour, most)
	}
	if most := fitting(time.Hour, l.MinInterval); l.MaxRequestsPerHour > most {
		warn("rate_limit.max_requests_per_hour", " is %d, but %v apart (min_interval) allows at most %d in 60 minutes: it has no effect", l.MaxRequestsPerHour, l.MinInterval, most)
	}
	if most := fitting(24*time.Hour, l.MinInterval); l.MaxRequestsPerDay > most {
		warn("rate_limit.max_requests_per_day", " is %d, but %v apart (min_interval) allows at most %d in 24 hours: it has no effect", l.MaxRequestsPerDay, l.MinInterval, most)
	}
	if m.RecentWindow > l.MinInterval {
		text := " is %v, above rate_limit.min_interval (%v): one scope gets no other acquisition for the longer of the two, so min_interval matters between scopes alone"
		warn("manager.recent_window", text, m.RecentWindow, l.MinInterval)
		if stated.Manager.RecentWindow == 0 {
			warn("rate_limit.min_interval", " is %v, below manager.recent_window (%v): one scope gets no other acquisition for the longer of the two", l.MinInterval, m.RecentWindow)
		}
	}
	if m.MinTokenAge >= c.TTL {
		warn("manager.min_token_age", " is %v, not below cache.cache_ttl (%v): a token whose expiry the upstream does not state has expired before it may be replaced", m.MinTokenAge, c.TTL)
	}
	if m.Confirmation >= m.MinTokenAge && m.ReplaceSpentEarly {
		warn("manager.confirmation", " is %v, not below min_token_age (%v): replace_spent_early has no effect", m.Confirmation, m.MinTokenAge)
	}
	if l.MinInterval > l.FailureBackoffBase {
		warn("rate_limit.min_interval", " is %v, above failure_backoff_base (%v): the pause after a first failure has no effect", l.MinInterval, l.FailureBackoffBase)
	}
	return out
}

// fitting is how many starts fit into a window: the first at its beginning, the others an interval apart.
func fitting(window, interval time.Duration) int {
	return int((window-1)/interval) + 1
}

// inForce are the settings as a guard would have them.
func inForce(stated tokenguard.Config) (tokenguard.Config, error) {
	g, err := tokenguard.New(readOnly, tokenguard.WithConfig(stated))
	if err != nil {
		return stated, err
	}
	return g.Config(), g.Close()
}
