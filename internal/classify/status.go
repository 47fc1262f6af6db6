package classify

import (
	"strings"
	"time"
)

type Input struct {
	StatusCode int
	Header     map[string][]string
	Text       string
}

func Classify(in Input) string {
	t := strings.ToLower(in.Text)
	switch {
	case strings.Contains(t, "quota"), strings.Contains(t, "配额"):
		return "quota_exhausted"
	case in.StatusCode == 429:
		return "rate_limited"
	case in.StatusCode == 401:
		return "auth_invalid"
	case in.StatusCode == 403:
		return "forbidden"
	case in.StatusCode >= 500:
		return "transient"
	}
	return "unknown"
}

type Hints struct {
	RetryAfter       time.Duration
	HasRetryAfter    bool
	ResetAt          time.Time
	Remaining, Limit int64
}

func ReadHints(in Input, now time.Time) Hints { return Hints{} }
