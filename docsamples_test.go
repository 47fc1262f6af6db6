package tokenguard_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// The error at the top of the FAQ is, to the letter, the one that a caller gets.
func TestErrorOfTheFAQ(t *testing.T) {
	page, err := os.ReadFile("docs/cookbook/faq.md")
	require.NoError(t, err)
	clock := tokenguardtest.NewClock(time.Time{})
	issued := 0
	guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		issued++
		return tokenguard.NewTokenIn(fmt.Sprint("token ", issued), 10*time.Minute), nil
	}, tokenguard.WithClock(clock))
	require.NoError(t, err)
	defer guard.Close()
	for err == nil {
		_, err = guard.Token(t.Context())
		clock.Advance(15 * time.Minute)
	}
	assert.True(t, strings.Contains(string(page), "\n    "+err.Error()+"\n"), "docs/cookbook/faq.md does not show %v", err)
}
