package tokenguard_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenguard/tokenguard"
)

// In a testing/synctest bubble a guard needs no clock of its own: time passes when all goroutines sleep.
func TestInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			asked++
			time.Sleep(2 * time.Second) // the upstream takes its time
			if asked == 1 {
				return tokenguard.Token{}, errors.New("503 service unavailable")
			}
			return tokenguard.NewTokenIn("a secret", time.Hour), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		defer guard.Close()

		start := time.Now()
		if _, err := guard.Token(t.Context()); err == nil {
			t.Fatal("the first acquisition fails")
		}
		grant, err := guard.Wait(t.Context(), tokenguard.Request{})
		if err != nil || grant.Token.Value() != "a secret" {
			t.Fatal(grant, err)
		}
		if waited := time.Since(start); waited != 2*time.Second+10*time.Minute+2*time.Second {
			t.Fatalf("a failure of 2 s, a backoff of 10 min, a success of 2 s: waited %v", waited)
		}
	})
}
