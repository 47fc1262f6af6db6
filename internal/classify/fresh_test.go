package classify

import "testing"

// fresh are answers of services that are in none of the recorded files, written
// from what is known of their formats and labelled before the rules met them:
// docs/judgement.md tells what each had right then.
var fresh = []string{"testdata/fresh-1.jsonl"}

func loadFresh(t testing.TB) []record {
	var records []record
	for _, path := range fresh {
		records = append(records, load(t, path)...)
	}
	return records
}

// TestFresh prints the score of each set, and what the words of other languages
// than English are worth where no status helps.
func TestFresh(t *testing.T) {
	for _, path := range fresh {
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
	}
}
