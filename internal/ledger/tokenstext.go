package ledger

import (
	"bytes"
	"fmt"
	"slices"
)

// Ten thousand tokens are 2.5 MB, of which a commit changes a few hundred bytes. To copy what stays in a few stretches takes
// a tenth of what it takes to look for each record's text.

// tokensText is the tokens of a document as they were encoded last. It is of no use any more once a token comes or goes:
// Index, which follows wherever one goes, drops it, and where one comes there are more of them.
type tokensText struct {
	body  []byte   // the records in the order of Document.ids, with their names and with commas between them
	ends  []int    // of each of them in body
	stale []string // IDs of those that changed since
}

// mostStale is the share of the tokens, one in so many, up to which stretches are worth their while.
const mostStale = 8

// noteStale notes at the end of changes which records are not what was encoded, or may have been changed afterwards.
func (d *Document) noteStale(changed []*Token) {
	if d.text == nil || len(changed) == 0 {
		return
	}
	t := *d.text // that of the document that d comes from, perhaps
	t.stale = slices.Clone(t.stale)
	for _, r := range changed {
		t.stale = append(t.stale, r.ID)
	}
	if d.text = &t; len(t.stale) > len(t.ends)/mostStale {
		d.text = nil
	}
}

// putTokens is put for the tokens.
func (d *Document) putTokens(enc *encoder, out, rest []byte) (_, after []byte, err error) {
	if len(d.Tokens) == 0 {
		return out, rest, nil
	}
	before, after, _ := bytes.Cut(rest, noTokensText)
	out = append(out, before...)
	from := len(out)
	t := d.text
	if t != nil {
		if out, t, err = d.stretches(enc, out); err != nil {
			return nil, nil, err
		}
	}
	if t == nil || CheckForms != nil && CheckForms() {
		known := t
		if out, t, err = d.eachToken(enc, out[:from:from]); err != nil {
			return nil, nil, err
		}
		if known != nil && (!bytes.Equal(known.body, t.body) || !slices.Equal(known.ends, t.ends)) {
			panic(fmt.Sprintf("tokenguard: what did not change of the tokens was taken from %q, but they are %q", known.body, t.body))
		}
	}
	if d.descends() {
		d.text = t
	}
	return out, after, nil
}

// eachToken appends the tokens one by one.
func (d *Document) eachToken(enc *encoder, out []byte) ([]byte, *tokensText, error) {
	ids := d.sortedIDs()
	from, ends := len(out), make([]int, len(ids))
	for i, id := range ids {
		if i > 0 {
			out = append(out, ',')
		}
		text, err := encoded(enc, id, d.Tokens[id])
		if err != nil {
			return nil, nil, err
		}
		out = append(out, text...)
		ends[i] = len(out) - from
	}
	return out, &tokensText{body: out[from:len(out):len(out)], ends: ends}, nil
}

// stretches appends the tokens by those that changed and what is between them. It gives no text if too many did.
func (d *Document) stretches(enc *encoder, out []byte) ([]byte, *tokensText, error) {
	t := d.text
	changed := slices.Clone(t.stale)
	for _, r := range d.unfrozen() {
		changed = append(changed, r.ID)
	}
	slices.Sort(changed)
	changed = slices.Compact(changed)
	if len(d.Tokens) != len(t.ends) || len(d.ids) != len(t.ends) || len(changed) > len(t.ends)/mostStale {
		return out, nil, nil
	}
	from, ends := len(out), make([]int, 0, len(t.ends))
	copied, longer := 0, 0 // bytes of t.body that are done with; by how many more out has
	for _, id := range changed {
		i, known := slices.BinarySearch(d.ids, id)
		if !known {
			return out[:from], nil, nil
		}
		start := 0
		if i > 0 {
			start = t.ends[i-1] + 1
		}
		for _, end := range t.ends[len(ends):i] {
			ends = append(ends, end+longer)
		}
		text, err := encoded(enc, id, d.Tokens[id])
		if err != nil {
			return nil, nil, err
		}
		out = append(append(out, t.body[copied:start]...), text...)
		copied = t.ends[i]
		longer = len(out) - from - copied
		ends = append(ends, copied+longer)
	}
	for _, end := range t.ends[len(ends):] {
		ends = append(ends, end+longer)
	}
	out = append(out, t.body[copied:]...)
	return out, &tokensText{body: out[from:len(out):len(out)], ends: ends}, nil
}
