package predict

import "testing"

// busy is a history as full as it gets, and a token in steady use.
func busy() (h History, u Usage, starts []int64) {
	for i := range int64(MaxLives) {
		h.ended(Life{Uses: i})
		h.Started(noon-(MaxLives-i)*hour/3, 0)
		starts = append(starts, noon-(MaxLives-i)*hour/3)
	}
	h.Learn(&u, calls(300, 0, 0, 0))
	return h, u, starts
}

func BenchmarkLearn(b *testing.B) {
	b.ReportAllocs()
	h, u, _ := busy()
	at := noon
	for b.Loop() {
		at += second
		var batch Usage
		batch.Add(Outcome{At: at})
		h.Learn(&u, batch)
	}
}

func BenchmarkForecast(b *testing.B) {
	b.ReportAllocs()
	h, u, _ := busy()
	for b.Loop() {
		h.Forecast(u, noon)
	}
}

func BenchmarkAssess(b *testing.B) {
	b.ReportAllocs()
	_, u, _ := busy()
	for b.Loop() {
		Assess(u, 0, noon, Config{})
	}
}

func BenchmarkBudget(b *testing.B) {
	b.ReportAllocs()
	h, _, starts := busy()
	for b.Loop() {
		h.Budget(noon, 0, starts, 10, 50)
	}
}
