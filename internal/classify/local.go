package classify

import "strings"

// What a client says of itself, without a word of the upstream: there the
// answer's ideas are not looked for, because "fetch token: invalid character"
// is about neither a token nor anything invalid in it.

// neverSent reports a text of the network, of a proxy, of a command that could
// not be started or of a local file.
func neverSent(f *facts) bool {
	text, ok := ownText(f)
	return ok && (holdsOne(text, []string{
		"dial tcp", "dial udp", "dial unix", "proxyconnect", "socks connect", "socks5", "SOCKS", "Proxy Authentication Required", "tls: ", "x509: ", ": lookup ",
		"net/http: invalid header field", "http: invalid header", "invalid header field value", "invalid header field name", "unsupported protocol scheme",
		"executable file not found", "fork/exec ", "exec: \"", "command not found", "no such host", "network is unreachable", "no route to host",
		"unrecognized option", "unrecognised option", "invalid option -- ", "illegal option -- ", "unknown option: -",
	}) || wrapsErrno(text) || endsInFileError(text))
}

// endsInFileError reports a program's "cat: token.txt: No such file or directory": causes that only a file has, so that no
// upstream means them, whatever words stand in the file's name. A permission is left out, since an upstream denies it too.
func endsInFileError(text string) bool {
	at := strings.LastIndex(text, ": ")
	if at < 0 {
		return false
	}
	switch strings.ToLower(strings.TrimRight(text[at+2:], " .\n")) {
	case "no such file or directory", "is a directory", "not a directory", "too many open files", "no space left on device", "bad file descriptor",
		"read-only file system", "text file busy", "exec format error":
		return true
	}
	return false
}

// endedBySignal reports a text that is no more than the name of the signal that ended a program, as Go and a shell write
// it. What the program had sent by then, nobody knows.
func endedBySignal(f *facts) bool {
	text, ok := ownText(f)
	if !ok {
		return false
	}
	text = strings.TrimSuffix(strings.TrimSpace(text), " (core dumped)")
	if at := strings.LastIndex(text, "signal: "); at >= 0 {
		text = text[at+len("signal: "):]
	}
	switch strings.ToLower(text) {
	case "aborted", "bus error", "floating point exception", "hangup", "illegal instruction", "interrupt", "killed", "segmentation fault", "terminated":
		return true
	}
	return false
}

// unreadable reports a decoder's complaint about an answer: it was no JSON, or
// another one than was expected, and nobody knows what it said.
func unreadable(f *facts) bool {
	text, ok := ownText(f)
	return ok && holdsOne(text, []string{
		"looking for beginning of", "unexpected end of JSON", "cannot unmarshal", "JSON.parse", "in JSON at position", "is not valid JSON", "JSONDecodeError",
		"Expecting value: line", "XML syntax error", "unexpected token <", "Unexpected token", "invalid character '",
	})
}

// ownText is the text if no status and no envelope says that an upstream spoke.
func ownText(f *facts) (string, bool) {
	text := f.in.Text
	if f.in.StatusCode != 0 || len(text) == 0 || len(text) > 1<<10 || strings.IndexByte("{[<", text[0]) >= 0 || strings.Contains(text, "rpc error") {
		return "", false
	}
	return text, true
}

// wrapsErrno reports Go's "verb noun: cause" with a cause of the operating
// system: "read token: permission denied".
func wrapsErrno(text string) bool {
	at := strings.LastIndex(text, ": ")
	if at < 0 {
		return false
	}
	switch strings.TrimRight(text[at+2:], " .\n") {
	case "permission denied", "operation not permitted", "no such file or directory", "is a directory", "file exists", "not a directory", "broken pipe",
		"too many open files", "no space left on device", "bad file descriptor", "read-only file system", "text file busy", "exec format error":
	default:
		return false
	}
	before := text[:at]
	if i := strings.LastIndex(before, ": "); i >= 0 {
		before = before[i+2:]
	}
	verb, _, _ := strings.Cut(before, " ")
	switch verb {
	case "open", "read", "write", "stat", "lstat", "exec", "start", "run", "load", "create", "mkdir", "remove", "rename", "chdir", "connect", "bind", "listen",
		"dial", "socket", "readlink", "fork/exec", "lock", "save", "close", "sync", "pipe":
		return true
	}
	return false
}

func holdsOne(text string, list []string) bool {
	for _, s := range list {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}
