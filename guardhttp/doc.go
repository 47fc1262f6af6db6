// Package guardhttp puts a tokenguard.Guard behind an http.Client and in front of HTTP servers.
//
// [Transport] is what most programs want: an http.RoundTripper that takes a token from the guard for each request,
// watches the answer and tells the guard how it ended.
//
//	transport, err := guardhttp.NewTransport(guard, []string{"api.example.com"})
//	if err != nil {
//		return err
//	}
//	client := &http.Client{Transport: transport}
//
// A request for which there is no token fails before anything is sent, with the guard's *tokenguard.RefusedError or
// *tokenguard.RequestError under http.Client's *url.Error, where errors.As finds it. A proxy hands it to
// [WriteError]. [Handler] serves the guard's figures. [FailureFromResponse] and [FailureFromError] are for programs
// that call the guard themselves. docs/transport.md describes the whole.
//
// Everything here is safe for concurrent use. Nothing runs in the background, but what still waits for the body of an
// error, until it comes or the body is closed.
package guardhttp
