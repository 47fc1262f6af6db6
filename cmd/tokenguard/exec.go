package main

import (
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func execCommand() *cobra.Command {
	var a access
	var env string
	cmd := &cobra.Command{
		Use:     "exec --env NAME [flags] -- COMMAND [ARG...] -- PROGRAM [ARG...]",
		Short:   "Run PROGRAM with a token in its environment",
		Long:    "Exec gets a token as get does and runs PROGRAM with it in the environment variable NAME.",
		Example: `  tokenguard exec --env API_TOKEN --name my-api -- ./fetch-token -- ./run-tests --fast`,
		RunE: func(cmd *cobra.Command, args []string) error {
			split := slices.Index(args, "--")
			if split <= 0 || split == len(args)-1 {
				return usage("exec needs two commands: tokenguard exec --env NAME -- COMMAND -- PROGRAM")
			}
			if env == "" || strings.ContainsAny(env, "=\x00") {
				return usage("--env %q: want the name of an environment variable", env)
			}
			program, err := ready(args[split+1:])
			if err != nil {
				return err
			}
			token, err := a.token(cmd, args[:split])
			if err != nil {
				return err
			}
			prefix := env + "="
			environ := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, prefix) })
			return become(program, append(environ, prefix+token.Value()))
		},
	}
	a.flags(cmd)
	cmd.Flags().StringVar(&env, "env", "", "environment variable that holds the token")
	completeWords(cmd, "env", "API_TOKEN", "TOKEN")
	return cmd
}
