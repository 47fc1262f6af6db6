package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
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
	reading := []string{"replay", "check", "classify", "inspect", "list", "watch", "version"}
	everyCommand(func(c *cobra.Command) {
		for _, name := range reading {
			if c.Name() == name {
				assert.NotNil(t, c.Flags().Lookup("json"), name)
			}
		}
	})
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
