package statefile

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
)

// The file starts with a header that a person can read:
//
//	tokenguard-state 1 835a385c
//	name: "default"
//	lineage: 9f86d081884c7d65
//	losses: 0
//	revision: 42
//	length: 1234
//	sha256: (64 hex digits, of all header lines above and the document)
//
//	(the document, length bytes)
//
// Every version of the format keeps the first line: magic, version, and the
// CRC-32C of both, so that a bit flip in the version is not taken for a newer
// version, which would never be repaired.
const (
	magic         = "tokenguard-state "
	formatVersion = 1
	maxName       = 512  // bytes; a quoted byte takes up to four
	maxHeader     = 4096 // bytes
	lineageSize   = 8    // bytes

	// The highest revision that is believed. No number of commits leads there, and
	// what is beyond it must not overflow.
	maxRev = 1 << 62
)

var (
	errDamaged = errors.New("damaged")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	firstLine  = versionLine(formatVersion)
)

func versionLine(version int) string {
	s := magic + strconv.Itoa(version)
	return fmt.Sprintf("%s %08x\n", s, crc32.Checksum([]byte(s), castagnoli))
}

// document is a decoded data file; the zero value is one never written.
type document struct {
	name    string
	lineage string // 16 hex digits, made with the first commit and again at each loss
	losses  int    // how many losses were noticed, at least
	rev     uint64
	data    []byte
}

func newLineage() string {
	var b [lineageSize]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (d document) mark() mark { return mark{d.rev, d.lineage} }

// snapshot shares the bytes of the document, which may be megabytes: they were read for this call alone, or are those that
// its function returned.
func (d document) snapshot() Snapshot {
	s := Snapshot{Rev: d.rev}
	if len(d.data) > 0 {
		s.Data = d.data
	}
	if d.losses > 0 {
		s.Epoch = d.lineage
	}
	return s
}

func (d document) encode() []byte { return slices.Concat(d.parts()...) }

// parts are the header and the data, one after the other what encode returns.
func (d document) parts() [][]byte { return [][]byte{d.header(), d.data} }

func (d document) header() []byte {
	b := fmt.Appendf([]byte(firstLine), "name: %q\nlineage: %s\nlosses: %d\nrevision: %d\nlength: %d\n", d.name, d.lineage, d.losses, d.rev, len(d.data))
	return fmt.Appendf(b, "sha256: %x\n\n", checksum(b, d.data))
}

func checksum(header, data []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(header)
	h.Write(data)
	return [sha256.Size]byte(h.Sum(nil))
}

// decode reads what encode wrote and nothing else: any other bytes are
// errDamaged, or a VersionError if a newer version wrote them. With errDamaged
// it returns what the header claims, which no decision may trust.
func decode(b []byte) (document, error) {
	if !bytes.HasPrefix(b, []byte(firstLine)) {
		if v := claimedVersion(b); v > formatVersion {
			return document{}, &VersionError{Version: v}
		}
		if foreign(b) {
			return document{}, &ForeignError{}
		}
		return document{}, fmt.Errorf("%w: the first line is not %q", errDamaged, strings.TrimSpace(firstLine))
	}
	head, data, ok := bytes.Cut(b[len(firstLine):], []byte("\n\n"))
	if !ok {
		return document{}, fmt.Errorf("%w: the header has no end", errDamaged)
	}
	var d document
	var length int
	_, err := fmt.Sscanf(string(head), "name: %q\nlineage: %s\nlosses: %d\nrevision: %d\nlength: %d",
		&d.name, &d.lineage, &d.losses, &d.rev, &length)
	if err != nil {
		return d, fmt.Errorf("%w: the header: %v", errDamaged, err)
	}
	d.data = data
	if length != len(data) {
		return d, fmt.Errorf("%w: %d bytes of document, the header says %d", errDamaged, len(data), length)
	}
	if len(b) > maxHeader+MaxData || !bytes.Equal(d.header(), b[:len(b)-len(data)]) {
		return d, fmt.Errorf("%w: the checksum does not match", errDamaged)
	}
	if len(d.lineage) != 2*lineageSize || d.rev == 0 || d.rev > maxRev || d.losses < 0 || int64(d.losses) > maxRev {
		return d, fmt.Errorf("%w: the header has impossible values", errDamaged)
	}
	return d, nil
}

// foreign reports whether b cannot be what is left of a state file: neither cut
// short, nor zeroed, nor with a single line damaged.
func foreign(b []byte) bool {
	return !strings.HasPrefix(firstLine, string(b[:min(len(b), len(magic))])) &&
		len(bytes.Trim(b, "\x00")) > 0 && !bytes.Contains(b, []byte("\nlineage: "))
}

// claimedVersion reads the version in a whole first line; 0 if there is none.
func claimedVersion(b []byte) int {
	line, _, ok := strings.Cut(string(b[:min(len(b), 64)]), "\n")
	if !ok || !strings.HasPrefix(line, magic) {
		return 0
	}
	digits, _, _ := strings.Cut(line[len(magic):], " ")
	v, err := strconv.Atoi(digits)
	if err != nil || line+"\n" != versionLine(v) {
		return 0
	}
	return v
}
