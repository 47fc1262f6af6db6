package grpcguard

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tokenguard/tokenguard"
)

// httpStatus is the HTTP status of a gRPC code, as the guard's classifier reads it: google.rpc.Code documents it.
var httpStatus = map[codes.Code]int{
	codes.InvalidArgument: 400, codes.FailedPrecondition: 400, codes.OutOfRange: 400,
	codes.Unauthenticated: 401, codes.PermissionDenied: 403, codes.NotFound: 404,
	codes.Aborted: 409, codes.AlreadyExists: 409, codes.ResourceExhausted: 429, codes.Canceled: 499,
	codes.DataLoss: 500, codes.Unknown: 500, codes.Internal: 500, codes.Unimplemented: 501,
	codes.Unavailable: 503, codes.DeadlineExceeded: 504,
}

// FailureFromError reads a gRPC error, and the trailer that came with it, as a Failure: for Request.Failure and
// Outcome.Failure. It is zero for nil.
//
// RetryInfo in the status details and "grpc-retry-pushback-ms" in the trailer are the stated wait, in the Header as
// Retry-After; the longer one, rounded up to a second. A message that is larger than gRPC's own limit is a client
// error, although its code is ResourceExhausted. A call whose credentials failed, so that nothing was sent, is transient,
// whatever words they failed with, unless it was with a status that gRPC passes on as it is: that reads as a server's.
func FailureFromError(err error, trailer metadata.MD) tokenguard.Failure {
	if err == nil {
		return tokenguard.Failure{}
	}
	s := status.Convert(err)
	if s.Code() == codes.Canceled {
		return tokenguard.Failure{Err: context.Canceled}
	}
	if notSent(s.Message()) {
		return tokenguard.Failure{StatusCode: http.StatusServiceUnavailable, Message: "the credentials of the call could not be had", Err: err}
	}
	f := tokenguard.Failure{StatusCode: httpStatus[s.Code()], Header: trailer, Message: s.Message(), Err: err}
	if s.Code() == codes.ResourceExhausted && isTooLarge(s.Message()) {
		f.StatusCode, f.Message = http.StatusRequestEntityTooLarge, "message too large"
	}
	if wait := statedWait(s, trailer); wait > 0 {
		header := trailer.Copy()
		if header == nil {
			header = metadata.MD{}
		}
		header.Set(retryAfter, strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
		f.Header = header
	}
	return f
}

// notSent reports whether the text is gRPC's own about a call whose credentials failed: nothing was sent, and the words and
// the code are those of whatever gives the credentials.
func notSent(message string) bool {
	return strings.HasPrefix(message, "transport: per-RPC creds failed due to error: ") ||
		strings.HasPrefix(message, "transport: received per-RPC creds error with illegal status: ") ||
		strings.HasPrefix(message, "transport: cannot send secure credentials on an insecure connection")
}

// isTooLarge reports whether the text is gRPC's own about the size of a message, of either side.
func isTooLarge(message string) bool {
	rest := strings.TrimPrefix(message, "grpc: ")
	for _, start := range []string{"received message larger than max", "received message after decompression larger than max",
		"message after decompression larger than max", "trying to send message larger than max"} {
		if strings.HasPrefix(rest, start) {
			return true
		}
	}
	return false
}

const retryAfter = "retry-after" // names of metadata are in lower case

// statedWait is how long the server asks to wait; 0 if it does not say. A negative pushback forbids gRPC's own retries
// and states no wait.
func statedWait(s *status.Status, trailer metadata.MD) (wait time.Duration) {
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok && info.GetRetryDelay().IsValid() {
			wait = max(wait, info.GetRetryDelay().AsDuration())
		}
	}
	const most = 10 * 365 * 24 * time.Hour // beyond which a number is no wait, and would overflow
	for _, value := range trailer.Get("grpc-retry-pushback-ms") {
		if ms, err := strconv.ParseInt(value, 10, 64); err == nil && ms < int64(most/time.Millisecond) {
			wait = max(wait, time.Duration(ms)*time.Millisecond)
		}
	}
	for _, value := range trailer.Get(retryAfter) {
		seconds, err := strconv.ParseInt(value, 10, 64)
		switch {
		case wait == 0 || err != nil || seconds >= int64(most/time.Second):
			return 0 // a date, or the only one: it is read as it is
		default:
			wait = max(wait, time.Duration(seconds)*time.Second)
		}
	}
	return min(wait, most)
}
