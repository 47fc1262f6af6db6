package classify

import "strings"

// Error codes of the services that issue and renew tokens, and of GraphQL
// servers, where their words alone would be read as something else or as
// nothing: the latter quote names of the query ("token"). Sources: RFC 6749
// section 5.2, RFC 6750 section 3.1 and RFC 8628 section 3.5; Firebase Authentication's REST API;
// Supabase Auth (GoTrue); Amazon Cognito's API reference; Apollo Server's
// built-in error codes.
//
// invalid_client and a wrong API key stay what they are elsewhere, auth_invalid:
// Judge says that they are the application's own, which no new token replaces.
var codeTable = []struct{ of, class, codes string }{
	{"OAuth 2.0", AuthInvalid, "invalid_grant|invalid_token|invalid_client|expired_token"},
	{"OAuth 2.0", Forbidden, "unauthorized_client|access_denied|insufficient_scope"},
	{"OAuth 2.0", ClientError, "invalid_request|unsupported_grant_type|invalid_scope|unsupported_response_type"},
	{"OAuth 2.0", Transient, "temporarily_unavailable|authorization_pending"},
	{"OAuth 2.0", RateLimited, "slow_down"},
	{"Firebase", RateLimited, "TOO_MANY_ATTEMPTS_TRY_LATER|RESET_PASSWORD_EXCEED_LIMIT|QUOTA_EXCEEDED_TRY_LATER"},
	{"Firebase", Forbidden, "USER_DISABLED|OPERATION_NOT_ALLOWED|ADMIN_ONLY_OPERATION|PASSWORD_LOGIN_DISABLED|CAPTCHA_CHECK_FAILED|UNSUPPORTED_FIRST_FACTOR|" +
		"BLOCKING_FUNCTION_ERROR_RESPONSE|UNAUTHORIZED_DOMAIN|REJECTED_CREDENTIAL"},
	{"Firebase", RateLimited, "auth/too-many-requests"},
	{"Firebase", QuotaExhausted, "auth/quota-exceeded"},
	{"Firebase", Forbidden, "auth/user-disabled|auth/operation-not-allowed|auth/admin-restricted-operation|auth/unauthorized-domain|auth/captcha-check-failed|" +
		"auth/app-not-authorized"},
	{"Firebase", AuthInvalid, "auth/user-token-expired|auth/invalid-user-token|auth/id-token-expired|auth/id-token-revoked|auth/session-cookie-expired|" +
		"auth/session-cookie-revoked|auth/requires-recent-login|auth/invalid-credential|auth/wrong-password|auth/user-not-found|auth/invalid-api-key|auth/invalid-id-token"},
	{"Firebase", Transient, "auth/network-request-failed|auth/internal-error|auth/timeout"},
	{"Firebase", ClientError, "auth/argument-error|auth/email-already-in-use|auth/weak-password|auth/invalid-email|auth/invalid-action-code|auth/expired-action-code"},
	{"Firebase", AuthInvalid, "TOKEN_EXPIRED|USER_NOT_FOUND|INVALID_REFRESH_TOKEN|MISSING_REFRESH_TOKEN|INVALID_ID_TOKEN|CREDENTIAL_TOO_OLD_LOGIN_AGAIN|" +
		"EMAIL_NOT_FOUND|INVALID_PASSWORD|INVALID_LOGIN_CREDENTIALS|INVALID_IDP_RESPONSE|INVALID_CUSTOM_TOKEN|CREDENTIAL_MISMATCH|FEDERATED_USER_ID_ALREADY_LINKED"},
	{"Firebase", ClientError, "INVALID_GRANT_TYPE|EMAIL_EXISTS|WEAK_PASSWORD|INVALID_EMAIL|MISSING_PASSWORD|MISSING_EMAIL|PROJECT_NOT_FOUND|CONFIGURATION_NOT_FOUND|" +
		"TENANT_NOT_FOUND|INVALID_TENANT_ID|MISSING_CONTINUE_URI|INVALID_OOB_CODE|EXPIRED_OOB_CODE|TENANT_ID_MISMATCH|DUPLICATE_LOCAL_ID"},
	{"GoTrue", RateLimited, "over_request_rate_limit|over_email_send_rate_limit|over_sms_send_rate_limit"},
	{"GoTrue", Forbidden, "user_banned|anonymous_provider_disabled|signup_disabled|provider_disabled|email_provider_disabled|phone_provider_disabled|" +
		"oauth_provider_not_supported|captcha_failed|not_admin|insufficient_aal|email_not_confirmed|phone_not_confirmed|email_address_not_authorized|" +
		"provider_email_needs_verification|mfa_phone_enroll_not_enabled|mfa_totp_enroll_not_enabled|manual_linking_disabled|user_sso_managed"},
	{"GoTrue", AuthInvalid, "bad_jwt|no_authorization|session_not_found|session_expired|refresh_token_not_found|refresh_token_already_used|invalid_credentials|" +
		"reauthentication_needed|reauthentication_not_valid|user_not_found"},
	{"GoTrue", ClientError, "validation_failed|bad_json|user_already_exists|email_exists|phone_exists|weak_password|same_password|otp_expired|otp_disabled|" +
		"flow_state_expired|flow_state_not_found|bad_code_verifier|email_address_invalid|identity_not_found|identity_already_exists|mfa_factor_not_found"},
	{"GoTrue", Transient, "request_timeout|hook_timeout|hook_timeout_after_retry|unexpected_failure"},
	{"Cognito", RateLimited, "TooManyRequestsException|LimitExceededException|TooManyFailedAttemptsException"},
	{"Cognito", AuthInvalid, "UserNotFoundException|RefreshTokenReuseException"},
	{"Cognito", Forbidden, "UserNotConfirmedException|PasswordResetRequiredException|ForbiddenException"},
	{"Cognito", ClientError, "InvalidParameterException|InvalidPasswordException|UsernameExistsException|CodeMismatchException|ExpiredCodeException"},
	{"GraphQL", ClientError, "GRAPHQL_PARSE_FAILED|GRAPHQL_VALIDATION_FAILED|BAD_USER_INPUT|OPERATION_RESOLUTION_FAILURE|PERSISTED_QUERY_NOT_FOUND|PERSISTED_QUERY_NOT_SUPPORTED"},
	{"Cognito", Transient, "InternalErrorException|UnexpectedLambdaException|ExternalServiceException"},
}

var codeRules = func() map[string]*rule {
	m := map[string]*rule{}
	for _, row := range codeTable {
		for code := range strings.SplitSeq(row.codes, "|") {
			m[code] = &rule{class: row.class, code: code + " of " + row.of}
		}
	}
	return m
}()

// The codes are as long as this.
const shortestCode, longestCode = 7, 34

// codeText bounds where a code is looked for.
const codeText = 1 << 10

// findCode returns the rule of the first code in text that stands by itself:
// at its start, or as the start of a text in quotes or brackets. "com.example#Code" counts.
func findCode(text string) *rule {
	text = text[:min(len(text), codeText)]
	if r := codeAt(text); r != nil {
		return r
	}
	opens := placesOf(text, `"(`)
	for i := opens.next(); i < len(text); i = opens.next() {
		if r := codeAt(text[i+1:]); r != nil {
			return r
		}
	}
	return nil
}

// codeBytes are the bytes of codes.
var codeBytes = func() (in [256]bool) {
	for c := range in {
		in[c] = isAlnum(byte(c)) || strings.IndexByte("_./-", byte(c)) >= 0
	}
	return in
}()

// codeAt is the rule of the code that text starts with, nil if it does with
// none.
func codeAt(text string) *rule {
	n := 0
	for n < len(text) && n <= longestCode && codeBytes[text[n]] {
		n++
	}
	switch {
	case n < len(text) && text[n] == '#':
		return codeAt(text[n+1:])
	case n < shortestCode || n > longestCode || n < len(text) && strings.IndexByte("\"':,; \\)", text[n]) < 0:
		return nil
	}
	return codeRules[text[:n]]
}
