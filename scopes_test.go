package tokenguard

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Names that differ in one place only, at the front, in the middle and at the end, as those of registries do.
func TestScopesFindEachOther(t *testing.T) {
	for _, n := range []int{0, 1, 2, 5, 100, 5000} {
		s := newScopes(n)
		var entries []*entry
		for i := range n {
			e := &entry{scope: strings.Replace("repository:library/image:pull", []string{"repo", "image", "pull"}[i%3], fmt.Sprint(i), 1)}
			s.add(e)
			entries = append(entries, e)
		}
		require.GreaterOrEqual(t, len(s.slots), 4*n, "at most a quarter full")
		for _, e := range entries {
			require.Same(t, e, s.find(e.scope))
			require.Nil(t, s.find(e.scope+" "))
		}
		require.Nil(t, s.find(""))
	}
}
