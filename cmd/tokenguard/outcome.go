package main

import (
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard"
)

// outcomes are the ways in which a call made with a token may end.
var outcomes = []string{"ok", "quota", "auth", "status="}

// outcome reads how a call ended; where names the flag or the command that said so.
func outcome(where, said, message string) (f tokenguard.Failure, err error) {
	number, isStatus := strings.CutPrefix(said, "status=")
	switch {
	case said == "ok":
		return f, nil
	case said == "quota":
		f = tokenguard.Failure{StatusCode: 429, Message: "No remaining quota"}
	case said == "auth":
		f = tokenguard.Failure{StatusCode: 401, Message: "invalid token"}
	case isStatus:
		if f.StatusCode, err = strconv.Atoi(number); err != nil || f.StatusCode < 100 || f.StatusCode > 599 {
			return f, usage("%s %s: want an HTTP status from 100 to 599", where, said)
		}
		if f.StatusCode < 400 && message == "" {
			return tokenguard.Failure{}, nil
		}
	default:
		return f, usage("%s %q: want ok, quota, auth or status=N", where, said)
	}
	if message != "" {
		f.Message = strings.TrimSpace(f.Message + " " + message)
	}
	return f, nil
}

// tokenOf is the ID of a token that a flag names. - is the token on the first line of standard input, which other users
// of the machine do not see.
func tokenOf(cmd *cobra.Command, flag, said string) (string, error) {
	if said != "-" {
		if said != "" && !isTokenID(said) {
			return tokenguard.TokenID(said), nil
		}
		return said, nil
	}
	line, err := firstLine(cmd.InOrStdin())
	if err != nil {
		return "", err
	}
	if line == "" {
		return "", usage("%s -: there is no token on standard input", flag)
	}
	return tokenguard.TokenID(line), nil
}

// firstLine reads one line and not a byte more: what follows may be meant for a command.
func firstLine(in io.Reader) (string, error) {
	const most = 64 << 10
	var line []byte
	for b := make([]byte, 1); len(line) <= most; {
		n, err := in.Read(b)
		if n == 1 && b[0] == '\n' || err == io.EOF {
			return strings.TrimSpace(string(line)), nil
		}
		if err != nil {
			return "", err
		}
		line = append(line, b[:n]...)
	}
	return "", usage("the token on standard input has more than %d bytes", most)
}

// isTokenID reports whether s is an ID as the library makes them.
func isTokenID(s string) bool {
	digits, ok := strings.CutPrefix(s, "tk_")
	return ok && len(digits) == 16 && strings.Trim(digits, "0123456789abcdef") == ""
}
