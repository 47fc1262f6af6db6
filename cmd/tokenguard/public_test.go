package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The logs of others are counted by hand: by line ends and plain patterns, and the calls are served by a list of
// instants. None of it knows the code that replays.

// hand is one call, as a person would read it off the line.
type hand struct {
	at     time.Time
	status int
}

// byHand serves calls with tokens of an hour, at most 3 in an hour and 20 in a day, 5 minutes apart. No line names a
// token, and none is about one; a 403 gets a token only if there is one.
func byHand(calls []hand) (served, starts int) {
	var began []time.Time
	within := func(now time.Time, d time.Duration) (n int) {
		for _, t := range began {
			if now.Sub(t) < d {
				n++
			}
		}
		return n
	}
	for _, c := range calls {
		age := time.Duration(1 << 62)
		if len(began) > 0 {
			age = c.at.Sub(began[len(began)-1])
		}
		free := within(c.at, time.Hour) < 3 && within(c.at, 24*time.Hour) < 20 && age >= 5*time.Minute && c.status != 403
		switch {
		case age < time.Hour-10*time.Second, age < time.Hour && !free:
			served++
		case free:
			began = append(began, c.at)
			served++
		}
	}
	return served, len(began)
}

func TestPublicLogs(t *testing.T) {
	status, polled := regexp.MustCompile(`" (\d{3}) `), regexp.MustCompile(`"timestamp":(\d{13}),`)
	logs := map[string]struct {
		args    []string
		read    func(line string) (hand, bool) // false: no call
		classes map[string]int
	}{
		"access.log": {
			args: []string{"--sort"},
			read: func(line string) (h hand, ok bool) {
				h.at, _ = time.Parse("02/Jan/2006:15:04:05 -0700", line[strings.Index(line, "[")+1:strings.Index(line, "]")])
				h.status, _ = strconv.Atoi(status.FindStringSubmatch(line)[1])
				return h, true
			},
			classes: map[string]int{"client_error": 63, "forbidden": 1, "transient": 2},
		},
		"llm.csv": {
			args: []string{"--map", "at=TIMESTAMP"},
			read: func(line string) (h hand, ok bool) {
				if ok = !strings.HasPrefix(line, "TIMESTAMP"); ok {
					h.at, _ = time.Parse("2006-01-02 15:04:05", line[:strings.Index(line, ",")])
				}
				return h, ok
			},
		},
		"status.json": {
			args: []string{"--map", "at=timestamp,caller=address"},
			read: func(line string) (h hand, ok bool) {
				ms, err := strconv.ParseInt(polled.FindStringSubmatch(line)[1], 10, 64)
				h.at = time.UnixMilli(ms)
				return h, err == nil
			},
		},
	}
	page, err := os.ReadFile("../../docs/command.md")
	require.NoError(t, err)
	for name, log := range logs {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile("testdata/logs/" + name)
			require.NoError(t, err)
			lines := strings.Split(strings.TrimSpace(string(data)), "\n")
			var calls []hand
			for _, line := range lines {
				if c, ok := log.read(line); ok {
					require.False(t, c.at.IsZero(), line)
					calls = append(calls, c)
				}
			}
			slices.SortStableFunc(calls, func(a, b hand) int { return a.at.Compare(b.at) })
			served, starts := byHand(calls)

			said, err := command(t, append([]string{"replay", "testdata/logs/" + name, "--json"}, log.args...)...)
			require.NoError(t, err)
			var report struct {
				Lines, Wrong, Skipped int
				Failures              map[string]int
				Unnamed               int `json:"unnamed_failures"`
				Results               []struct {
					Calls, Cached, Fetched int
					From, To               time.Time
					Starts                 int `json:"acquisition_count"`
				}
			}
			require.NoError(t, json.Unmarshal([]byte(said), &report))
			got := report.Results[0]
			assert.Equal(t, len(lines), report.Lines)
			assert.Zero(t, report.Wrong)
			assert.Equal(t, len(calls), got.Calls)
			assert.Equal(t, served, got.Cached+got.Fetched)
			assert.Equal(t, starts, got.Starts)
			assert.True(t, got.From.Equal(calls[0].at) && got.To.Equal(calls[len(calls)-1].at))
			assert.Equal(t, len(log.classes), len(report.Failures))
			for class, n := range log.classes {
				assert.Equal(t, n, report.Failures[class], class)
			}
			assert.Zero(t, report.Unnamed)
			assert.Regexp(t, fmt.Sprintf(`\b%d of %d [^,.]+ with %d\b`, served, len(calls), starts), string(page), "docs/command.md")
			t.Logf("%d lines, %d calls, %d served with %d acquisitions", len(lines), len(calls), served, starts)
		})
	}
}
