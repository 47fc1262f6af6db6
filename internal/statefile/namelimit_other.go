//go:build !linux

package statefile

// nameLimit is how many bytes a file's name may have in folder.
func nameLimit(string) int { return maxFile }
