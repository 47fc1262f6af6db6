package classify

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The fresh sets are answers of services that are in none of the recorded
// files, written from what is known of their formats and labelled before the
// rules met them. The model learns from the first and has never met the second.
const (
	fresh1 = "testdata/fresh-1.jsonl"
	fresh2 = "testdata/fresh-2.jsonl"
	unread = "testdata/fresh-3.jsonl"
)

// TestFresh prints the score of each set, and what the words of other languages
// than English are worth where no status helps.
func TestFresh(t *testing.T) {
	for _, path := range []string{fresh1, fresh2} {
		var s, bare score
		for _, r := range load(t, path) {
			s.add(r, Classify(r.input()))
			if r.Lang != "en" {
				r.Status = 0
				bare.add(r, Classify(r.input()))
			}
		}
		s.log(t, path, true)
		bare.log(t, path+", without a status", true)
		require.GreaterOrEqual(t, s.accuracy(), 0.92)
		require.GreaterOrEqual(t, bare.accuracy(), 0.92)
		require.LessOrEqual(t, s.permissiveShare(), 0.007)
		require.LessOrEqual(t, bare.permissiveShare(), 0.007)
	}
}

// TestUnreadSet prints the score of the third set, and none of its mistakes:
// what is learnt from a text cannot be measured on it any more. It may rise by
// what is learnt elsewhere.
func TestUnreadSet(t *testing.T) {
	var s, bare score
	for _, r := range load(t, unread) {
		s.add(r, Classify(r.input()))
		if r.Lang != "en" {
			r.Status = 0
			bare.add(r, Classify(r.input()))
		}
	}
	s.log(t, unread, false)
	bare.log(t, unread+", without a status", false)
	require.GreaterOrEqual(t, s.accuracy(), 0.86)
	require.LessOrEqual(t, s.permissive, 2)
	require.GreaterOrEqual(t, bare.accuracy(), 0.8)
	require.LessOrEqual(t, bare.permissive, 1)
}
