// Package tokenguard controls the acquisition of anonymous and other metered tokens.
package tokenguard
