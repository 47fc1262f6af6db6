// Package tokenguardtest helps to test programs that use tokenguard, without a sleep and without a network.
//
//   - [Clock] stands still until the test moves it.
//   - [Script] is a RequestFunc that answers from a list and records its calls.
//   - [Recorder] records a guard's events and prints them as a table when an expectation fails.
//   - [Upstream] is a metered service as an http.Handler: it issues anonymous tokens, counts their use, limits how
//     many it issues, and fails on demand. With Rotation set it signs up accounts whose refresh tokens rotate, expire, are
//     revoked and lost on their way as those of real services are, and lists every presentation. [RequestFunc] and
//     [RenewalFunc] ask it.
//   - [RunScenarios] runs scenario files: what is given, the steps, and what each must answer.
//
// Most tests need a Clock, a Script and a guard:
//
//	clock := tokenguardtest.NewClock(time.Time{})
//	script := tokenguardtest.NewScript(clock, tokenguardtest.Reply{Lifetime: time.Hour})
//	guard, err := tokenguard.New(script.Request, tokenguard.WithClock(clock))
//
// The values that it hands out are not secrets, and it depends on the standard library and tokenguard alone.
package tokenguardtest
