package guardhttp

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// acceptReadable leaves those encodings in Accept-Encoding that can be read here, or an answer that reports a spent
// token would look like noise. A request without the header is left alone: net/http asks for gzip then, and takes it
// off again. So is one that refuses everything else (br alone, with identity;q=0): it gets what it insists on, unread.
func acceptReadable(h http.Header) {
	values := h["Accept-Encoding"]
	asked := strings.Join(values, ",")
	if strings.Trim(asked, ", \t") == "" {
		return
	}
	readable := readableOf(asked)
	if readable == asked || readable == "" {
		return
	}
	if strings.TrimSpace(values[0]) == "" { // where net/http looks at the first value alone
		h["Accept-Encoding"] = []string{values[0], readable}
		return
	}
	h["Accept-Encoding"] = []string{readable}
}

// readableOf returns what of a list of encodings (RFC 9110, section 12.5.3) can be read, each with its weight;
// "identity" if that is nothing, and "" if identity is refused as well.
func readableOf(list string) string {
	var kept []string
	weights := map[string]string{} // of what is named; "*" is all the others
	keep := func(coding, weight string) {
		if weight != "" {
			weight = ";" + weight
		}
		kept = append(kept, coding+weight)
	}
	for item := range strings.SplitSeq(list, ",") {
		coding, weight, _ := strings.Cut(strings.TrimSpace(item), ";")
		coding, weight = strings.ToLower(strings.TrimSpace(coding)), strings.TrimSpace(weight)
		switch coding {
		case "gzip", "x-gzip", "deflate", "identity":
			keep(coding, weight)
			fallthrough
		case "*":
			weights[coding] = weight
		}
	}
	rest, others := weights["*"]
	if others && !isZeroWeight(rest) { // any: any of those that can be read
		for _, coding := range []string{"gzip", "deflate"} {
			if _, named := weights[coding]; !named {
				weights[coding] = rest
				keep(coding, rest)
			}
		}
	}
	usable := false
	for coding, weight := range weights {
		usable = usable || coding != "*" && coding != "identity" && !isZeroWeight(weight)
	}
	own, named := weights["identity"]
	refused := named && isZeroWeight(own) || !named && others && isZeroWeight(rest)
	switch {
	case refused && !usable:
		return ""
	case refused && !named:
		keep("identity", "q=0")
	case !usable && !named:
		keep("identity", "")
	}
	return strings.Join(kept, ", ")
}

func isZeroWeight(weight string) bool {
	q, ok := strings.CutPrefix(strings.ReplaceAll(strings.ToLower(weight), " ", ""), "q=")
	return ok && strings.HasPrefix(q, "0") && strings.Trim(q, "0.") == ""
}

// opener takes one encoding off.
type opener func(io.Reader) (io.Reader, error)

func openGzip(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }

// openDeflate reads what RFC 9110 calls deflate, which is zlib, and what some servers send under that name, which is
// not.
func openDeflate(r io.Reader) (io.Reader, error) {
	b := bufio.NewReader(r)
	head, err := b.Peek(2)
	if err != nil {
		return nil, err
	}
	if isZlib(head) {
		return zlib.NewReader(b)
	}
	return flate.NewReader(b), nil
}

// isZlib reports whether two bytes are the header of zlib (RFC 1950, section 2.2).
func isZlib(head []byte) bool { return head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 }

// errUnreadable is an encoding that is not read here.
var errUnreadable = errors.New("tokenguard: guardhttp: an encoding that is not read")

// maxEncodings is how many encodings on top of each other are taken off.
const maxEncodings = 3

// openersOf returns what takes the encodings of a body off, the last one first; none for a plain body.
func openersOf(h http.Header) ([]opener, error) {
	var openers []opener
	for _, value := range h["Content-Encoding"] {
		for coding := range strings.SplitSeq(value, ",") {
			switch strings.ToLower(strings.TrimSpace(coding)) {
			case "", "identity":
			case "gzip", "x-gzip":
				openers = append(openers, openGzip)
			case "deflate":
				openers = append(openers, openDeflate)
			default:
				return nil, errUnreadable
			}
		}
	}
	if len(openers) > maxEncodings {
		return nil, errUnreadable
	}
	slices.Reverse(openers)
	return openers, nil
}

func open(r io.Reader, openers []opener) (io.Reader, error) {
	for _, o := range openers {
		next, err := o(r)
		if err != nil {
			return nil, err
		}
		r = next
	}
	return r, nil
}

// decoded returns the plain text of the beginning of a body, at most maxPeek bytes; what cannot be read is left out. A text
// that says by its header that it is encoded, and is not, is taken as it is: a proxy's own page under the header of what it
// stands for.
func decoded(start []byte, openers []opener) []byte {
	if len(openers) == 0 {
		return start
	}
	var plain []byte
	r, err := open(strings.NewReader(string(start)), openers)
	if err == nil {
		plain, err = io.ReadAll(io.LimitReader(r, maxPeek)) // it ends in the middle, and what came before that counts
	}
	var corrupt flate.CorruptInputError
	if (errors.Is(err, gzip.ErrHeader) || errors.As(err, &corrupt)) && isText(start) {
		return start
	}
	return plain
}

// isPlain reports whether a body whose header names an encoding has none: what has come of it begins as neither gzip nor
// zlib do, and is text. Deflate without the header of zlib may begin as a text does, so it waits for some more bytes, or the
// end.
func isPlain(body *bufio.Reader) bool {
	const enough = 64
	head, err := body.Peek(2)
	if err != nil || head[0] == 0x1f && head[1] == 0x8b || isZlib(head) {
		return false
	}
	_, _ = body.Peek(enough)
	start, _ := body.Peek(body.Buffered())
	return isText(start) && !slices.ContainsFunc(start, func(c byte) bool { return c < ' ' && !isSpace(c) || c == 0x7f })
}

func isSpace(c byte) bool { return c == '\t' || c == '\r' || c == '\n' }

// isText reports whether the beginning of a body is text, which nothing compressed is for long. Its last rune may be cut.
func isText(start []byte) bool {
	for range utf8.UTFMax {
		if utf8.Valid(start) {
			return true
		}
		start = start[:max(0, len(start)-1)]
	}
	return false
}

// inflater takes the encodings off bytes that are pushed into it, and passes the plain ones on, and a text that is plain
// in spite of its header as it is. Decoders pull; each push lets one run until it asks for more. It keeps the decoders'
// windows, some 40 KiB each, and nothing else.
type inflater struct {
	input []byte
	ended bool
	next  func() (struct{}, bool)
	stop  func()
}

// newInflater calls sink with the plain bytes until sink says that it has enough.
func newInflater(openers []opener, sink func([]byte) (enough bool)) *inflater {
	f := &inflater{}
	f.next, f.stop = iter.Pull(func(yield func(struct{}) bool) {
		body := bufio.NewReader(&pushed{f, yield})
		var r io.Reader = body
		var err error
		if !isPlain(body) {
			if r, err = open(body, openers); err != nil {
				return
			}
		}
		plain := make([]byte, maxPeek)
		for err == nil {
			var n int
			if n, err = r.Read(plain); n > 0 && sink(plain[:n]) {
				return
			}
		}
	})
	return f
}

// push passes p on. It is not kept.
func (f *inflater) push(p []byte) {
	f.input = p
	f.next()
	f.input = nil
}

// end passes on what the decoders still hold, and releases them.
func (f *inflater) end() {
	f.ended = true
	f.next()
	f.stop()
}

// pushed is the pulling side of an inflater.
type pushed struct {
	from  *inflater
	yield func(struct{}) bool
}

func (r *pushed) Read(p []byte) (int, error) {
	for len(r.from.input) == 0 {
		if r.from.ended {
			return 0, io.EOF
		}
		if !r.yield(struct{}{}) {
			return 0, io.ErrClosedPipe // the inflater was stopped
		}
	}
	n := copy(p, r.from.input)
	r.from.input = r.from.input[n:]
	return n, nil
}
