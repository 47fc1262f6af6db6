package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/tokenguard/tokenguard"
)

// keyBytes is what an AES-256 key has.
const keyBytes = 32

// readKeys reads the keys of the guards' encryption from a file: other users of the machine see a command line, but not
// a file's content. Its errors show none of it.
func readKeys(name string) (keys [][]byte, err error) {
	if name == "" {
		return nil, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("%w (--key-file)", whole(err))}
	}
	for n, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key := readKey(line)
		if len(key) != keyBytes {
			return nil, usage("--key-file %s, line %d: want a key of %d bytes in base64 or hex, as openssl rand -base64 %[3]d makes one", name, n+1, keyBytes)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, usage("--key-file %s holds no key", name)
	}
	return keys, nil
}

// readKey reads hex, or base64 of either alphabet, padded or not. What is none has no bytes.
func readKey(line string) []byte {
	if key, err := hex.DecodeString(line); err == nil && len(key) == keyBytes {
		return key
	}
	plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(line, "="))
	key, err := base64.RawStdEncoding.DecodeString(plain)
	if err != nil {
		return nil
	}
	return key
}

// opens refuses to fetch a token beside one that is sealed with a key that this command has not: it would be charged for
// every script that lacks the key, and be stored as --key-file says, or in the clear.
func (a *access) opens(ctx context.Context, g *tokenguard.Guard, req tokenguard.Request) error {
	state, err := a.look(ctx)
	if err != nil || state.Problem != "" {
		return nil // Acquire says what is wrong with it
	}
	for _, t := range state.Tokens {
		if t.Stored == "sealed" && a.keyFile == "" {
			return &exitError{exitStore, fmt.Errorf("tokenguard: the tokens in %s are encrypted: give the guards' keys with --key-file; nothing was charged", &a.place)}
		}
	}
	e, err := g.Explain(ctx, req)
	if err != nil {
		return nil
	}
	for _, v := range e.Steps {
		// Who renews and is told that another does cannot open the account's token.
		closed := v.Reason == tokenguard.ReasonUnreadable || v.Reason == tokenguard.ReasonRenewalElsewhere && a.renew != ""
		if t := find(state, v.Evidence.TokenID); closed && t != nil && t.Stored == "sealed" {
			return &exitError{exitStore, fmt.Errorf("tokenguard: no key of --key-file opens token %s in %s; nothing was charged", t.ID, &a.place)}
		}
	}
	return nil
}
