package tokenguard

// OpenStateFile opens the store behind WithStateFile, for the conformance suite.
func OpenStateFile(path string) (Store, error) {
	o, err := newOptions([]Option{WithStateFile(path)})
	if err != nil {
		return nil, err
	}
	return openStateFile(o, func(string) {})
}
