package main

import (
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOwnMistake(t *testing.T) {
	for _, tc := range []struct {
		name string
		code int
		said string
		own  bool
	}{
		{"sh", 127, "sh: 403: not found", true},
		{"sh", 126, "unauthorized: invalid client secret", true},
		{"curl", 2, "curl: option --403: is unknown", true},
		{"/usr/bin/curl", 22, "curl: (22) The requested URL returned error: 403", false},
		{"fetch", 2, "unauthorized: invalid client secret", false},
		{"fetch", 1, "Your account has been suspended", false},
		{"fetch", 1, "404 page not found", false},
		{"cat", 1, "cat: key.pem: Permission denied", true},
		{"fetch", 2, "fetch: error: unrecognized arguments: --x", true},
		// These read as never sent, which closes nothing.
		{"fetch", 1, "open key.pem: permission denied", false},
		{"fetch", 1, "config.json: No such file or directory", false},
		{"fetch", 1, "403: permission denied", false},
		{"ssh", 255, "host: Permission denied (publickey).", false},
		{"fetch", 1, "503 unavailable", false},
	} {
		err := exec.Command("sh", "-c", "exit "+strconv.Itoa(tc.code)).Run()
		require.Error(t, err)
		assert.Equal(t, tc.own, ownMistake(tc.name, err, tc.said), "%+v", tc)
	}
}
