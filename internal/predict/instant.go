package predict

import "time"

func millis(at int64) int64 { return floorDiv(at, int64(time.Millisecond)) }

func hours(span int64) float64 { return float64(span) / float64(time.Hour) }

func hourOf(at int64) int {
	h := floorDiv(at, int64(time.Hour))
	return int(h - 24*floorDiv(h, 24))
}

// floorDiv rounds down, also before 1970.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
