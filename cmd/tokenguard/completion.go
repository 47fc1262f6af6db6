package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard"
)

// complete completes a flag with files: those with one of the endings, or all.
func complete(cmd *cobra.Command, flag string, endings ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(endings) > 0 {
			return endings, cobra.ShellCompDirectiveFilterFileExt
		}
		return nil, cobra.ShellCompDirectiveDefault
	})
}

// completeWords completes a flag with words, and never with files. A word that ends in = or an operator is only begun.
func completeWords(cmd *cobra.Command, flag string, words ...string) {
	how := cobra.ShellCompDirectiveNoFileComp
	for _, w := range words {
		if strings.ContainsAny(w[len(w)-1:], "=<>") {
			how |= cobra.ShellCompDirectiveNoSpace
		}
	}
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, how))
}

// completeList completes the last of the pairs of a list, such as those of --map.
func completeList(cmd *cobra.Command, flag string, words []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, begun string) (out []cobra.Completion, _ cobra.ShellCompDirective) {
		before := begun[:strings.LastIndexByte(begun, ',')+1]
		for _, w := range words {
			if field, _, _ := strings.Cut(w, "="); !strings.Contains(","+before, ","+field+"=") { // each is given once
				out = append(out, before+w)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
}

// completeNames completes a flag with the names of the states in the user's folder.
func completeNames(cmd *cobra.Command, flag string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return stateNames(), cobra.ShellCompDirectiveNoFileComp
	})
}

// stateNames are the names of the states in the user's folder.
func stateNames() (names []string) {
	path, err := tokenguard.DefaultStateFile("default")
	if err != nil {
		return nil
	}
	entries, _ := os.ReadDir(filepath.Dir(path))
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".state"); ok {
			names = append(names, name)
		}
	}
	return names
}

// alone are the names of settings without their sections, for those that have one.
func alone(settings []string) (names []string) {
	for _, s := range settings {
		if _, name, ok := strings.Cut(s, "."); ok {
			names = append(names, name)
		}
	}
	return names
}

// suffixed puts each ending behind each word.
func suffixed(words []string, endings ...string) (out []string) {
	for _, w := range words {
		for _, e := range endings {
			out = append(out, w+e)
		}
	}
	return out
}
