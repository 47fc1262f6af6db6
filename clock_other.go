//go:build !linux

package tokenguard

func bootID() string { return "" }

func bootTime() int64 { return 0 }
