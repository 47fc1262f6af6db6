package awsguard_test

import (
	"context"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentity"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/awsguard"
)

// Guest signs in as a guest of an identity pool.
func Guest(client *cognitoidentity.Client, pool string) tokenguard.RequestFunc {
	return func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
		id, err := client.GetId(ctx, &cognitoidentity.GetIdInput{IdentityPoolId: &pool})
		if err != nil {
			return tokenguard.Token{}, tokenguard.Failed(awsguard.FailureFromError(err))
		}
		out, err := client.GetCredentialsForIdentity(ctx, &cognitoidentity.GetCredentialsForIdentityInput{IdentityId: id.IdentityId})
		if err != nil {
			return tokenguard.Token{}, tokenguard.Failed(awsguard.FailureFromError(err))
		}
		c := out.Credentials
		return awsguard.Token(aws.Credentials{
			AccessKeyID: aws.ToString(c.AccessKeyId), SecretAccessKey: aws.ToString(c.SecretKey), SessionToken: aws.ToString(c.SessionToken),
			CanExpire: c.Expiration != nil, Expires: aws.ToTime(c.Expiration),
		})
	}
}

// WhoAmI calls a service as a guest, and says which credentials a refusal was about.
func WhoAmI(ctx context.Context, guard *tokenguard.Guard, cfg aws.Config) error {
	provider, err := awsguard.New(guard, awsguard.Options{})
	if err != nil {
		return err
	}
	cfg.Credentials = provider
	credentials, err := provider.Retrieve(ctx)
	if err != nil {
		return err
	}
	_, err = sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	_ = guard.Report(ctx, tokenguard.Outcome{TokenID: awsguard.ID(credentials), Failure: awsguard.FailureFromError(err)})
	return err
}

func Example() {
	// No retries of the SDK: each would be one more sign-in of the same start.
	client := cognitoidentity.New(cognitoidentity.Options{Region: "eu-central-1", Retryer: aws.NopRetryer{}})
	guard, err := tokenguard.New(Guest(client, "the pool's ID"), tokenguard.WithStateFile(""), tokenguard.WithName("cognito-guest"))
	if err != nil {
		log.Fatal(err)
	}
	defer guard.Close()
}
