package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard/cmd/tokenguard/internal/replay"
)

// shownMistakes is how many wrong lines are told one by one.
const shownMistakes = 10

// read runs the log through the replays.
func (f *replayFlags) read(cmd *cobra.Command, names []string, opts replay.Options, replays []*replay.Replay) (*replay.Report, error) {
	files, bar, err := openLogs(cmd, names)
	if err != nil {
		return nil, err
	}
	defer bar.close()
	told := 0
	warn := func(format string, args ...any) {
		bar.clear()
		fmt.Fprintf(cmd.ErrOrStderr(), "tokenguard: "+format+"\n", args...)
	}
	log, err := replay.Open(files, opts, func(m replay.Mistake) {
		if told++; told <= shownMistakes {
			warn("%s", m)
		}
	})
	if err != nil {
		return nil, err
	}
	err = replay.Run(log.Calls(), replays, bar.show)
	bar.clear()
	if more := told - shownMistakes; more > 0 {
		warn("%d more wrong lines", more)
	}
	if err != nil {
		return nil, err
	}
	report := &replay.Report{Log: strings.Join(names, ", "), Lines: log.Lines(), Skipped: log.Skipped, Wrong: log.Wrong,
		Failures: log.Failures, Unnamed: log.Unnamed, Upstream: f.upstream}
	if log.Wrong > 0 {
		warn("%d of %d lines cannot be read and are left out", log.Wrong, report.Lines)
	}
	if log.Unnamed > 0 {
		report.Reading = log.Reading()
		warn("failures of a quota or a credential that name no token: %d, %s (--map failing=COLUMN names it, failing=current or failing=none says so for all)", log.Unnamed, report.Reading)
	}
	for _, r := range replays {
		report.Results = append(report.Results, &r.Result)
	}
	return report, nil
}
