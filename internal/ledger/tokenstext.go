package ledger

import (
	"bytes"
	"fmt"
	"slices"
)

// Ten thousand tokens are 2.5 MB, of which a commit changes a few hundred bytes. To copy what stays in a few stretches takes
// a tenth of what it takes to look for each record's text.

// tokensText is the tokens of a document as they were encoded last.
type tokensText struct {
	body    []byte   // the records in the order of their IDs, with their names and with commas between them
	ends    []int    // of each of them in body
	ids     []string // of them
	records []*Token // that were written; nil: it was not frozen, and may have been changed afterwards
	stale   []string // IDs of those that changed since, where none came or went
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
		if known != nil && (!bytes.Equal(known.body, t.body) || !slices.Equal(known.ends, t.ends) || !slices.Equal(known.ids, t.ids) || !slices.Equal(known.records, t.records)) {
			panic(fmt.Sprintf("tokenguard: what did not change of the tokens was taken from %q, but they are %q", known.body, t.body))
		}
	}
	if d.descends() {
		d.text, d.ids, d.moved = t, t.ids, false
	}
	return out, after, nil
}

// eachToken appends the tokens one by one.
func (d *Document) eachToken(enc *encoder, out []byte) ([]byte, *tokensText, error) {
	ids := d.sortedIDs()
	w := textWriter{out: out, from: len(out), names: true, text: tokensText{ends: make([]int, 0, len(ids)), ids: make([]string, 0, len(ids)), records: make([]*Token, 0, len(ids))}}
	for _, id := range ids {
		if err := w.add(enc, id, d.Tokens[id]); err != nil {
			return nil, nil, err
		}
	}
	out, t := w.done()
	return out, t, nil
}

// stretches appends the tokens by those that changed, came or went, and what is between them. It gives no text if they are
// too many.
func (d *Document) stretches(enc *encoder, out []byte) ([]byte, *tokensText, error) {
	t := d.text
	changed := d.changedSince(t)
	if len(changed) > len(t.ids)/mostStale {
		return out, nil, nil
	}
	most := len(t.ids) + len(changed)
	w := textWriter{out: out, from: len(out), of: t, text: tokensText{ends: make([]int, 0, most), records: make([]*Token, 0, most)}}
	if w.names = d.movedSince(t); w.names {
		w.text.ids = make([]string, 0, most)
	}
	for _, id := range changed {
		at, there := slices.BinarySearch(t.ids, id)
		w.copyTo(at)
		if there {
			w.next++
		}
		if r := d.Tokens[id]; r != nil {
			if err := w.add(enc, id, r); err != nil {
				return nil, nil, err
			}
		}
	}
	w.copyTo(len(t.ids))
	out, next := w.done()
	if len(next.records) != len(d.Tokens) { // one came that was frozen before
		return out[:w.from], nil, nil
	}
	if !w.names {
		next.ids = t.ids
	}
	return out, next, nil
}

// movedSince reports whether tokens may have come or gone since t was made.
func (d *Document) movedSince(t *tokensText) bool { return d.moved || len(d.Tokens) != len(t.ids) }

// changedSince are the IDs of the tokens that are not what t has of them, in their order, gone ones among them, but not those
// that came and were frozen before.
func (d *Document) changedSince(t *tokensText) (ids []string) {
	if !d.movedSince(t) { // to look at each costs more than what a commit changes
		ids = slices.Clone(t.stale)
		for _, r := range d.unfrozen() {
			ids = append(ids, r.ID)
		}
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	there := 0
	for i, id := range t.ids {
		r := d.Tokens[id]
		if r != nil {
			there++
		}
		if r == nil || r != t.records[i] {
			ids = append(ids, id)
		}
	}
	if there == len(d.Tokens) {
		return ids
	}
	for id, r := range d.Tokens {
		if r.form == nil {
			if _, old := slices.BinarySearch(t.ids, id); !old {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// textWriter makes a tokensText, in part of another.
type textWriter struct {
	out   []byte
	from  int // where in out the text begins
	of    *tokensText
	next  int  // the record of that one that comes next
	names bool // the IDs are not those of that one
	text  tokensText
}

// add appends a record.
func (w *textWriter) add(enc *encoder, id string, r *Token) error {
	w.separate()
	text, err := encoded(enc, id, r)
	if err != nil {
		return err
	}
	w.out = append(w.out, text...)
	if w.text.ends = append(w.text.ends, len(w.out)-w.from); w.names {
		w.text.ids = append(w.text.ids, id)
	}
	if r.form == nil {
		r = nil
	}
	w.text.records = append(w.text.records, r)
	return nil
}

// copyTo takes over the records up to the one at that place.
func (w *textWriter) copyTo(at int) {
	if at <= w.next {
		return
	}
	w.separate()
	start := 0
	if w.next > 0 {
		start = w.of.ends[w.next-1] + 1
	}
	longer := len(w.out) - w.from - start
	w.out = append(w.out, w.of.body[start:w.of.ends[at-1]]...)
	for _, end := range w.of.ends[w.next:at] {
		w.text.ends = append(w.text.ends, end+longer)
	}
	if w.names {
		w.text.ids = append(w.text.ids, w.of.ids[w.next:at]...)
	}
	w.text.records = append(w.text.records, w.of.records[w.next:at]...)
	w.next = at
}

func (w *textWriter) separate() {
	if len(w.out) > w.from {
		w.out = append(w.out, ',')
	}
}

func (w *textWriter) done() ([]byte, *tokensText) {
	w.text.body = w.out[w.from:len(w.out):len(w.out)]
	return w.out, &w.text
}
