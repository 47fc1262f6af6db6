package replay

import (
	"errors"
	"regexp"
	"strings"
)

// accessLine is the common or combined format of web servers, also with the virtual host in front. What follows the
// user agent is left out.
var accessLine = regexp.MustCompile(`^(?:\S+:\d+ )?(\S+) (\S+) (\S+) \[([^\]]+)\] "((?:[^"\\]|\\.)*)" (\d{3}|-) (\S+)(?: "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)")?`)

// accessColumns are the names of its parts for a column map, and method and path, which are parts of request.
var accessColumns = []string{"", "host", "ident", "user", "time", "request", "status", "bytes", "referer", "agent"}

var errNoAccess = errors.New(`not a line of an access log: want HOST IDENT USER [TIME] "REQUEST" STATUS BYTES "REFERER" "AGENT"`)

// access reads a line of an access log. Without a column map the caller is the user, else the host, and the cause the
// method.
func (s *source) access(data []byte) (c Call, ok bool, err error) {
	m := accessLine.FindSubmatch(data)
	if m == nil {
		return c, false, errNoAccess
	}
	column := func(name string) string {
		for i, n := range accessColumns {
			if n == name && i > 0 && string(m[i]) != "-" {
				return string(m[i])
			}
		}
		method, rest, _ := strings.Cut(string(m[5]), " ")
		switch name {
		case "method":
			return method
		case "path":
			target, _, _ := strings.Cut(rest, " ")
			return target
		}
		return ""
	}
	if s.columns.named() {
		return s.row(column)
	}
	at, err := instant(column("time"))
	if err != nil {
		return c, false, err
	}
	return s.call(at, func(field string) string {
		switch field {
		case "cause":
			return column("method")
		case "caller":
			if user := column("user"); user != "" {
				return user
			}
			return column("host")
		case "status":
			return column("status")
		}
		return ""
	})
}
