// Package tokenguard controls the acquisition of anonymous and other metered tokens. A Guard stands in front of a
// caller's token-fetch function, acquires almost never, and still hands every caller a usable token whenever one exists.
//
//	guard, err := tokenguard.New(fetch, tokenguard.WithStateFile(""), tokenguard.WithName("my-upstream"))
//	...
//	token, err := guard.Token(ctx)
//
// # A call
//
// Acquire walks seven steps: a filter for duplicates, the token cache, a gate that joins callers to an acquisition in
// progress, the decision whether a new token is needed, the limits on starts with their backoff, a quota predictor, and
// the request. Each gives one Verdict: step, reason, evidence in numbers, and RetryAt, the instant at which this caller
// could next have a token. The same value is in the Grant, the RefusedError, the log record, the Event and in
// Explain.
//
// Callers say what failed with their token (Request.Failure and Failing, or Report), and Classify reads what that means:
// a quota that is used up or a credential that is dead may be answered with another token; a rate limit, a ban, an outage
// or a bad request never is.
//
// # Words
//
// An acquisition is one run of the fetch function; its start is what the limits count. Tokens are kept per key, a Kind
// and a Scope; the limits hold per name, over all keys. A token is suspect once its quota was reported as used up, spent
// once that is confirmed or the upstream says that nothing remains, and rejected once it was reported as invalid. Each of
// these holds for the operation that reported it (Request.Caller, Outcome.Caller): nothing that one operation says takes
// a token from another. A token that has not ended and that is not rejected or spent for an operation is usable for it.
//
// # State
//
// All that must outlive a process is one small document per name: the starts of a day, backoff, tokens, evidence. Each
// decision is a pure function of that document, the options, the request and the instant, so memory (the default), a file
// shared by the processes of a machine (WithStateFile) and any Store of your own give the same answers.
//
// # Limits
//
// By default at most 3 starts in any 60 minutes, 20 in any 24 hours, 300 s apart, over all goroutines and processes that
// share the state, charged before the upstream is asked and never refunded. Config and the With functions change the
// numbers, and no number switches a limit off. Two options loosen the limits for a time, and say so in their names.
package tokenguard
