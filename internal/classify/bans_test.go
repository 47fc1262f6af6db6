package classify

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBans(t *testing.T) {
	for text, want := range map[string]string{
		"Your IP address has been blocked":                   WhoseAddress,
		"Access denied: your IP 203.0.113.9 is banned":       WhoseAddress,
		"您的IP地址已被封禁":                                         WhoseAddress,
		"This IP address is not allowed":                     WhoseAddress,
		"Your account has been suspended":                    WhoseAccount,
		"This user account has been deactivated":             WhoseAccount,
		"账户已被封禁":                                             WhoseAccount,
		"Organization has been disabled":                     WhoseAccount,
		"This device has been banned":                        WhoseDevice,
		"forbidden":                                          "",
		"Access denied":                                      "",
		"Your account does not have access to model gpt-x":   "",
		"User is not authorized to pull repository team/app": "",
		"Anonymous users have no permission for this scope":  "",
		"This feature is not available in your region":       "",
		"Your organization is not allowed to use this model": "",
	} {
		require.Equal(t, want, Bans(Input{StatusCode: 403, Text: text}), text)
	}
}
