package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tokenguard/tokenguard/internal/classify"
)

func classifyCommand() *cobra.Command {
	var status int
	var headers []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "classify [--status N] [TEXT... | -]",
		Short: "Say what an upstream's answer means for the token",
		Long: `Classify reads an answer as a guard does: the status, the headers, and the text, given as arguments or on standard
input. An answer with its head, as curl -i prints it, is taken apart. It calls nobody and changes nothing.`,
		Example: `  tokenguard classify --status 429 'No remaining quota: No AI requests remaining'
  curl -si https://api.example/v1/models | tokenguard classify
  tokenguard classify --status 503 --header 'Retry-After: 30' --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			a := answered{StatusCode: status, Text: strings.Join(args, " ")}
			if cmd.Flags().Changed("status") && (status < 100 || status > 599) {
				return usage("--status %d: want an HTTP status from 100 to 599", status)
			}
			for _, h := range headers {
				name, value, ok := strings.Cut(h, ":")
				if !ok || strings.TrimSpace(name) == "" {
					return usage("--header %q: want NAME: VALUE", h)
				}
				if a.Header == nil {
					a.Header = http.Header{}
				}
				http.Header(a.Header).Add(strings.TrimSpace(name), strings.TrimSpace(value))
			}
			if err := takeApart(cmd, args, &a); err != nil {
				return err
			}
			if a.StatusCode == 0 && a.Text == "" && len(a.Header) == 0 {
				return usage("classify needs an answer: --status, --header, a text, or - for standard input")
			}
			j := judge(a)
			if asJSON {
				return writeJSON(cmd, j)
			}
			return j.show(cmd)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&status, "status", 0, "HTTP status")
	flags.StringArrayVar(&headers, "header", nil, "`NAME: VALUE` of the answer; may be repeated")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	completeWords(cmd, "status", "400", "401", "402", "403", "404", "429", "500", "502", "503")
	completeWords(cmd, "header", "Retry-After:", "X-RateLimit-Remaining:", "WWW-Authenticate:")
	return cmd
}

// takeApart takes the text from standard input where that is meant, and an answer with its head apart.
func takeApart(cmd *cobra.Command, args []string, a *answered) error {
	if a.Text == "-" || len(args) == 0 && a.StatusCode == 0 && len(a.Header) == 0 && !fromTerminal(cmd.InOrStdin()) {
		data, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 1<<20))
		if err != nil {
			return err
		}
		a.Text = string(data)
	}
	if !strings.HasPrefix(a.Text, "HTTP/") {
		return nil
	}
	head := bufio.NewReader(strings.NewReader(a.Text))
	first, _ := head.ReadString('\n') // HTTP/2 429, which http.ReadResponse refuses
	var proto string
	var code int
	if n, _ := fmt.Sscanf(first, "%s %d", &proto, &code); n != 2 || code < 100 || code > 599 {
		return nil
	}
	if a.StatusCode == 0 {
		a.StatusCode = code
	}
	fields, err := textproto.NewReader(head).ReadMIMEHeader()
	if err != nil && err != io.EOF {
		return usage("the answer's head cannot be read: %v", err)
	}
	if a.Header == nil {
		a.Header = http.Header{}
	}
	for name, values := range fields {
		a.Header[name] = append(a.Header[name], values...)
	}
	var body bytes.Buffer
	_, _ = body.ReadFrom(head)
	a.Text = strings.TrimSpace(body.String())
	return nil
}

func fromTerminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (j judged) show(cmd *cobra.Command) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", j.Class, j.Meaning)
	fmt.Fprintf(&b, "  %.0f %% of the answers judged like this one are right; rule: %s\n", 100*j.Confidence, oneLine(j.Rule))
	for _, e := range j.Evidence {
		fmt.Fprintf(&b, "  %s: %q in %s\n", e.Idea, e.Words, e.Where)
	}
	if j.Period != "" || j.Whose != classify.WhoseUnknown {
		fmt.Fprintf(&b, "  whose: %s", j.Whose)
		if j.Period != "" {
			fmt.Fprintf(&b, ", per %s", j.Period)
		}
		fmt.Fprintln(&b)
	}
	if j.Wait != nil {
		fmt.Fprintf(&b, "  it asks to wait %v, in %s\n", time.Duration(*j.Wait*float64(time.Second)), j.WaitSource)
	}
	if j.ResetAt != nil {
		fmt.Fprintf(&b, "  its quota is full again at %s\n", j.ResetAt.Format(time.RFC3339))
	}
	if j.Limit > 0 {
		fmt.Fprintf(&b, "  %d of %d remain\n", j.Remaining, j.Limit)
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), b.String())
	return err
}
