package awsguard

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/tokenguard/tokenguard"
)

// fields are the three secrets of a token, as its value holds them. The names are those of the AWS CLI's credential_process.
type fields struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string `json:",omitempty"`
}

// Token makes the token of a RequestFunc from credentials. It needs an access key and a secret; a session token belongs to
// all temporary ones. The expiry is that of the credentials, if they can expire.
func Token(c aws.Credentials) (tokenguard.Token, error) {
	if !c.HasKeys() {
		return tokenguard.Token{}, errors.New("tokenguard: awsguard: credentials without an access key or a secret: want both")
	}
	value, err := json.Marshal(fields{c.AccessKeyID, c.SecretAccessKey, c.SessionToken})
	if err != nil {
		return tokenguard.Token{}, err
	}
	var expiry time.Time
	if c.CanExpire {
		expiry = c.Expires
	}
	return tokenguard.NewToken(string(value), expiry), nil
}

// secrets returns what Token put in. It is the only place that knows how a token holds more than one secret.
func secrets(t tokenguard.Token) (aws.Credentials, error) {
	var f fields
	// The error of a decoder may quote what it reads.
	if json.Unmarshal([]byte(t.Value()), &f) != nil || f.AccessKeyID == "" || f.SecretAccessKey == "" {
		return aws.Credentials{}, errors.New("tokenguard: awsguard: the token " + t.ID() + " does not hold AWS credentials: let RequestFunc return awsguard.Token(...)")
	}
	return aws.Credentials{AccessKeyID: f.AccessKeyID, SecretAccessKey: f.SecretAccessKey, SessionToken: f.SessionToken}, nil
}
