package replay

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/go-logfmt/logfmt"

	"github.com/tokenguard/tokenguard"
)

// logfmtLine reads key=value pairs, as slog's text handler writes them.
func (s *source) logfmtLine(data []byte) (c Call, ok bool, err error) {
	pairs := map[string]string{}
	d := logfmt.NewDecoder(bytes.NewReader(data))
	for d.ScanRecord() {
		for d.ScanKeyval() {
			if v := d.Value(); v != nil {
				pairs[string(d.Key())] = string(v)
			}
		}
	}
	if err := d.Err(); err != nil {
		return c, false, fmt.Errorf("not logfmt: %w", err)
	}
	column := func(name string) string { return pairs[name] }
	if s.columns.named() {
		return s.row(column)
	}
	r := record{Kind: tokenguard.EventKind(pairs["kind"])}
	for name, field := range map[string]*text{"cause": &r.Cause, "caller": &r.Caller, "scope": &r.Scope, "status": &r.Status, "body": &r.Body,
		"class": &r.Class, "failing": &r.Failing, "msg": &r.Msg, "text": &r.Text, "token": &r.Token, "token_id": &r.TokenID} {
		*field = text(pairs[name])
	}
	if r.Msg == "" && r.Kind != "" { // kind is a word of many logs; an event of ours comes as JSON or with msg
		r.Kind = ""
	}
	r.Repeats, _ = strconv.Atoi(pairs["repeats"])
	for name, field := range map[string]*moment{"at": &r.At, "time": &r.Time} {
		if v := pairs[name]; v != "" {
			if field.Time, err = instant(v); err != nil {
				return c, false, err
			}
		}
	}
	return s.known(&r)
}
