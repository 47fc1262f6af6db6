package tokenguard_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// "A failure is remembered, also the first one", also where the user's classifier cannot read it; and it blocks nobody.
func TestAcceptClassifierThatPanics(t *testing.T) {
	var told []tokenguard.Event
	u := newUser(t, tokenguard.WithClassifier(func(tokenguard.Failure) tokenguard.Class { panic("cannot read it") }),
		tokenguard.WithObserver(func(e tokenguard.Event) {
			if e.Kind == tokenguard.EventState {
				told = append(told, e)
			}
		}))
	u.up.next = []tokenguard.RequestFunc{failing(serverDown), nil}
	failed := u.fails(plain)
	assert.Equal(t, tokenguard.ClassUnknown, failed.Class)
	u.refusedUntil(oddStart.Add(600*time.Second), tokenguard.ReasonBackoff, plain)
	token := u.served(acquired, plain).Token
	u.clock.move(time.Minute)
	u.served(cached, with(unauthorized, token)) // unknown says nothing about the token
	require.Len(t, told, 1, "and is not silent")
	assert.Contains(t, told[0].Text, "cannot read it")
}
