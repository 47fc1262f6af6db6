package tokenguardtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/tokenguard/tokenguard"
)

// RequestFunc returns a RequestFunc that asks the Upstream served at baseURL for a token. It is also a model of what a
// RequestFunc should do: pass the context on, state the lifetime, and return status, headers and text of a refusal.
// A nil client stands for http.DefaultClient.
func RequestFunc(client *http.Client, baseURL string) tokenguard.RequestFunc {
	if client == nil {
		client = http.DefaultClient
	}
	return func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, baseURL+"/token", http.NoBody)
		if err != nil {
			return tokenguard.Token{}, err
		}
		resp, err := client.Do(r)
		if err != nil {
			return tokenguard.Token{}, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		if err != nil {
			return tokenguard.Token{}, err
		}
		if resp.StatusCode != http.StatusOK {
			return tokenguard.Token{}, tokenguard.Failed(tokenguard.Failure{
				StatusCode: resp.StatusCode, Header: resp.Header, Message: string(body),
			})
		}
		var issued struct {
			AccessToken string               `json:"access_token"`
			ExpiresIn   tokenguard.ExpiresIn `json:"expires_in"`
		}
		if err := json.Unmarshal(body, &issued); err != nil {
			return tokenguard.Token{}, fmt.Errorf("tokenguardtest: decode the issued token: %w", err)
		}
		return tokenguard.NewTokenIn(issued.AccessToken, time.Duration(issued.ExpiresIn)), nil
	}
}
