// Tokenguard answers what a guard would have done with a log, checks configurations, lets shell scripts share the limits
// of services, and shows a state and lifts what may be lifted.
//
//	tokenguard replay LOG --config limits.json --what-if max_requests_per_hour=3,5,10
//	tokenguard get --name my-api -- ./fetch-token
//
// docs/command.md shows each command with its output.
package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	_ "time/tzdata" // quota periods name zones, and a container has none

	"github.com/spf13/cobra"
)

func main() { os.Exit(run()) }

func run() int { return tell(os.Stderr, root().ExecuteContext(context.Background())) }

// untilSignal is for commands that have something to bring to an end: the first signal ends ctx, the second one the
// program, with the commands that it runs. All others are ended by the first, also where they wait for their input.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	signals, over := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		select {
		case <-signals:
			cancel()
		case <-over:
			return
		}
		select {
		case s := <-signals:
			dieOf(s)
		case <-over:
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(over)
		cancel()
	})
}

func root() *cobra.Command {
	cobra.EnableCommandSorting = false
	cmd := &cobra.Command{
		Use:           "tokenguard",
		Short:         "Acquire metered tokens almost never",
		Version:       built().String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
		Args: cobra.ArbitraryArgs,
	}
	cmd.SetVersionTemplate("{{.Version}}\n")
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		// The flags behind a command that does not exist are looked for among the program's own.
		if c == cmd && c.Flags().NArg() > 0 {
			return unknownCommand(cmd, c.Flags().Arg(0))
		}
		return usage("%w (see %s --help)", err, c.CommandPath())
	})
	addGroup(cmd, "Tokens for scripts:", getCommand(), execCommand(), reportCommand())
	addGroup(cmd, "What is going on, and lifting a refusal:", inspectCommand(), listCommand(), watchCommand(), serveCommand(), clearCommand())
	addGroup(cmd, "Before it runs:", demoCommand(), replayCommand(), checkCommand(), classifyCommand(), testCommand())
	cmd.AddCommand(versionCommand())
	cmd.SetHelpCommand(helpCommand(cmd))
	cmd.InitDefaultCompletionCmd()
	if c, _, err := cmd.Find([]string{"completion"}); err == nil { // which by itself takes an unknown shell for a question
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	cmd.InitDefaultHelpCmd()
	keepConventions(cmd)
	tellEndings(cmd)
	return cmd
}

func unknownCommand(root *cobra.Command, name string) error {
	hint := ""
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(name); len(near) > 0 {
		hint = "; did you mean " + near[0] + "?"
	}
	return usage("unknown command %q%s (see tokenguard --help)", name, hint)
}

// addGroup adds commands that help lists under a title, in this order.
func addGroup(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, c := range commands {
		c.GroupID = title
	}
	root.AddCommand(commands...)
}

func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show what a command does, and its flags",
		Args:  cobra.ArbitraryArgs,
		ValidArgsFunction: func(*cobra.Command, []string, string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
			for _, c := range root.Commands() {
				names = append(names, c.Name())
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			about, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 || len(args) > 0 && about == root {
				return usage("there is no command %q (see tokenguard --help)", args[len(args)-max(len(rest), 1)])
			}
			return about.Help()
		},
	}
}
