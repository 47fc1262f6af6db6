// Package predict says how a token and the guard's own budget are likely to
// fare: a published level by fixed rules, and a forecast learned from history.
//
// [Usage] is what is known of one token's calls, [History] what past tokens
// taught. Both are plain values that the caller keeps, in its shared document,
// and hands to the functions here together with the instant. Nothing in this
// package reads a clock, starts a goroutine, takes a lock or keeps a global.
//
// The course of one update: the process collects outcomes in a Usage of its
// own with [Usage.Add]; when it next writes the document it calls
// [History.Learn] with the token's Usage and that batch, which scores the
// forecasts that stood, learns from the outcomes and merges them.
//
// Every instant is in Unix nanoseconds. Whatever the stored JSON holds, decoding
// brings it back within bounds, so that no result is ever NaN or infinite.
//
// An attempt that the guard refused has no outcome. It is unknown, and is given
// to nothing here.
package predict
