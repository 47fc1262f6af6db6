package classify

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the services that issue and renew tokens answer, in their envelopes.
func TestErrorCodes(t *testing.T) {
	firebase := func(message string) string {
		return `{"error":{"code":400,"message":"` + message + `","errors":[{"message":"` + message + `","domain":"global","reason":"invalid"}]}}`
	}
	gotrue := func(code, msg string) string { return `{"code":400,"error_code":"` + code + `","msg":"` + msg + `"}` }
	cognito := func(typ, message string) string { return `{"__type":"` + typ + `","message":"` + message + `"}` }
	oauth := func(code, description string) string {
		return `{"error":"` + code + `","error_description":"` + description + `"}`
	}
	for _, c := range []struct {
		status int
		text   string
		want   string
	}{
		{200, `{"errors":[{"message":"Field \"token\" argument \"invalid\" is required","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`, ClientError},
		{400, `{"errors":[{"message":"Variable $token is invalid","extensions":{"code":"BAD_USER_INPUT"}}]}`, ClientError},
		{200, `{"errors":[{"message":"Variable $code: token expired","extensions":{"code":"UNAUTHENTICATED"}}]}`, AuthInvalid},
		{429, `{"errors":[{"message":"Too many requests","extensions":{"code":"BAD_USER_INPUT"}}]}`, RateLimited},
		{401, `{"errors":[{"message":"Token expired","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`, AuthInvalid},
		{200, `{"errors":[{"message":"You have used up your monthly quota","extensions":{"code":"BAD_USER_INPUT"}}]}`, QuotaExhausted},
		{200, `{"errors":[{"message":"x","extensions":{"code":"BAD_USER_INPUT"}},{"message":"Not logged in","extensions":{"code":"UNAUTHENTICATED"}}]}`, AuthInvalid},
		{200, `{"errors":[{"extensions":{"code":"PERSISTED_QUERY_NOT_FOUND"}},{"message":"Slow down","extensions":{"code":"RATE_LIMITED"}}]}`, RateLimited},
		{400, firebase("TOO_MANY_ATTEMPTS_TRY_LATER"), RateLimited},
		{400, firebase("TOO_MANY_ATTEMPTS_TRY_LATER : Access to this account has been temporarily disabled due to many failed login attempts."), RateLimited},
		{400, firebase("USER_DISABLED"), Forbidden},
		{400, firebase("TOKEN_EXPIRED"), AuthInvalid},
		{400, firebase("USER_NOT_FOUND"), AuthInvalid},
		{400, firebase("INVALID_REFRESH_TOKEN"), AuthInvalid},
		{400, firebase("MISSING_REFRESH_TOKEN"), AuthInvalid},
		{400, firebase("INVALID_GRANT_TYPE"), ClientError},
		{400, firebase("ADMIN_ONLY_OPERATION"), Forbidden},
		{400, firebase("OPERATION_NOT_ALLOWED"), Forbidden},
		{400, firebase("CREDENTIAL_TOO_OLD_LOGIN_AGAIN"), AuthInvalid},
		{400, firebase("EMAIL_EXISTS"), ClientError},
		{429, gotrue("over_request_rate_limit", "Request rate limit reached"), RateLimited},
		{429, gotrue("over_email_send_rate_limit", "email rate limit exceeded"), RateLimited},
		{400, gotrue("refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found"), AuthInvalid},
		{400, gotrue("refresh_token_already_used", "Invalid Refresh Token: Already Used"), AuthInvalid},
		{403, gotrue("session_not_found", "Session from session_id claim in JWT does not exist"), AuthInvalid},
		{403, gotrue("bad_jwt", "invalid JWT: unable to parse or verify signature"), AuthInvalid},
		{403, gotrue("user_banned", "User is banned"), Forbidden},
		{422, gotrue("anonymous_provider_disabled", "Anonymous sign-ins are disabled"), Forbidden},
		{400, gotrue("captcha_failed", "captcha protection: request disallowed"), Forbidden},
		{400, gotrue("validation_failed", "Unable to validate email address: invalid format"), ClientError},
		{504, gotrue("request_timeout", "Processing this request timed out"), Transient},
		{400, cognito("NotAuthorizedException", "Refresh Token has been revoked"), AuthInvalid},
		{400, cognito("NotAuthorizedException", "Invalid Refresh Token"), AuthInvalid},
		{400, cognito("NotAuthorizedException", "Access Token has expired"), AuthInvalid},
		{400, cognito("NotAuthorizedException", "User is disabled."), Forbidden},
		{400, cognito("TooManyRequestsException", "Rate exceeded"), RateLimited},
		{400, cognito("LimitExceededException", "Attempt limit exceeded, please try after some time."), RateLimited},
		{400, cognito("UserNotFoundException", "User does not exist."), AuthInvalid},
		{400, cognito("InvalidParameterException", "Missing required parameter REFRESH_TOKEN"), ClientError},
		{500, cognito("InternalErrorException", "Something went wrong"), Transient},
		{400, oauth("invalid_grant", "Token has been expired or revoked."), AuthInvalid},
		{400, oauth("invalid_grant", "Bad Request"), AuthInvalid},
		{400, oauth("invalid_grant", "The redirect_uri does not match"), ClientError},
		{400, oauth("invalid_grant", "Missing parameter: code_verifier"), ClientError},
		{401, oauth("invalid_client", "Client authentication failed"), AuthInvalid},
		{400, oauth("unauthorized_client", "Not allowed to use this grant"), Forbidden},
		{400, oauth("unsupported_grant_type", ""), ClientError},
		{400, oauth("invalid_scope", "unknown scope"), ClientError},
		{400, oauth("invalid_request", "Missing parameter: refresh_token"), ClientError},
		{500, oauth("invalid_grant", "Internal error"), Transient},
		{503, oauth("invalid_token", "The token is invalid"), Transient},
		{502, oauth("invalid_client", ""), Transient},
		{503, oauth("temporarily_unavailable", ""), Transient},
	} {
		require.Equal(t, c.want, Classify(Input{StatusCode: c.status, Text: c.text}), "%d %s", c.status, c.text)
	}
}

// An application's own key is told apart from the token, which a renewal needs:
// no new account answers a wrong client secret.
func TestOwnKeyIsToldApart(t *testing.T) {
	for text, whose := range map[string]string{
		`{"error":"invalid_client","error_description":"Client authentication failed"}`:      WhoseApp,
		`{"error":{"code":400,"message":"API key not valid. Please pass a valid API key."}}`: WhoseApp,
		`{"error":"invalid_grant","error_description":"refresh token revoked"}`:              WhoseCredential,
		`{"error":{"message":"TOKEN_EXPIRED"}}`:                                              WhoseCredential,
	} {
		c := Judge(Input{StatusCode: 400, Text: text})
		require.Equal(t, AuthInvalid, c.Class, text)
		require.Equal(t, whose, c.Whose, text)
	}
}

func TestCodesHaveOneClass(t *testing.T) {
	seen := map[string]string{}
	for _, row := range codeTable {
		for code := range strings.SplitSeq(row.codes, "|") {
			require.Equal(t, "", seen[code], "%s stands twice", code)
			seen[code] = row.class
			require.NotNil(t, findCode(fmt.Sprintf(`{"x":"%s"}`, code)), "%s can never be found", code)
			require.NotNil(t, findCode(fmt.Sprintf(`{"x":"%s : more"}`, code)), code)
			require.Nil(t, findCode(fmt.Sprintf(`{"x":"my_%s"}`, code)), code)
		}
	}
}

// Where nothing was sent nothing is said of the token: such a text never closes
// a key, permits a token, or counts as a ban.
func TestNothingWasSent(t *testing.T) {
	for _, text := range []string{
		"dial tcp 192.0.2.1:443: connect: connection refused",
		`Get "https://api.example.com/token": dial tcp: lookup api.example.com: no such host`,
		`Post "https://auth.example.com": tls: failed to verify certificate: x509: certificate has expired or is not yet valid`,
		"remote error: tls: bad certificate",
		"x509: certificate signed by unknown authority",
		"proxyconnect tcp: dial tcp 192.0.2.7:3128: i/o timeout",
		"socks connect tcp 127.0.0.1:1080->api.example.com:443: username/password authentication failed",
		"Proxy Authentication Required",
		`net/http: invalid header field value for "Authorization"`,
		`Get "https://api.example.com": net/http: invalid header field name "X Token"`,
		`exec: "get-token": executable file not found in $PATH`,
		"fork/exec /usr/local/bin/get-token: permission denied",
		"fetch token: fork/exec ./token: exec format error",
		"read token: permission denied",
		"open /etc/app/token: permission denied",
		"load credentials: open secret.json: no such file or directory",
		"cat: locked/file: No such file or directory",
		"sh: 1: cannot open /run/forbidden/token: No such file or directory\n",
		"tee: quota.log: No space left on device",
		"cat: unrecognized option '--tokens'\nTry 'cat --help' for more information.",
		"grep: invalid option -- 'y'",
		"segmentation fault",
		"Segmentation fault (core dumped)",
		"Killed",
		"Aborted (core dumped)",
		"Bus error",
		"Illegal instruction",
		"Floating point exception",
		"Terminated",
		"fetch token: signal: terminated",
		"fetch token: invalid character '<' looking for beginning of value",
		"decode token: unexpected end of JSON input",
		"fetch token: json: cannot unmarshal string into Go struct field tokenResponse.expires_in of type int",
		"SyntaxError: Unexpected token < in JSON at position 0",
		"invalid session: JSON.parse: unexpected character at line 1 column 1 of the JSON data",
		"context deadline exceeded",
		"unexpected EOF",
	} {
		require.Contains(t, []string{Transient, Unknown}, Classify(Input{Text: text}), text)
	}
	for _, text := range []string{"", "Proxy Authentication Required", "<h1>Access denied</h1>", "invalid credentials"} {
		require.Equal(t, Transient, Classify(Input{StatusCode: 407, Text: text}), text)
	}
	require.Equal(t, ClientError, Classify(Input{Text: "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (9000000 vs. 4194304)"}))
	require.Equal(t, Forbidden, Classify(Input{Text: "Your account was terminated"}), "an upstream's word")
	require.Equal(t, Forbidden, Classify(Input{Text: "rpc error: code = PermissionDenied desc = permission denied"}), "an upstream's words")
}
