package guardhttp_test

import (
	"context"
	"encoding/json"
	"expvar"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
)

func TestVar(t *testing.T) {
	guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.Token{}, nil
	})
	require.NoError(t, err)
	defer guard.Close()
	var v expvar.Var = guardhttp.Var{Guard: guard}
	var stats tokenguard.Stats
	require.NoError(t, json.Unmarshal([]byte(v.String()), &stats))
	assert.Equal(t, 3, stats.Acquisitions.Hour.Limit)
}
