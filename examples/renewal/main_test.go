package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Tests allocate much and keep little: collecting less often saves a third of what they cost.
func init() { debug.SetGCPercent(400) }

// rows names the stories as docs/renewal.md does.
var rows = map[string]string{
	"all is well":                     "all is well",
	"deleted on day 3":                "the account is deleted on day 3",
	"banned on day 3":                 "it is banned on day 3",
	"endpoint down for 6 h":           "renewals fail for 6 h",
	"the same, ReplaceAfter 1 h":      "the same, `ReplaceAfter: time.Hour`",
	"one process without WithRenewal": "one of the processes has no `WithRenewal`",
}

// documented is the row of docs/renewal.md that the figures make.
func documented(s *story, f figures) string {
	number := message.NewPrinter(language.English).Sprint
	without := number(f.without)
	switch {
	case f.without > 0 && s.ends > 0:
		without += fmt.Sprintf(", the last %.0f min after they work again", f.last.Minutes())
	case f.without > 0:
		without += ", from the end of its value"
	}
	return fmt.Sprintf("| %s | %d | %s | %s | %d | %d | %d |\n", rows[s.name], s.days, number(f.calls), without, f.signUps, f.renewals, f.twice)
}

// In an ordinary run each story is told in two days, and what happens on day 3 happens on day 1; under TOKENGUARD_LONG as
// the program and docs/renewal.md tell it.
func TestStories(t *testing.T) {
	page, err := os.ReadFile("../../docs/renewal.md")
	require.NoError(t, err)
	assert.Len(t, rows, len(stories))
	long := os.Getenv("TOKENGUARD_LONG") != ""
	for _, s := range stories {
		if !long {
			s = shortened(s)
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			f, err := s.run()
			require.NoError(t, err)
			t.Logf("%+v", f)
			if long {
				assert.Contains(t, string(page), documented(&s, f))
			}
			assert.Zero(t, f.ended, "tokens handed out past their end")
			assert.Zero(t, f.twice, "refresh tokens presented twice")
			switch s.name {
			case "all is well", "one process without WithRenewal":
				assert.Equal(t, 1, f.signUps)
				assert.Zero(t, f.without)
				assert.LessOrEqual(t, f.renewals, 375*s.days/14)
			case "deleted on day 3":
				assert.Equal(t, 2, f.signUps)
				assert.Zero(t, f.without)
			case "banned on day 3":
				assert.Equal(t, 1, f.signUps)
				assert.Less(t, f.first, time.Hour, "from the end of the value")
			case "endpoint down for 6 h":
				assert.Equal(t, 1, f.signUps)
				assert.LessOrEqual(t, f.last, 11*time.Minute)
				assert.Greater(t, f.first, time.Duration(0))
			case "the same, ReplaceAfter 1 h":
				assert.Equal(t, 2, f.signUps)
				assert.LessOrEqual(t, f.last, 11*time.Minute)
			}
		})
	}
}

func shortened(s story) story {
	s.days = 2
	if s.at > 0 {
		s.at -= 2 * day
	}
	if s.ends > 0 {
		s.ends -= 2 * day
	}
	return s
}

func TestTell(t *testing.T) {
	all, days, calls := stories, 4, 11520
	defer func() { stories = all }()
	stories = all[3:4]
	if os.Getenv("TOKENGUARD_LONG") == "" {
		stories, days, calls = []story{shortened(all[3])}, 2, 5760
	}
	var out bytes.Buffer
	require.NoError(t, tell(&out))
	assert.Regexp(t, fmt.Sprintf(`endpoint down for 6 h +%d +%d +\d+ \(the last \d+m\d+s after it was back\) +1 +\d+ +0\n`, days, calls), out.String())
}
