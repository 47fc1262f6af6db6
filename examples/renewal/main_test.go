package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStories(t *testing.T) {
	for i := range stories {
		s := &stories[i]
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			f, err := s.run()
			require.NoError(t, err)
			t.Logf("%+v", f)
			assert.Zero(t, f.ended, "tokens handed out past their end")
			assert.Zero(t, f.twice, "refresh tokens presented twice")
			switch s.name {
			case "all is well", "one process without WithRenewal":
				assert.Equal(t, 1, f.signUps)
				assert.Zero(t, f.without)
				assert.LessOrEqual(t, f.renewals, 375)
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

func TestTell(t *testing.T) {
	all := stories
	defer func() { stories = all }()
	stories = all[3:4]
	var out bytes.Buffer
	require.NoError(t, tell(&out))
	assert.Regexp(t, `endpoint down for 6 h +4 +11520 +\d+ \(the last \d+m\d+s after it was back\) +1 +\d+ +0\n`, out.String())
}
