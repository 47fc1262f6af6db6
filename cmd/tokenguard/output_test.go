package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/tokenguard/tokenguard"
)

// A refresh token that is stated for a time lasts that long from when the command was started.
func TestEndingCountsFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		time.Sleep(25 * time.Second)
		assert.Equal(t, 35*time.Second, time.Until(ending(tokenguard.ExpiresIn(time.Minute), began)))
		assert.True(t, ending(0, began).IsZero())
	})
}
