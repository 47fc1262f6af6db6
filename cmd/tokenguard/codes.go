package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// exitCode is one way in which a command ends.
type exitCode struct {
	code    int
	meaning string
}

// endings are the exit codes of each command, as its help and docs/command.md list them. Besides, an answer that standard
// output does not take is exitFault.
var endings = map[string][]exitCode{
	"get": append([]exitCode{
		{0, "the token is on standard output"},
		{exitFault, "--report without COMMAND: there is no state, or it does not know the token"},
	}, acquiring...),
	"exec": append([]exitCode{
		{0, "PROGRAM's own code, as all others once it runs"},
	}, acquiring...),
	"report": {
		{0, "recorded"},
		{exitFault, "there is no state, it has a problem, or it does not know the token"},
		wrongUsage, noState,
	},
	"inspect": {
		{0, "the state is shown"},
		{exitFault, "there is no state, or it is damaged, lost, of a newer version or none of ours"},
		wrongUsage, noState,
	},
	"list": {
		{0, "the states are listed, if there are any"},
		{exitFault, "a state has a problem, or the folder cannot be read"},
		wrongUsage, {exitStore, "the server cannot be read"},
	},
	"watch": {
		{0, "the time or the number of changes is over, or a signal"},
		{exitFault, "the state is damaged, lost, of a newer version or none of ours: at the start, or still at the end"},
		wrongUsage, noState,
	},
	"serve": {
		{0, "a signal"},
		{exitFault, "the state is damaged, lost, of a newer version or none of ours"},
		{exitUsage, "wrong usage, or an address that cannot be listened on"}, noState,
	},
	"clear": {
		{0, "lifted, or there was nothing to lift"},
		{exitFault, "there is no state, or it has a problem"},
		wrongUsage, noState,
	},
	"demo": {
		{0, "a signal"},
		{exitUsage, "wrong usage, or an address that cannot be listened on"},
	},
	"replay": {
		{0, "the report is written"},
		{exitFault, "the log cannot be read or holds no call, or the report cannot be written"},
		wrongUsage, {exitExceeded, "a condition of --fail-on holds"},
	},
	"check": {
		{0, "no fault, and with --strict no warning"},
		{exitFault, "a fault, or a file that cannot be read"},
		wrongUsage,
	},
	"classify": {{0, "the class is printed, whichever it is"}, wrongUsage},
	"test": {
		{0, "all scenarios pass"},
		{exitFault, "one fails, or there is none"},
		wrongUsage,
	},
	"version":    {{0, "printed"}, wrongUsage},
	"completion": {{0, "printed"}, wrongUsage},
	"help":       {{0, "printed"}, wrongUsage},
}

var (
	wrongUsage = exitCode{exitUsage, "wrong usage"}
	noState    = exitCode{exitStore, "the state cannot be read or written"}
)

// acquiring are the endings of get and exec without a token.
var acquiring = []exitCode{
	{exitUsage, "wrong usage, which a configuration or a key that cannot be read is, too"},
	{exitFailed, "COMMAND was run and failed; its standard error tells the guard why (a 429, a Retry-After)"},
	{exitSystem, "the system has no files left to start COMMAND with; nothing was charged"},
	{exitStore, "the state, or standard output, cannot be read or written, or no key opens its token"},
	{exitWait, "refused, and waiting helps: standard error says until when"},
	{exitRefused, "refused, and waiting alone does not help"},
	{exitNotExecutable, "COMMAND or PROGRAM cannot be run; nothing was charged"},
	{exitNotFound, "COMMAND or PROGRAM is not found; nothing was charged"},
	{exitInterrupted, "a signal while the token was awaited"},
}

// tellEndings puts the exit codes into the help of each command.
func tellEndings(root *cobra.Command) {
	for _, c := range root.Commands() {
		list := endings[c.Name()]
		if len(list) == 0 {
			continue
		}
		var b strings.Builder
		if c.Long == "" {
			c.Long = c.Short + "."
		}
		fmt.Fprintf(&b, "%s\n\nExit codes:\n", c.Long)
		for _, e := range slices.SortedFunc(slices.Values(list), func(a, b exitCode) int { return a.code - b.code }) {
			fmt.Fprintf(&b, "  %3d  %s\n", e.code, e.meaning)
		}
		c.Long = strings.TrimSuffix(b.String(), "\n")
	}
}
