// Renewal shows what a guard that renews its account costs and serves: two weeks of two processes that are restarted every
// ten minutes, against an upstream whose refresh tokens rotate strictly, and what happens when the account is deleted or
// banned, or the endpoint is down. It takes some seconds, on a clock of its own.
//
//	go run ./examples/renewal
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

const (
	between = 30 * time.Second // calls, of the processes in turn
	restart = 10 * time.Minute // of each process
	day     = 24 * time.Hour
)

// story is one run.
type story struct {
	name  string
	days  int
	at    time.Duration // when the upstream changes; 0: never
	does  func(*tokenguardtest.Upstream)
	ends  time.Duration // when that is over; 0: never
	undo  func(*tokenguardtest.Upstream)
	limit tokenguard.RenewalLimits
	plain bool // the second process has no RenewalFunc
}

func down(u *tokenguardtest.Upstream) { u.SetRenewalOutage(true) }
func back(u *tokenguardtest.Upstream) { u.SetRenewalOutage(false) }

var stories = []story{
	{name: "all is well", days: 14},
	{name: "deleted on day 3", days: 14, at: 3 * day, does: func(u *tokenguardtest.Upstream) { u.Delete() }},
	{name: "banned on day 3", days: 14, at: 3 * day, does: func(u *tokenguardtest.Upstream) { u.Ban() }},
	{name: "endpoint down for 6 h", days: 4, at: 3 * day, does: down, ends: 3*day + 6*time.Hour, undo: back},
	{name: "the same, ReplaceAfter 1 h", days: 4, at: 3 * day, does: down, ends: 3*day + 6*time.Hour, undo: back,
		limit: tokenguard.RenewalLimits{ReplaceAfter: time.Hour}},
	{name: "one process without WithRenewal", days: 14, plain: true},
}

// figures are what the upstream and the callers saw.
type figures struct {
	signUps, renewals, twice int
	calls, without           int
	ended                    int           // tokens handed out past their end
	last                     time.Duration // of the calls without a token, after the change was over
	first                    time.Duration // of those, after the change
}

func main() {
	if err := tell(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func tell(w io.Writer) error {
	fmt.Fprintf(w, "Tokens of 1 h, a call each %v, two processes, each restarted every %v, strict rotation.\n\n", between, restart)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "\tdays\tcalls\twithout a token\tsign-ups\trenewals\trefresh tokens presented twice")
	for i := range stories {
		s := &stories[i]
		f, err := s.run()
		if err != nil {
			return err
		}
		without := fmt.Sprint(f.without)
		if f.without > 0 && s.ends > 0 {
			without += fmt.Sprintf(" (the last %v after it was back)", f.last)
		} else if f.without > 0 && s.at > 0 {
			without += fmt.Sprintf(" (from %v after it)", f.first)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%d\t%d\t%d\n", s.name, s.days, f.calls, without, f.signUps, f.renewals, f.twice)
	}
	return t.Flush()
}

// run lives through the story.
func (s *story) run() (f figures, err error) {
	folder, err := os.MkdirTemp("", "renewal")
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	clock := tokenguardtest.NewClock(time.Time{})
	upstream := &tokenguardtest.Upstream{Clock: clock, Rotation: tokenguardtest.RotateStrict}
	client := upstream.Client()

	open := func(i int) (*tokenguard.Guard, error) {
		opts := []tokenguard.Option{tokenguard.WithClock(clock), tokenguard.WithName("guests"),
			tokenguard.WithStateFile(filepath.Join(folder, "guests.state")), tokenguard.WithRenewalLimits(s.limit)}
		if i == 0 || !s.plain {
			opts = append(opts, tokenguard.WithRenewal(tokenguardtest.RenewalFunc(client, "http://upstream.example")))
		}
		return tokenguard.New(tokenguardtest.RequestFunc(client, "http://upstream.example"), opts...)
	}
	var processes [2]*tokenguard.Guard
	for i := range processes {
		if processes[i], err = open(i); err != nil {
			return f, err
		}
	}
	changed, over := s.at == 0, s.ends == 0
	for n, passed := 0, time.Duration(0); passed < time.Duration(s.days)*day; n, passed = n+1, passed+between {
		if !changed && passed >= s.at {
			s.does(upstream)
			changed = true
		}
		if !over && passed >= s.ends {
			s.undo(upstream)
			over = true
		}
		i := n % 2
		if n > 1 && passed%restart < 2*between {
			if err := processes[i].Close(); err != nil {
				return f, err
			}
			if processes[i], err = open(i); err != nil {
				return f, err
			}
		}
		f.calls++
		token, err := processes[i].Token(context.Background())
		switch {
		case err != nil:
			if f.without++; f.without == 1 {
				f.first = passed - s.at
			}
			f.last = passed - s.ends
		case !clock.Now().Before(token.Expiry()):
			f.ended++
		}
		clock.Advance(between)
	}
	f.count(upstream)
	return f, errors.Join(processes[0].Close(), processes[1].Close())
}

// count reads the upstream's log.
func (f *figures) count(upstream *tokenguardtest.Upstream) {
	counts := upstream.Counts()
	f.signUps, f.renewals = counts.Issued, counts.Renewed
	answered := map[string]bool{}
	for _, p := range upstream.Presentations() {
		if p.Result == tokenguardtest.Down {
			continue // nothing became of it: it has to be presented again
		}
		if answered[p.RefreshToken] && p.Result != tokenguardtest.Banned && p.Result != tokenguardtest.Deleted {
			f.twice++
		}
		answered[p.RefreshToken] = true
	}
}
