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
)

func serveCommand() *cobra.Command {
	var p place
	var config string
	var page pageFlags
	cmd := &cobra.Command{
		Use:   "serve [FILE]",
		Short: "Show the page of a state, live",
		Long: `Serve shows what the guards that share a state may do now and why. It reads the state and starts nothing. The page
listens and answers on the loopback interface alone; another --listen needs --with-token, which makes a secret that the
printed address holds, or --allow, a list of addresses that may see it. Calls, refusals and the decision log are on the
services' own pages: each process knows those that it decided.`,
		Example: `  tokenguard serve --name my-api
  tokenguard serve --name my-api --listen :8321 --with-token
  tokenguard serve /var/lib/my-api/tokens.state --listen 10.0.0.5:8321 --allow 10.0.0.0/24`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && p.name == "" && p.file == "" {
				p.name = "default"
			}
			return p.fileArg(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := page.check(); err != nil {
				return err
			}
			settings, err := readConfig(cmd, config)
			if err != nil {
				return err
			}
			if err := p.open(); err != nil {
				return err
			}
			defer p.close()
			report, err := lookFirst(cmd, &p)
			if err != nil {
				return err
			}
			if p.name == "" && report.Name == "" {
				p.name = "default"
			}
			g, err := p.guard(report, tokenguard.WithConfig(settings))
			if err != nil {
				return err
			}
			return serve(cmd, g, &page)
		},
	}
	p.writerFlags(cmd)
	cmd.Flags().StringVar(&config, "config", "", "configuration `FILE` of the guards, in JSON (default: the library's)")
	complete(cmd, "config", "json", "jsonc")
	page.flags(cmd)
	return cmd
}

// lookFirst says that there is no state yet, and refuses to open one that a guard would set aside or cannot read.
func lookFirst(cmd *cobra.Command, p *place) (inspected, error) {
	report, err := p.look(cmd.Context())
	switch {
	case err != nil:
		return report, err
	case report.Problem != "":
		return report, &exitError{exitFault, fmt.Errorf("tokenguard: %s: %s", p, report.Problem)}
	case !report.Exists:
		fmt.Fprintf(cmd.ErrOrStderr(), "tokenguard: there is no state at %s yet: the page shows an empty guard until a service or tokenguard get writes it\n", p)
	}
	return report, nil
}

// serve shows the page of a guard until the program is told to end, and closes the guard.
func serve(cmd *cobra.Command, g *tokenguard.Guard, page *pageFlags) (err error) {
	defer func() { err = errors.Join(err, g.Close()) }()
	l, err := net.Listen("tcp", page.listen)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("tokenguard: --listen %s: %w (another address: --listen 127.0.0.1:0)", page.listen, err)}
	}
	ctx, ended := untilSignal(cmd.Context())
	defer ended()
	server := &http.Server{Handler: page.handler(guardui.New(g, page.options()...)), ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	fmt.Fprintf(cmd.OutOrStdout(), "%s shows the page: open it in a browser. Ctrl-C ends it.\n", page.address(l.Addr()))
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
