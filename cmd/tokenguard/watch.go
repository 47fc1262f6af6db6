package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard"
)

func watchCommand() *cobra.Command {
	var p place
	var every, limit time.Duration
	var count int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "watch [FILE]",
		Short: "Follow what changes in a state, live",
		Long: `Watch prints a line for everything that changes in a state, whichever process changed it: acquisitions that start and
end, tokens that come, wear out or are rejected, limits that close and open, a state that is lost. It begins with what is
known now, changes nothing, and ends with Ctrl-C. A state that is damaged at the start, or at the end, is an error; in
between it is a change like others, since the next guard may repair it. Calls that a process answers from its cache leave no trace in the
state: services have them on their own page and in their log.`,
		Example: `  tokenguard watch --name my-api
  tokenguard watch --name my-api --redis redis://localhost:6379/0 --json | jq .event`,
		Args: func(cmd *cobra.Command, args []string) error {
			if every < 10*time.Millisecond || limit < 0 || count < 0 {
				return usage("--every %v: want at least 10ms; --for %v and --count %d: want 0 (no end) or more", every, limit, count)
			}
			return p.fileArg(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.open(); err != nil {
				return err
			}
			defer p.close()
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			if limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, limit)
				defer cancel()
			}
			return watch(ctx, &p, every, printer(cmd.OutOrStdout(), asJSON, count))
		},
	}
	p.flags(cmd)
	flags := cmd.Flags()
	flags.DurationVar(&every, "every", time.Second, "how often a file is looked at; a server also announces changes")
	flags.DurationVar(&limit, "for", 0, "end after this long; 0: do not")
	flags.IntVar(&count, "count", 0, "end after this many changes; 0: do not")
	flags.BoolVar(&asJSON, "json", false, "print a JSON object a line")
	completeWords(cmd, "every", "100ms", "1s", "10s")
	completeWords(cmd, "for", "1m", "10m", "1h")
	completeWords(cmd, "count", "1", "10")
	return cmd
}

// watch hands over what changes until ctx ends or take returns false. A state that is damaged or cannot be read is said
// once; if it is so at the start, or still at the end, that is an error.
func watch(ctx context.Context, p *place, every time.Duration, take func(change) (more bool, err error)) error {
	last, err := p.look(ctx)
	if err == nil {
		err = problemOf(p, last)
	}
	if err != nil {
		return err
	}
	for _, c := range now(last) {
		if _, err := take(c); err != nil {
			return err
		}
	}
	var hints <-chan struct{}
	if p.store != nil {
		hints = tokenguard.Watcher(p.store).Watch(ctx, p.name)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var standing, broken error // what is wrong with the state since the last look; that it could not be read
	for {
		select {
		case <-ctx.Done():
			return standing
		case _, ok := <-hints:
			if !ok {
				hints = nil // ctx ends, or there is none to be had: the ticker goes on
				continue
			}
		case <-tick.C:
		}
		next, err := p.look(ctx)
		var changes []change
		switch {
		case ctx.Err() != nil:
			return standing
		case err != nil && broken == nil:
			changes = []change{{At: time.Now(), Event: "unreadable", Text: err.Error()}}
		case err == nil:
			changes = compare(last, next)
			if broken != nil {
				changes = append([]change{{At: time.Now(), Event: "readable", Text: "the state can be read again"}}, changes...)
			}
			next.Losses = max(next.Losses, last.Losses) // a damaged file does not tell
			last = next
		}
		if standing, broken = err, err; err == nil {
			standing = problemOf(p, last)
		}
		for _, c := range changes {
			if more, err := take(c); err != nil {
				return err
			} else if !more {
				return standing
			}
		}
	}
}

// printer prints changes; the ones of the start do not count.
func printer(w io.Writer, asJSON bool, most int) func(change) (bool, error) {
	colour := painter(w)
	n := 0
	return func(c change) (bool, error) {
		var err error
		if asJSON {
			err = json.NewEncoder(w).Encode(c)
		} else {
			event := fmt.Sprintf("%-10s", c.Event)
			switch c.Event {
			case "failed", "closed", "killed", "rejected", "spent", "suspect", "lost", "problem", "unreadable":
				event = colour.bad(event)
			case "acquired", "open", "usable", "readable":
				event = colour.good(event)
			}
			_, err = fmt.Fprintf(w, "%s  %s  %s\n", colour.dim(c.At.UTC().Format(time.RFC3339)), event, oneLine(asFlags(c.Text)))
		}
		if c.Event != "watching" {
			n++
		}
		return most == 0 || n < most, err
	}
}
