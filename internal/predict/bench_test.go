package predict

import "testing"

func BenchmarkLearn(b *testing.B) {
	var h History
	for i := range int64(MaxLives) {
		h.ended(Life{Uses: i})
	}
	var u Usage
	at := noon
	for b.Loop() {
		at += second
		var batch Usage
		batch.Add(Outcome{At: at})
		h.Learn(&u, batch)
	}
	b.ReportAllocs()
}
func BenchmarkForecast(b *testing.B) {
	var h History
	for i := range int64(MaxLives) {
		h.ended(Life{Uses: i})
	}
	u := calls(300, 0, 0, 0)
	for b.Loop() {
		h.Forecast(u, noon)
	}
	b.ReportAllocs()
}
func BenchmarkAssess(b *testing.B) {
	u := calls(300, 0, 0, 0)
	for b.Loop() {
		Assess(u, 0, noon, Config{})
	}
	b.ReportAllocs()
}
func BenchmarkBudget(b *testing.B) {
	var h History
	var c []int64
	for i := range int64(50) {
		h.Started(noon+i*hour/3, 0)
		c = append(c, noon+i*hour/3)
	}
	for b.Loop() {
		h.Budget(noon+17*hour, c, 10, 50)
	}
	b.ReportAllocs()
}
