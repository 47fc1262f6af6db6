package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard/cmd/tokenguard/internal/replay"
)

type replayFlags struct {
	config    string
	whatIf    []string
	failOn    []string
	explain   bool
	format    string
	json      bool
	input     string
	separator string
	columns   []string
	sort      bool
	output    string
	upstream  replay.Upstream
}

func replayCommand() *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay LOG...",
		Short: "Show what a guard would have done with a log",
		Long: `Replay runs the calls of a log through a real guard, on the log's own clock. All processes of the log share one
state. LOG is a file, or - for standard input, compressed with gzip or not; several files are merged by time. A line is
one JSON object, pairs key=value (logfmt), a line of an access log, or a row of CSV with a heading: a call ("at",
"caller", "scope", "status", "body", "failing"), an event of the library, its log record, or any other with --map.

A line is a call for a token; status and body say how the call before it ended, failing names the token with which it
did ("current": the one handed out last; "personal": the account's own). A failure of a quota or a credential that
names no token is taken to be of the current one, and counted; --map failing=none takes it to say nothing of a token.
The upstream is scripted: it issues tokens of --lifetime, good for --uses, and where the log records how acquisitions
ended, they end so. A line that cannot be read is reported with its number and left out.

--map FIELD=COLUMN,...: COLUMN is a name, in double quotes where it holds a comma, A+B for two that belong together, or
a text in single quotes.

--fail-on makes the program fail if a condition holds of the configuration: served, refused, failed, used_up (shares
of the calls), calls, acquisitions, unnamed, wrong, skipped (numbers); < <= > >= == !=.`,
		Example: `  tokenguard replay calls.jsonl --what-if max_requests_per_hour=3,5,10
  tokenguard replay app.log --map at=time,caller=user.name,status=code --fail-on 'served<95%'
  tokenguard replay export.csv --map 'at=Date+Time,status="Status, HTTP",failing=current'
  tokenguard replay access.log.2.gz access.log.1 access.log --format html --output report.html`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("replay needs a log, or - for standard input")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config", "", "configuration `FILE` in JSON (default: the library's)")
	flags.StringArrayVar(&f.whatIf, "what-if", nil, "compare `SETTING=VALUE,...`; may be repeated")
	flags.StringArrayVar(&f.failOn, "fail-on", nil, "exit with 99 if `CONDITION` holds, as served<95%; may be repeated")
	flags.BoolVar(&f.explain, "explain", false, "show every step of the first refusal of each reason")
	flags.StringVar(&f.format, "format", "text", "of the report: text, json, csv or html")
	flags.BoolVar(&f.json, "json", false, "short for --format json")
	flags.StringVar(&f.input, "input", "", "format of the log: json, logfmt, access or csv (default: found out)")
	flags.StringVar(&f.separator, "separator", "", "between the columns of CSV, or tab (default: found out)")
	flags.StringArrayVar(&f.columns, "map", nil, "where a foreign log keeps `FIELD=COLUMN,...`: "+strings.Join(replay.Fields, ", "))
	flags.BoolVar(&f.sort, "sort", false, "sort the lines by time first, in memory")
	flags.StringVarP(&f.output, "output", "o", "", "write the report to `FILE`")
	flags.DurationVar(&f.upstream.Lifetime, "lifetime", time.Hour, "of the upstream's tokens; 0: not stated")
	flags.IntVar(&f.upstream.Uses, "uses", 0, "that a token is good for; 0: no limit")
	complete(cmd, "config", "json", "jsonc")
	completeWords(cmd, "what-if", suffixed(append(replay.Settings(), alone(replay.Settings())...), "=")...)
	completeWords(cmd, "fail-on", suffixed(replay.Metrics(), "<", ">")...)
	completeWords(cmd, "format", "text", "json", "csv", "html")
	completeWords(cmd, "input", "json", "logfmt", "access", "csv")
	completeWords(cmd, "separator", ",", ";", "tab", "|")
	completeList(cmd, "map", append(suffixed(replay.Fields, "="), "failing=current", "failing=none"))
	complete(cmd, "output")
	completeWords(cmd, "lifetime", "5m", "1h", "24h")
	completeWords(cmd, "uses")
	return cmd
}

// writers of the report, by --format.
var writers = map[string]func(*replay.Report, io.Writer) error{
	"text": (*replay.Report).Text, "json": (*replay.Report).JSON, "csv": (*replay.Report).CSV, "html": (*replay.Report).HTML,
}

func (f *replayFlags) run(cmd *cobra.Command, names []string) error {
	if f.json {
		f.format = "json"
	}
	write := writers[f.format]
	if write == nil {
		return usage("--format %q: want text, json, csv or html", f.format)
	}
	if f.upstream.Lifetime < 0 || f.upstream.Uses < 0 {
		return usage("--lifetime %v, --uses %d: want 0 or more", f.upstream.Lifetime, f.upstream.Uses)
	}
	opts, err := f.options()
	if err != nil {
		return err
	}
	var conditions []replay.Condition
	for _, s := range f.failOn {
		c, err := replay.ParseCondition(s)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		conditions = append(conditions, c)
	}
	replays, err := f.replays(cmd)
	if err != nil {
		return err
	}
	report, err := f.read(cmd, names, opts, replays)
	if err != nil {
		return err
	}
	if err := f.write(cmd, report, write); err != nil {
		return err
	}
	for _, c := range conditions {
		if holds, v := c.Holds(report); holds {
			return &exitError{exitExceeded, fmt.Errorf("tokenguard: %s holds: it is %.4g", c, v)}
		}
	}
	return nil
}

// options say how the log is to be read.
func (f *replayFlags) options() (opts replay.Options, err error) {
	opts.Sort = f.sort
	switch f.input {
	case "", "json", "logfmt", "access", "csv":
		opts.Format = replay.Format(f.input)
	default:
		return opts, usage("--input %q: want json, logfmt, access or csv", f.input)
	}
	if f.separator != "" {
		sep, size := utf8.DecodeRuneInString(f.separator)
		if f.separator == "tab" || f.separator == `\t` {
			sep, size = '\t', len(f.separator)
		}
		if size != len(f.separator) || strings.ContainsRune("\"\r\n\uFFFD", sep) {
			return opts, usage("--separator %q: want one character, or tab", f.separator)
		}
		opts.Separator = sep
		if opts.Format == "" {
			opts.Format = replay.CSV
		}
	}
	if opts.Columns, err = replay.ParseColumns(f.columns); err != nil {
		err = &exitError{exitUsage, err}
	}
	return opts, err
}

// replays are the one under the configuration, and its variants.
func (f *replayFlags) replays(cmd *cobra.Command) ([]*replay.Replay, error) {
	config, err := readConfig(cmd, f.config)
	if err != nil {
		return nil, err
	}
	name := f.config
	if name == "" {
		name = "defaults"
	}
	setup := replay.Setup{Config: config, Upstream: f.upstream}
	first, err := replay.New(name, setup, f.explain)
	if err != nil {
		return nil, err
	}
	replays := []*replay.Replay{first}
	for _, s := range f.whatIf {
		variants, err := replay.ParseWhatIf(s, setup)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		for _, v := range variants {
			r, err := replay.New(v.Name, v.Setup, false)
			if err != nil {
				return nil, &exitError{exitUsage, fmt.Errorf("%w (in --what-if %s)", err, v.Name)}
			}
			replays = append(replays, r)
		}
	}
	return replays, nil
}

func (f *replayFlags) write(cmd *cobra.Command, r *replay.Report, write func(*replay.Report, io.Writer) error) error {
	if f.output == "" {
		return write(r, cmd.OutOrStdout())
	}
	file, err := os.Create(f.output)
	if err != nil {
		return whole(err)
	}
	return errors.Join(write(r, file), file.Close())
}
