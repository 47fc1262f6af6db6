package template

import "testing"

func TestDump(t *testing.T) {
	for _, s := range []string{
		"api_client_attempt_1\nNo remaining quota: No AI requests remaining (request d30d2370)",
		"check_imports.py", "server_status.py", "配额已用尽 (request 6d0dc41b)",
		`{"error":"No remaining quota: No AI requests remaining","request_id":"d4404a93"}`,
		`HTTP 429 (429) Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-05-01-preview have exceeded token rate limit`,
		`HTTP/1.1 429 Too Many Requests`, `{"error":{"code":"1308","message":"已达到 5 小时的使用上限。您的限额将在 2026-08-25 07:41:44 重置。"}}`,
		"每5小时限额 请在３０秒后重试", "limit 5 per 5 minutes, try again in 6m12s or 5 days 22 hours on June 02, 2026 10:11 PM UTC",
		"model gpt-4o-mini overloaded", "dial tcp [fe80::abcd:ef]:443 localhost:8080 foo.example.com:99 de:ad:be:ef:00:01",
		"GET https://u:p@api.warp.dev:443/v1/users/42?x=1&y=2 failed", "can't connect", "worker12 S3 oauth2 deadbeef",
	} {
		t.Logf("%q\n   -> %q", s, Of(s).String())
	}
}
