//go:build !linux

package meter

func bootID() string { return "" }

func bootTime() int64 { return 0 }
