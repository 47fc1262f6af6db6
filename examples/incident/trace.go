package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// call is one line of the trace: somebody wanted an anonymous token.
type call struct {
	ID      int       `json:"id"`
	At      time.Time `json:"at"`
	Cause   string    `json:"cause"`
	Process string    `json:"process"`
	Restart bool      `json:"restart"` // the process has just started
	Caller  string    `json:"caller"`
	Status  int       `json:"status"` // what the API call ended with; 0: it just needs a token
	Body    string    `json:"body"`
	Failing string    `json:"failing"` // "personal": the account's own token failed
}

// manual calls come from short-lived processes, one each.
func (c call) manual() bool { return c.Cause == "manual" }

// causes in the order of the table.
var causes = []string{"manual", "retry", "restart"}

func readTrace(path string) ([]call, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w (run from the top of the repository, or give -trace)", err)
	}
	defer f.Close()
	var calls []call
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var c call
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, len(calls)+1, err)
		}
		if n := len(calls); n > 0 && c.At.Before(calls[n-1].At) {
			return nil, fmt.Errorf("%s:%d: %v is before the line above", path, n+1, c.At)
		}
		calls = append(calls, c)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(calls) == 0 {
		return nil, fmt.Errorf("%s: no calls", path)
	}
	return calls, nil
}

// clock is the trace's: it shows what the replay sets.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }
