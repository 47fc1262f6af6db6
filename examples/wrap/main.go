// Wrap puts a guard in front of a fetch function that a program has already.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/tokenguard/tokenguard"
)

// fetchToken is the function that you have.
func fetchToken(ctx context.Context) (value string, expiresIn time.Duration, err error) {
	return "an anonymous token", time.Hour, ctx.Err()
}

func main() {
	guard, err := tokenguard.New(func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
		value, expiresIn, err := fetchToken(ctx)
		return tokenguard.NewTokenIn(value, expiresIn), err
	}, tokenguard.WithStateFile(""), tokenguard.WithName("example-wrap"))
	if err != nil {
		log.Fatal(err)
	}
	defer guard.Close()

	token, err := guard.Token(context.Background())
	if err != nil {
		log.Fatal(err) // says why, and when it makes sense to ask again
	}
	fmt.Println("calling the API with", token) // token.Value() is the secret; printing a Token never shows it
}
