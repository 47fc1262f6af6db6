package classify

import "strings"

// What a client says of itself, without a word of the upstream: there the
// answer's ideas are not looked for, because "fetch token: invalid character"
// is about neither a token nor anything invalid in it.

// Unanswered begins the text of an error that came in place of an answer, where its own words may not be read.
const Unanswered = "net/http: no answer: "

// neverSent reports a text of the network, of a proxy, of a command that could
// not be started or of a local file.
func neverSent(f *facts) bool {
	if f.in.StatusCode == 0 && strings.HasPrefix(f.in.Text, Unanswered) {
		return true
	}
	if f.in.StatusCode == 0 && len(f.in.Text) <= 1<<10 && holdsOne(f.in.Text, uncredentialled) {
		return true
	}
	text, ok := ownText(f)
	return ok && (holdsOne(text, unsent) || holdsOne(text, unsentAlone) && !speaks(text) || wrapsErrno(text) || endsInFileError(text) || deniesFile(text) || isCurls(text) || isReasonPhrase(text))
}

// unsent are what clients say of a request that nobody answered. Sources: Go's
// net, net/http, crypto/tls and os/exec, curl, and the usual clients of Python,
// Node, Java, .NET and Rust.
var unsent = []string{
	"dial tcp", "dial udp", "dial unix", "proxyconnect", "socks connect", "socks5", "SOCKS", "tls: ", "x509: ", ": lookup ",
	"net/http: ", "http: no Host", "http: nil ", "http: invalid header", "http: ContentLength=", "http: server gave HTTP response to HTTPS client", "http2: ",
	"malformed HTTP ", "transport connection broken", "invalid header field value", "invalid header field name", "character in header content",
	"unsupported protocol scheme", "missing protocol scheme", "invalid URL escape", "invalid character \" \" in host name", "response missing Location header",

	"no such host", "No such host is known", "resolve host", "resolve proxy", "getaddrinfo", "ame or service not known", "emporary failure in name resolution",
	"UnknownHostException", "failed to lookup address", "network is unreachable", "no route to host", "actively refused",
	"ECONNREFUSED", "ECONNRESET", "ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT", "EHOSTUNREACH", "EPIPE", "EPROTO",

	"CERTIFICATE_VERIFY_FAILED", "ertificate verify failed", "SSLHandshakeException", "self signed certificate", "self-signed certificate",
	"verify the first certificate", "local issuer certificate", "peer certificate", "remote certificate is invalid", "SSL connection could not be established",
	"certificate's altnames", "'s certificate, issued by",

	"roxy Authentication Required", "roxy authentication required", "ProxyError", "from proxy after CONNECT", "CONNECT tunnel failed", "Proxy CONNECT", "unnel connection failed",
	"unneling socket could not be established", "tunnel through proxy", "tunneling failed", "proxy tunnel request", "unsuccessful tunnel",

	"token expired and refresh token is not set", // x/oauth2, which has asked nobody

	"executable file not found", "fork/exec ", "exec: \"", "command not found", "EACCES", "ENOENT", "EPERM: ", "[Errno ", "(os error ", "Access to the path '",
	"FileNotFoundException", "unrecognized option", "unrecognised option", "invalid option -- ", "illegal option -- ", "unknown option: -",
}

// unsentAlone are what clients say of a request that was not sent, too, but not where the text has words of an upstream's
// beside it.
var unsentAlone = []string{"rate: Wait(n=", "sql: database is closed", "redis: client is closed", "database is locked", "file already closed"}

// uncredentialled is what gRPC says, under a code as an upstream has it, of a call that it did not send because the
// credentials for it could not be had: their words are those of another token.
var uncredentialled = []string{
	"transport: per-RPC creds failed due to error: ", "transport: received per-RPC creds error with illegal status: ",
	"transport: cannot send secure credentials on an insecure connection",
}

// isCurls reports an error of curl, or of what is built on it, that is not the
// server's: "curl: (60) SSL certificate problem".
func isCurls(text string) bool {
	for _, mark := range []string{"curl: (", "cURL error "} {
		_, after, found := strings.Cut(text, mark)
		if !found {
			continue
		}
		n := 0
		for len(after) > 0 && after[0] >= '0' && after[0] <= '9' && n < 1000 {
			n, after = 10*n+int(after[0]-'0'), after[1:]
		}
		switch n {
		case 0, 9, 22, 67, 78, 79, 94: // what the server said: a status, a login, a path
		default:
			return true
		}
	}
	return false
}

// isReasonPhrase reports a proxy's answer to CONNECT, of which net/http keeps
// the reason phrase alone: Get "https://api.example.com/token": Forbidden.
func isReasonPhrase(text string) bool {
	at := strings.Index(text, " \"http")
	if at < 0 {
		return false
	}
	_, phrase, found := strings.Cut(text[at:], "\": ")
	if !found || phrase == "" || len(phrase) > 40 {
		return false
	}
	for i := range len(phrase) {
		if c := phrase[i]; !isAlnum(c) && c != ' ' && c != '-' && c != '\'' {
			return false
		}
	}
	return true
}

// deniesFile reports a shell's or a program's "cat: /run/secrets/token: Permission denied": what an upstream denies too,
// but not of a path on this machine.
func deniesFile(text string) bool {
	before, found := strings.CutSuffix(strings.TrimRight(text, " .\n"), ": Permission denied")
	if !found {
		return false
	}
	name := before[strings.LastIndexByte(before, ' ')+1:]
	return strings.HasPrefix(name, "/") || strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../") || strings.HasPrefix(name, "‘") || strings.HasPrefix(name, "'")
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
	return ok && (holdsOne(text, undecoded) || holdsOne(text, undecodedAlone) && !speaks(text) || len(text) <= 80 && holdsOne(text, []string{
		"in response", "in the response", "from response", "from the response", "esponse has no ", "esponse without ", "esponse contains no ", "mpty response", "token is empty", "mpty token",
	}))
}

// undecoded are what decoders say: Go's, and the usual ones of Python, Node,
// Java, .NET, Rust, Ruby and PHP.
var undecoded = []string{
	"looking for beginning of", "nexpected end of JSON", "cannot unmarshal", "json: ", "jsontext: ", "invalid character '", "XML syntax error",
	"illegal base64 data", "encoding/hex: ", "strconv.", "parsing time \"", "gzip: ", "zlib: ", "flate: ", "proto: ", "proto:\u00a0", "yaml: ", "toml: ", "mime: ", "msgpack",
	"JSON.parse", "in JSON at position", "is not valid JSON", "alformed JSON", "JSONDecodeError", "Expecting value: line", "Expecting property name", "Extra data: line",
	"unexpected token ", "Unexpected token", "JsonParseException", "JsonSyntaxException", "JSONException", "JsonException", "JsonReaderException", "ParserError",
	"is an invalid start of a value", "expected value at line", "missing field `", "invalid type: ", "json_decode", "jq: ", "numeric literal at line",
	"KeyError:", "Cannot read propert", "has no attribute '",
	"gob: ", "parse error on line ", ": wrong number of fields", "bufio.Scanner: ", "bufio: ", "unknown type xml.", "cbor: ", "bson: ", "asn1: ", "no PEM data",
	"protojson: ", "expect { or n, but found", "expects \" or n, but found", "error found in #", "Syntax error at index ", "syntax error near offset ", "Value looks like object, but",
	"JWS format must have", "oauth2: cannot parse ", "uuid: incorrect ",
	"lzw: ", "archive/tar: ", "zip: not a valid", "malformed MIME header", "multipart: ", "net/textproto: ", "net/url: ", "time: invalid duration",
	"time: unknown unit", "time: missing unit", "ersion in ReadMessageBegin",
}

// undecodedAlone are what decoders say, too, but not where the text has words of an upstream's beside it, which may quote one.
var undecodedAlone = []string{
	"xml: ", "base64: ", "number of segments", "server response missing ", "invalid UTF-8", "invalid checksum", "corrupt input", "magic number", "magic value",
	"incorrect UUID", "invalid UUID", "http: request body too large",
}

// speaks reports whether a text has words of an upstream's: a status, a limit, a refusal.
func speaks(text string) bool {
	return NamesStatus(text) || holdsOne(strings.ToLower(text), []string{
		"unauth", "forbidden", "rejected", "invalid token", "quota", "rate limit", "rate_limit", "throttl", "limit exceeded", "too many requests", "banned", "suspended", "revoked", "expired",
	})
}

// NamesStatus reports whether a text holds a number that may be a status of HTTP, from 400 on.
func NamesStatus(text string) bool {
	for i := 0; i+3 <= len(text); i++ {
		if (text[i] == '4' || text[i] == '5') && isDigit(text[i+1]) && isDigit(text[i+2]) && (i == 0 || !isAlnum(text[i-1])) && (i+3 == len(text) || !isAlnum(text[i+3])) {
			return true
		}
	}
	return false
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
	outer, phrase := "", text[:at]
	if i := strings.LastIndex(phrase, ": "); i >= 0 {
		outer, phrase = phrase[:i], phrase[i+2:]
	}
	plain := phrase
	for _, words := range [...]string{"failed to ", "could not ", "cannot ", "can't ", "unable to ", "error "} {
		plain = strings.TrimPrefix(plain, words)
	}
	verb, _, _ := strings.Cut(plain, " ")
	switch verb {
	case "open", "read", "write", "stat", "lstat", "exec", "start", "run", "load", "create", "mkdir", "remove", "rename", "chdir", "connect", "bind", "listen",
		"dial", "socket", "readlink", "fork/exec", "lock", "save", "close", "sync", "pipe":
		return plain == phrase || !speaks(outer)
	case "openat", "readfile", "readdir", "readdirent", "fstat", "statat", "mkdirat", "unlink", "unlinkat", "removeall", "link", "symlink", "chmod", "chown", "lchown",
		"truncate", "ftruncate", "seek", "fsync", "flock", "mmap", "fcntl", "getwd",
		"opening", "reading", "writing", "loading", "saving", "creating", "locking":
		return !speaks(outer) // these are no calls' names, so an upstream may mean something of its own
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
