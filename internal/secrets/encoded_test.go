package secrets

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// nextRun looks at few of the bytes; what it finds is what one that looks at all of them does.
func TestRunsAreThoseOfAReaderOfEachByte(t *testing.T) {
	plain := func(text []byte, i int) (from, to int) {
		for from = i; from < len(text); from = to + 1 {
			line := from
			for to = from; to < len(text); to++ {
				if sextets[text[to]] != noSextet {
					continue
				}
				next := lineEnd(text, to)
				if to-line < wrapped || next == to || next == len(text) || sextets[text[next]] == noSextet {
					break
				}
				to, line = next-1, next
			}
			if to-from >= leastBase64 {
				return from, to
			}
		}
		return len(text), len(text)
	}
	r := rand.New(rand.NewPCG(1, 2))
	runs, broken := 0, 0
	for range 20_000 {
		var text []byte
		for range r.IntN(8) {
			for range []int{r.IntN(4), 8 + r.IntN(6), wrapped - 2 + r.IntN(4)}[r.IntN(3)] {
				text = append(text, "aB3+/_"[r.IntN(6)])
			}
			text = append(text, []string{" ", "\n", "\r\n", "\n\n", "\"", "é", ""}[r.IntN(7)]...)
		}
		for i := 0; i < len(text); {
			wantFrom, wantTo := plain(text, i)
			from, to := nextRun(text, i)
			require.Equal(t, fmt.Sprint(wantFrom, wantTo), fmt.Sprint(from, to), "%q from %d", text, i)
			if i = to; from < to {
				runs++
				if to-from > wrapped+4 {
					broken++
				}
			}
		}
	}
	require.Greater(t, runs, 20_000)
	require.Greater(t, broken, 1000, "in lines")
}

// The shortest of what can be found in base64 is found wherever in the word it begins.
func TestTheShortestSecretIsFoundInBase64OfEveryAlignment(t *testing.T) {
	k := keeper(t)
	s := New("guestone")
	k.Register(s)
	for before := range 4 {
		for after := range 4 {
			text := forms["base64"]("...."[:before] + s.Value + "...."[:after])
			require.NotEqual(t, text, k.Hide(text), "%d bytes before, %d after", before, after)
			for skip := range 4 { // what stands before it in the same word is of no encoding
				text := "xyzw"[:skip] + forms["raw URL base64"](s.Value)
				require.NotEqual(t, text, k.Hide(text), "%d characters before", skip)
			}
		}
	}
}
