package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardui"
	"github.com/tokenguard/tokenguard/inspect"
)

func serveCommand() *cobra.Command {
	var name, state, config, listen string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Show the page of a state file, live",
		Long: `Serve shows what the guards that share a state file may do now and why. It reads the state and starts nothing. The
page answers the loopback interface alone. Calls, refusals and the decision log are on the services' own pages: each
process knows those that it decided.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := readConfig(cmd, config)
			if err != nil {
				return err
			}
			if err := lookFirst(cmd, name, state); err != nil {
				return err
			}
			g, err := tokenguard.New(readOnly, tokenguard.WithName(name), tokenguard.WithStateFile(state), tokenguard.WithConfig(settings))
			if err != nil {
				return &exitError{exitUsage, err}
			}
			return serve(cmd, g, listen)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "default", "upstream and account: the guards' name")
	flags.StringVar(&state, "state", "", "state `FILE` (default: one named after --name in your state folder)")
	flags.StringVar(&config, "config", "", "configuration of the guards, in JSON (default: the library's)")
	flags.StringVar(&listen, "listen", "127.0.0.1:8321", "loopback `ADDRESS`")
	return cmd
}

// lookFirst says that there is no state yet, and refuses to open one that a guard would set aside or cannot read.
func lookFirst(cmd *cobra.Command, name, path string) (err error) {
	if path == "" {
		if path, err = tokenguard.DefaultStateFile(name); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	report, err := inspect.File(cmd.Context(), path)
	switch {
	case err != nil:
		return &exitError{exitStore, err}
	case report.Problem != "":
		return &exitError{exitStore, fmt.Errorf("tokenguard: %s: %s", path, report.Problem)}
	case !report.Exists:
		fmt.Fprintf(cmd.ErrOrStderr(), "no state at %s yet: the page shows an empty guard until a service or tokenguard get --name %s writes it\n", path, name)
	}
	return nil
}

// readOnly is the RequestFunc of a guard that is only looked at.
func readOnly(context.Context, tokenguard.Request) (tokenguard.Token, error) {
	return tokenguard.Token{}, errors.New("this guard is for looking only")
}

// serve shows the page of a guard until the program is told to end, and closes the guard.
func serve(cmd *cobra.Command, g *tokenguard.Guard, listen string) (err error) {
	defer func() { err = errors.Join(err, g.Close()) }()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("tokenguard: --listen %s: %w (another address: --listen 127.0.0.1:0)", listen, err)}
	}
	ctx := cmd.Context()
	server := &http.Server{Handler: guardui.New(g), ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	fmt.Fprintf(cmd.OutOrStdout(), "http://%s/ shows the page: open it in a browser. Ctrl-C ends it.\n", l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
