// Package browsertest opens the page of guardui in a real browser. It is a module of its own for what it needs to
// drive one.
package browsertest
