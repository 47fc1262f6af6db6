package guardhttp

// OperationsKept and PausesKept are how much a Transport remembers.
func OperationsKept(t *Transport) int { return t.operations.names.Len() }

func PausesKept(t *Transport) int { return len(t.pauses.until) }

// ReadableOf is what acceptReadable makes of a header.
var ReadableOf = readableOf

// Inflated feeds chunks to an inflater as a body's Reads would.
func Inflated(encoding string, chunks [][]byte) (plain []byte, err error) {
	openers, err := openersOf(map[string][]string{"Content-Encoding": {encoding}})
	if err != nil {
		return nil, err
	}
	f := newInflater(openers, func(p []byte) bool {
		plain = append(plain, p...)
		return false
	})
	for _, c := range chunks {
		f.push(c)
	}
	f.end()
	return plain, nil
}
