package classify

import "net/textproto"

// ReadsHeader reports whether a header of this name can change what Classify or ReadHints say. The Date alone cannot: it
// is read beside headers that can.
func ReadsHeader(name string) bool {
	if ordinary[name] || ordinary[textproto.CanonicalMIMEHeaderKey(name)] {
		return false
	}
	return carriesError(name) || containsFold(name, "limit") || containsFold(name, "used-percent") || containsFold(name, "reset") ||
		containsFold(name, "window-minutes") || containsFold(name, "retry-after")
}

// ordinary are headers that nearly every answer has, so that most need no search.
var ordinary = map[string]bool{
	"Access-Control-Allow-Origin": true, "Age": true, "Alt-Svc": true, "Cache-Control": true, "Cf-Cache-Status": true, "Cf-Ray": true,
	"Connection": true, "Content-Encoding": true, "Content-Length": true, "Content-Type": true, "Date": true, "Etag": true, "Expires": true,
	"Keep-Alive": true, "Pragma": true, "Server": true, "Set-Cookie": true, "Strict-Transport-Security": true, "Transfer-Encoding": true,
	"Vary": true, "Via": true, "X-Content-Type-Options": true, "X-Request-Id": true,
}
