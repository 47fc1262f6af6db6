//go:build !linux

package bootclock

import "time"

const procRoot = ""

func base(string) string { return "" }

func now() time.Duration { return 0 }
