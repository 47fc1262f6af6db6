// Package fit trains the linear model of package classify. It is used by the
// program that writes its weights and by the test that scores it on services
// left out; nothing that serves imports it.
package fit

import "math"

// Sample is an answer as the model sees it.
type Sample struct {
	Features []uint32 // distinct buckets below Buckets
	Class    int
}

const (
	epochs       = 30
	rate         = 0.1  // of AdaGrad
	regularising = 1e-3 // of the weights, each time they are touched
)

// Weights trains a multinomial logistic regression and returns its weights as
// integers, those of one bucket together. The order of the samples decides
// every rounding, so the same samples give the same weights on one
// architecture.
func Weights(samples []Sample, buckets, classes int) []int8 {
	w := make([]float64, buckets*classes)
	squares := make([]float64, buckets*classes)
	p := make([]float64, classes)
	state := uint32(1)
	order := make([]int, len(samples))
	for i := range order {
		order[i] = i
	}
	for range epochs {
		for i := len(order) - 1; i > 0; i-- { // xorshift: the same order everywhere
			state ^= state << 13
			state ^= state >> 17
			state ^= state << 5
			j := int(state % uint32(i+1))
			order[i], order[j] = order[j], order[i]
		}
		for _, at := range order {
			step(&samples[at], w, squares, p)
		}
	}
	most := 0.0
	for _, v := range w {
		most = max(most, math.Abs(v))
	}
	out := make([]int8, len(w))
	for i, v := range w {
		out[i] = int8(math.Round(v / max(most, 1e-9) * 127))
	}
	return out
}

// step moves the weights towards one sample.
func step(s *Sample, w, squares, p []float64) {
	classes := len(p)
	scale := 1 / math.Sqrt(float64(max(len(s.Features), 1)))
	clear(p)
	for _, f := range s.Features {
		for c := range classes {
			p[c] += w[int(f)*classes+c]
		}
	}
	most, sum := math.Inf(-1), 0.0
	for c := range p {
		p[c] *= scale
		most = max(most, p[c])
	}
	for c := range p {
		p[c] = math.Exp(p[c] - most)
		sum += p[c]
	}
	for c := range p {
		p[c] /= sum
	}
	p[s.Class]--
	for _, f := range s.Features {
		for c := range classes {
			i := int(f)*classes + c
			g := p[c]*scale + regularising*w[i]
			squares[i] += g * g
			w[i] -= rate * g / (math.Sqrt(squares[i]) + 1e-6)
		}
	}
}
