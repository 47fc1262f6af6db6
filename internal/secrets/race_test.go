//go:build race

package secrets

const raceDetector = true
