package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// everyCommand visits the commands that are ours.
func everyCommand(visit func(*cobra.Command)) {
	for _, c := range root().Commands() {
		if c.Name() != "completion" {
			visit(c)
		}
	}
}

func TestEveryFlagValueHasACompletion(t *testing.T) {
	flags := 0
	everyCommand(func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Value.Type() == "bool" {
				return
			}
			flags++
			_, found := c.GetFlagCompletionFunc(f.Name)
			assert.True(t, found, "%s --%s", c.Name(), f.Name)
		})
	})
	assert.Greater(t, flags, 50)
}

func TestEveryReadingCommandSpeaksJSON(t *testing.T) {
	without := map[string]bool{"serve": true, "demo": true, "help": true} // a page is no output
	everyCommand(func(c *cobra.Command) {
		assert.Equal(t, !without[c.Name()], c.Flags().Lookup("json") != nil, c.Name())
	})
}

// What the library calls its options never reaches a user: each has a flag's name, or stands where this command cannot
// bring it about.
func TestNoOptionIsNamed(t *testing.T) {
	elsewhere := map[string]string{
		"WithClassifier": "", "WithPersonalToken": "", "WithoutTokenPersistence": "", "WithClock": "", "WithClockOnEachHit": "", "WithLogger": "", "WithObserver": "",
		"WithShadowModeRefusingNothing": "", "WithCandidate": "", "WithFailOpenToLocalShare": "", "WithTTL": "", "WithTimeout": "",
		"WithWaitReplicas": "", "WithFreshness": "", // none is set by the user of a command
	}
	options := 0
	for _, pattern := range []string{"../../*.go", "../../redisstore/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range files {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			for _, m := range regexp.MustCompile(`(?m)^func (With\w+)\(.*Option`).FindAllStringSubmatch(string(text), -1) {
				options++
				_, ok := elsewhere[m[1]]
				assert.Equal(t, ok, strings.Contains(asFlags(m[1]), "With"), m[1])
			}
		}
	}
	assert.Greater(t, options, 20)
}

func TestVersionTellsItsRevision(t *testing.T) {
	b := build{Version: "v1.2.3", Go: "go1.26", Platform: "linux/amd64"}
	assert.Equal(t, "tokenguard v1.2.3, go1.26 linux/amd64", b.String())
	b.Revision = "0123456789abcdef0123"
	assert.Equal(t, "tokenguard v1.2.3, revision 0123456789ab, go1.26 linux/amd64", b.String())
	b.Modified = true
	assert.Equal(t, "tokenguard v1.2.3, revision 0123456789ab with changes, go1.26 linux/amd64", b.String())
}

// What the library calls its options is told by the flag's name, and every message begins with the program's.
func TestTellNamesFlags(t *testing.T) {
	for text, want := range map[string]string{
		"tokenguard: WithName is missing":            "tokenguard: --name is missing",
		"give WithStateFile a path":                  "tokenguard: give --state a path",
		"tokenguard: WithRequestTimeout is -1s, ...": "tokenguard: --timeout is -1s, ...",
	} {
		var b strings.Builder
		assert.Equal(t, exitFault, tell(&b, &exitError{exitFault, errors.New(text)}))
		assert.Equal(t, want+"\n", b.String())
	}
	var b strings.Builder
	assert.Equal(t, 0, tell(&b, nil))
	assert.Equal(t, exitExceeded, tell(&b, &exitError{code: exitExceeded}))
	assert.Empty(t, b.String())
	assert.Equal(t, exitUsage, tell(&b, errors.New("what cobra says")))
}
