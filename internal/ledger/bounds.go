package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// A store takes a small document, so what callers can make many of is bounded by its size as it is encoded.

const (
	maxScope      = 128       // bytes of a scope's name as it is encoded; a longer one is kept by its hash
	maxScopesSize = 256 << 10 // and of all scopes without their tokens
)

// encodedLen is how many bytes a string takes up in a document, without its quotes.
func encodedLen(s string) (n int) {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch i++; {
			case c == '"' || c == '\\' || c == '\b' || c == '\f' || c == '\n' || c == '\r' || c == '\t':
				n += 2
			case c < ' ':
				n += 6
			default:
				n++
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		if r == utf8.RuneError && size == 1 || r == '\u2028' || r == '\u2029' {
			size = 6
		}
		n += size
	}
	return n
}

// ScopeKey is the name under which a document keeps a scope: its own, or for a long one how it begins and its hash.
func ScopeKey(scope string) string {
	if len(scope)*6 <= maxScope || encodedLen(scope) <= maxScope && !IsHashed(scope) {
		return scope
	}
	sum := sha256.Sum256([]byte("tokenguard scope:" + scope))
	beginning, size := 0, 0
	for i, r := range scope {
		if size += encodedLen(string(r)); size > maxScope-hashedTail {
			break
		}
		beginning = i + utf8.RuneLen(r)
	}
	return scope[:beginning] + "~" + hex.EncodeToString(sum[:16])
}

const hashedTail = 33 // "~" and 32 hex digits

// IsHashed reports whether a scope looks like the key of a longer one. One that a caller gives is then hashed, too, so that
// nobody can name the key of another.
func IsHashed(scope string) bool {
	if len(scope) < hashedTail || scope[len(scope)-hashedTail] != '~' {
		return false
	}
	for _, c := range []byte(scope[len(scope)-hashedTail+1:]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// shortenScopes brings the long scopes of a document that was written with their whole names under their keys.
func (d *Document) shortenScopes() {
	shorten := func(scope string) string {
		if IsHashed(scope) {
			return scope
		}
		return ScopeKey(scope)
	}
	for scope, k := range d.Scopes {
		if key := shorten(scope); key != scope {
			delete(d.Scopes, scope)
			d.Scopes[key] = k
		}
	}
	for _, r := range d.Tokens {
		r.Scope = shorten(r.Scope)
		for i := range r.Also {
			r.Also[i] = shorten(r.Also[i])
		}
	}
	for i := range d.Attempts {
		d.Attempts[i].Scope = shorten(d.Attempts[i].Scope)
	}
	for i := range d.Triggers {
		d.Triggers[i].Scope = shorten(d.Triggers[i].Scope)
	}
}

// Fold is a number of adopted attempts that ended within an hour.
type Fold struct {
	End   timeline.Instant `json:"end"` // of the last
	Count int              `json:"n"`
}

// foldAdopted turns adopted attempts that no window of the guards on this document can need one by one into counts.
// Callers adopt as many as they like; the other attempts are bounded by the limits.
func (d *Document) foldAdopted(policy *Policy, now timeline.Instant) {
	d.Folded = slices.DeleteFunc(d.Folded, func(f Fold) bool { return f.End <= now-timeline.Instant(Day) })
	widest := max(policy.RateLimit.MaxRequestsPerHour, policy.RateLimit.MaxRequestsPerDay)
	for _, l := range d.Limits {
		widest = max(widest, l.PerHour, l.PerDay)
	}
	extra := len(d.Attempts) - widest
	if extra <= 0 {
		return
	}
	kept := d.Attempts[:0]
	for i, a := range d.Attempts {
		if i < extra && a.Adopted {
			d.fold(Fold{a.End, 1})
		} else {
			kept = append(kept, a)
		}
	}
	clear(d.Attempts[len(kept):])
	d.Attempts = kept
}

// fold adds to the count of the hour in which the attempts ended.
func (d *Document) fold(f Fold) {
	hour := func(t timeline.Instant) timeline.Instant { return t / timeline.Instant(time.Hour) }
	for i := range d.Folded {
		if known := &d.Folded[i]; hour(known.End) == hour(f.End) {
			known.End, known.Count = max(known.End, f.End), known.Count+f.Count
			return
		}
	}
	d.Folded = append(d.Folded, f)
	slices.SortFunc(d.Folded, func(a, b Fold) int { return -cmpDesc(a.End, b.End) })
}

// mergeFolded takes over counts from a document of a lost lineage: of an hour that both know, the larger one.
func (d *Document) mergeFolded(known []Fold) (changed bool) {
	for _, f := range known {
		have := 0
		for _, own := range d.Folded {
			if own.End/timeline.Instant(time.Hour) == f.End/timeline.Instant(time.Hour) {
				have = own.Count
			}
		}
		if f.Count > have {
			d.fold(Fold{f.End, f.Count - have})
			changed = true
		}
	}
	return changed
}

// Ended counts the attempts that ended after an instant, and returns the end of the n-th of them from the newest; 0: they
// are fewer. Attempts and Folded are sorted by end.
func (d *Document) Ended(after timeline.Instant, n int) (count int, nth timeline.Instant) {
	first, _ := slices.BinarySearchFunc(d.Attempts, after, func(a Attempt, edge timeline.Instant) int {
		if a.End <= edge {
			return -1
		}
		return 1
	})
	count = len(d.Attempts) - first
	for _, f := range d.Folded {
		if f.End > after {
			count += f.Count
		}
	}
	if count < n {
		return count, 0
	}
	if len(d.Folded) == 0 {
		return count, d.Attempts[len(d.Attempts)-n].End
	}
	for i, j := len(d.Attempts)-1, len(d.Folded)-1; ; {
		if j < 0 || i >= 0 && d.Attempts[i].End >= d.Folded[j].End {
			if n--; n == 0 {
				return count, d.Attempts[i].End
			}
			i--
			continue
		}
		if n -= d.Folded[j].Count; n <= 0 {
			return count, d.Folded[j].End
		}
		j--
	}
}
