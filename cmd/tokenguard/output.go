package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/classify"
)

// unusable is output that is no token. What it is instead goes to the guard, which reads from it what the upstream
// meant, and not from our words; where it tells nothing, that it is unknown.
func (f *fetch) unusable(why, instead string) error {
	e := &commandError{name: f.command[0], err: errors.New(why)}
	if j := judge(answered{Text: instead}); j.Class == classify.Unknown || j.Confidence < sure {
		e.class, instead = tokenguard.ClassUnknown, ""
	}
	return tokenguard.Failed(tokenguard.Failure{Message: instead, Err: e})
}

// token reads the output of the command that began then. Its errors never show it.
func (f *fetch) token(out []byte, began time.Time) (tokenguard.Token, error) {
	text := strings.TrimSpace(strings.TrimPrefix(string(out), "\ufeff")) // which some shells put in front
	if f.json {
		return f.response(text, began)
	}
	if why, instead := noToken(text); why != "" {
		return tokenguard.Token{}, f.unusable(why, instead)
	}
	return tokenguard.NewTokenIn(text, max(f.lifetime, 0)), nil
}

// noToken says why a text is no token, and what it says instead.
func noToken(text string) (why, instead string) {
	switch {
	case text == "":
		return "it printed nothing: want the token on standard output", ""
	case strings.HasPrefix(text, "<"):
		return "it printed a page, not a token (curl hides error pages with --fail)", text
	case text[0] == '{' || text[0] == '[':
		if fields := telling(text); fields != "" {
			return "it printed an error in JSON, not a token (curl hides error answers with --fail)", fields
		}
		return "it printed JSON, not a token: --json reads access_token and expires_in from it", ""
	case text == "null" || text == "undefined" || text == "None" || text == "nil":
		return "it printed " + text + ": the answer had no token where the command looked for it", ""
	case text[0] == '"' || text[0] == '\'':
		return "it printed a text in quotes: want the token alone (jq prints it so with -r)", ""
	case strings.HasPrefix(text, "Bearer ") && !strings.ContainsAny(text[len("Bearer "):], " \r\n"):
		return "it printed a header's value: want the token alone, without Bearer", ""
	case strings.ContainsAny(text, "\r\n"):
		return "it printed more than one line: want the token alone, or --json", text
	case strings.ContainsFunc(text, unicode.IsSpace):
		return "it printed a sentence, not a token", text
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return "it printed what is no text", ""
	case strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII }):
		return "it printed characters that no header can carry, not a token", text
	case isAnswer(text):
		return "it printed one word that is an answer, not a token", text
	}
	return "", ""
}

// oneWord are answers of one word that tell nothing of an upstream.
var oneWord = regexp.MustCompile(`(?i)^(error|fail(ed|ure)?|false|true|ok|none|nil|null|nan|n/a|unknown|[1-5][0-9]{2})$`)

// isAnswer reports whether a text without blanks is a refusal: a word, a status, or words joined as error codes are. Random
// letters are as good as never such words.
func isAnswer(text string) bool {
	if oneWord.MatchString(text) {
		return true
	}
	if len(text) > 32 || strings.Trim(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz_-.!") != "" {
		return false
	}
	switch j := judge(answered{Text: text}); j.Class {
	case classify.AuthInvalid, classify.Forbidden, classify.RateLimited, classify.QuotaExhausted: // others are read from too little
		return j.Confidence >= sure
	}
	return false
}

// response reads a token response of OAuth 2, or of a registry's token server, which says token for access_token.
func (f *fetch) response(text string, began time.Time) (token tokenguard.Token, err error) {
	var answer struct {
		AccessToken string          `json:"access_token"`
		Token       string          `json:"token"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
		Error       any             `json:"error"`

		RefreshToken string               `json:"refresh_token"`
		RefreshEnds  tokenguard.ExpiresIn `json:"refresh_token_expires_in"`
	}
	if text == "" {
		return token, f.unusable("it printed nothing: want a JSON object with access_token on standard output", "")
	}
	if json.Unmarshal([]byte(text), &answer) != nil || text[0] != '{' {
		if instead := telling(text); instead != "" {
			text = instead
		} else if text[0] == '{' || text[0] == '[' {
			text = "" // whatever it holds
		}
		return token, f.unusable("its output is no JSON object with access_token and expires_in", text)
	}
	value := answer.AccessToken
	if value == "" {
		value = answer.Token
	}
	if value == "" && answer.RefreshToken != "" && f.renews {
		return tokenguard.NewToken("", time.Time{}).WithRefreshToken(answer.RefreshToken, ending(answer.RefreshEnds, began)), nil
	}
	if value == "" {
		why := "its output has no access_token"
		if s, ok := answer.Error.(string); ok {
			why += "; error: " + oneLine(s[:min(len(s), 100)])
		}
		return token, f.unusable(why, telling(text))
	}
	if why, _ := noToken(value); why != "" {
		return token, f.unusable("the access_token in its output is none", "")
	}
	lifetime := max(f.lifetime, 0)
	if answer.ExpiresIn != nil {
		var stated tokenguard.ExpiresIn
		if json.Unmarshal(answer.ExpiresIn, &stated) != nil || stated != 0 && time.Duration(stated) < time.Second {
			return token, f.unusable("the expires_in in its output is no number of seconds, 1 or more", "")
		}
		lifetime = cmp.Or(time.Duration(stated), lifetime) // 0: not stated
	}
	token = tokenguard.NewTokenIn(value, lifetime)
	if answer.RefreshToken != "" {
		token = token.WithRefreshToken(answer.RefreshToken, ending(answer.RefreshEnds, began))
	}
	return token, nil
}

// ending is the end of what lasts so long from when it was asked for, by the wall clock as it is now; zero: not stated.
func ending(in tokenguard.ExpiresIn, began time.Time) time.Time {
	if in <= 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(in) - time.Since(began))
}

// tellingFields are those of a JSON answer that say what went wrong, and never hold a token.
var tellingFields = []string{"error", "error_description", "errors", "message", "msg", "detail", "title", "code", "status", "reason", "type",
	"retry_after", "retryAfter", "retry_after_ms", "reset_at"}

// telling is what a JSON object says of an error; "": it is none.
func telling(text string) string {
	var object map[string]any
	if json.Unmarshal([]byte(text), &object) != nil {
		return ""
	}
	said := map[string]any{}
	failed := false
	for _, name := range tellingFields {
		if v, ok := object[name]; ok && v != nil {
			said[name] = pruned(v)
			failed = failed || name != "type" && name != "title" && name != "code" && name != "status"
		}
	}
	if code, ok := object["status"].(float64); ok && code >= 400 && code < 600 {
		failed = true
	}
	if !failed {
		return ""
	}
	data, _ := json.Marshal(said)
	return string(data)
}

// pruned keeps of an object in an error only what tells, too.
func pruned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, name := range tellingFields {
			if inner, ok := v[name]; ok {
				out[name] = pruned(inner)
			}
		}
		return out
	case []any:
		for i := range v {
			v[i] = pruned(v[i])
		}
	}
	return v
}
