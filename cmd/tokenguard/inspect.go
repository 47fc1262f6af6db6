package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/inspect"
	"github.com/tokenguard/tokenguard/redisstore"
)

func inspectCommand() *cobra.Command {
	var asJSON bool
	var name, server, prefix string
	cmd := &cobra.Command{
		Use:   "inspect [FILE]",
		Short: "Explain a state: what is charged, which gate is closed until when, and why",
		Long: `Inspect reads a state without changing it or disturbing whoever uses it: a FILE, else the one in your state folder under
--name, or the one under --name in the Redis or Valkey of --redis. Tokens are shown by their IDs alone. It exits with 1
if the state is damaged, lost, or of a newer version, or if FILE is none, and with 74 if it cannot be read.`,
		Example: `  tokenguard inspect --name my-api
  tokenguard inspect /var/lib/my-api/tokens.state
  tokenguard inspect --name my-api --redis redis://localhost:6379/0`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usage("inspect explains one state; %d files given", len(args))
			case len(args) == 0 && name == "":
				return usage("inspect needs a state file, or the guards' name with --name")
			case len(args) == 1 && (name != "" || server != ""):
				return usage("inspect needs either a state file or --name (with --redis, if it lies there)")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := state(cmd.Context(), args, name, server, prefix)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				encoder := json.NewEncoder(out)
				encoder.SetIndent("", "  ")
				if err := encoder.Encode(report); err != nil {
					return err
				}
			} else {
				fmt.Fprint(out, report)
			}
			if report.Problem != "" {
				return &exitError{code: exitFault}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	flags.StringVar(&name, "name", "", "upstream and account: the guards' `NAME`")
	flags.StringVar(&server, "redis", "", "`URL` of the Redis or Valkey that holds the state: redis://USER:PASSWORD@HOST:PORT/DB, rediss:// with TLS")
	flags.StringVar(&prefix, "prefix", "", "of the keys in Redis (default: the library's)")
	return cmd
}

// state explains a file, the file of a name, or what a server holds under the name.
func state(ctx context.Context, args []string, name, server, prefix string) (inspect.Report, error) {
	if server != "" {
		return serverState(ctx, server, prefix, name)
	}
	path := ""
	if len(args) == 1 {
		path = args[0]
	} else {
		var err error
		if path, err = tokenguard.DefaultStateFile(name); err != nil {
			return inspect.Report{}, &exitError{exitUsage, err}
		}
	}
	report, err := inspect.File(ctx, path)
	if err != nil {
		err = &exitError{exitStore, err}
	}
	return report, err
}

func serverState(ctx context.Context, server, prefix, name string) (inspect.Report, error) {
	options, err := redis.ParseURL(server)
	if err != nil { // whose text may hold the password
		return inspect.Report{}, usage("--redis: not an address such as redis://localhost:6379/0")
	}
	options.ContextTimeoutEnabled, options.DisableIdentity = true, true
	client := redis.NewClient(options)
	defer client.Close()
	var opts []redisstore.Option
	if prefix != "" {
		opts = append(opts, redisstore.WithPrefix(prefix))
	}
	store, err := redisstore.New(client, opts...)
	if err != nil {
		return inspect.Report{}, &exitError{exitUsage, err}
	}
	defer store.Close()
	report, err := inspect.Store(ctx, store, name)
	if err != nil {
		err = &exitError{exitStore, err}
	}
	return report, err
}
