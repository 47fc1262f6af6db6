package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tokenguard/tokenguard/cmd/tokenguard/internal/replay"
)

type replayFlags struct {
	config   string
	whatIf   []string
	failOn   []string
	explain  bool
	format   string
	columns  map[string]string
	output   string
	upstream replay.Upstream
}

func replayCommand() *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay LOG",
		Short: "Show what a guard would have done with a log",
		Long: `Replay runs the calls of a log through a real guard, on the log's own clock. All processes of the log share one
state. LOG is - for standard input, or a file with one JSON object a line: calls ("at", "caller", "scope", "status",
"body", "failing"), events of the library, its log records in JSON, or any other with --map; or a .csv with a heading.

A line is a call for a token; status and body say how the call before it ended, failing names the token with which it
did ("current": the one handed out last). The upstream is scripted: it issues tokens of --lifetime, good for --uses,
and where the log records how acquisitions ended, they end so.

--fail-on ends with exit code 99 if a condition holds of the configuration: served, refused, failed, used_up (shares
of the calls), calls, acquisitions; < <= > >= == !=.`,
		Example: `  tokenguard replay calls.jsonl --what-if max_requests_per_hour=3,5,10
  tokenguard replay app.log --map at=time,caller=user.name,status=code --fail-on 'served<0.95'
  tokenguard replay events.jsonl --config limits.json --format html --output report.html`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("replay needs one log, or - for standard input; %d given", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config", "", "configuration in JSON (default: the library's)")
	flags.StringArrayVar(&f.whatIf, "what-if", nil, "compare `SETTING=VALUE,...`; may be repeated")
	flags.StringArrayVar(&f.failOn, "fail-on", nil, "exit with 99 if `CONDITION` holds, as served<0.95; may be repeated")
	flags.BoolVar(&f.explain, "explain", false, "show every step of the first refusal of each reason")
	flags.StringVar(&f.format, "format", "text", "text, json, csv or html")
	flags.StringToStringVar(&f.columns, "map", nil, "where a foreign log keeps `FIELD=COLUMN,...`: "+strings.Join(replay.Fields, ", "))
	flags.StringVarP(&f.output, "output", "o", "", "write the report to `FILE`")
	flags.DurationVar(&f.upstream.Lifetime, "lifetime", time.Hour, "of the upstream's tokens; 0: not stated")
	flags.IntVar(&f.upstream.Uses, "uses", 0, "that a token is good for; 0: no limit")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "json", "csv", "html"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (f *replayFlags) run(cmd *cobra.Command, name string) error {
	write := map[string]func(*replay.Report, io.Writer) error{
		"text": (*replay.Report).Text, "json": (*replay.Report).JSON, "csv": (*replay.Report).CSV, "html": (*replay.Report).HTML,
	}[f.format]
	if write == nil {
		return usage("--format %q: want text, json, csv or html", f.format)
	}
	if f.upstream.Lifetime < 0 || f.upstream.Uses < 0 {
		return usage("--lifetime %v, --uses %d: want 0 or more", f.upstream.Lifetime, f.upstream.Uses)
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
	in, size, err := openLog(cmd, name)
	if err != nil {
		return err
	}
	defer in.Close()
	bar := newProgress(in, size)
	log, err := replay.Open(filepath.Base(name), bar, f.columns)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	err = replay.Run(log.Calls(), replays, bar.show)
	bar.clear()
	if err != nil {
		return err
	}
	report := &replay.Report{Log: filepath.Base(name), Lines: log.Lines, Skipped: log.Skipped, Upstream: f.upstream}
	for _, r := range replays {
		report.Results = append(report.Results, &r.Result)
	}
	if err := f.write(cmd, report, write); err != nil {
		return err
	}
	for _, c := range conditions {
		if holds, v := c.Holds(report.Results[0]); holds {
			return &exitError{exitExceeded, fmt.Errorf("tokenguard: %s holds: it is %.4g", c, v)}
		}
	}
	return nil
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
	first, err := replay.New(name, f.upstream, f.explain, config)
	if err != nil {
		return nil, err
	}
	replays := []*replay.Replay{first}
	for _, s := range f.whatIf {
		variants, err := replay.ParseWhatIf(s)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		for _, v := range variants {
			r, err := replay.New(v.Name, f.upstream, false, config, v.Config)
			if err != nil {
				return nil, fmt.Errorf("%w (with --what-if %s)", err, v.Name)
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
		return fmt.Errorf("tokenguard: %w", err)
	}
	if err := write(r, file); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}

// openLog opens the log; size is 0 where it is not known.
func openLog(cmd *cobra.Command, name string) (in io.ReadCloser, size int64, err error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), 0, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, 0, fmt.Errorf("tokenguard: %w", err)
	}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return file, size, nil
}

// progress counts what is read and draws a bar, on a terminal alone.
type progress struct {
	in         io.Reader
	size, read int64
	terminal   bool
	next       time.Time
}

func newProgress(in io.Reader, size int64) *progress {
	return &progress{in: in, size: size, terminal: term.IsTerminal(int(os.Stderr.Fd())), next: time.Now().Add(time.Second / 2)}
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.in.Read(b)
	p.read += int64(n)
	return n, err
}

func (p *progress) show(calls int) {
	if !p.terminal || time.Now().Before(p.next) {
		return
	}
	p.next = time.Now().Add(time.Second / 10)
	if p.size == 0 {
		fmt.Fprintf(os.Stderr, "\r%d calls", calls)
		return
	}
	const width = 40
	done := int(width * p.read / p.size)
	done = min(done, width)
	fmt.Fprintf(os.Stderr, "\r[%s%s] %3d %%  %d calls", strings.Repeat("#", done), strings.Repeat(".", width-done), 100*p.read/p.size, calls)
}

func (p *progress) clear() {
	if p.terminal {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}
