package classify

import (
	"hash/fnv"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/classify/fit"
)

func sample(r record) fit.Sample {
	return fit.Sample{Class: slices.Index(Classes(), r.Class), Features: Features(r.input())}
}

func trained(records []record) string {
	var samples []fit.Sample
	for _, r := range records {
		samples = append(samples, sample(r))
	}
	raw := []byte{}
	for _, w := range fit.Weights(samples, Buckets, len(Classes())) {
		raw = append(raw, byte(w))
	}
	return string(raw)
}

// foldOf parts services, not answers: a service is either trained on or asked.
func foldOf(service string, folds uint32) uint32 {
	h := fnv.New32a()
	h.Write([]byte("fold of " + service))
	return h.Sum32() % folds
}

// folds is how many parts the services are left out in.
const folds = 5

// leftOut calls f with every answer of the held-out services and with weights
// that were trained without its service.
func leftOut(t testing.TB, f func(r record, weights string)) {
	leftOutOnce.Do(func() {
		learntFrom(t, 100, func(r record, w string) { leftOutAsked = append(leftOutAsked, asked{r, w}) })
	})
	require.NotEmpty(t, leftOutAsked)
	for _, a := range leftOutAsked {
		f(a.record, a.weights)
	}
}

// Several tests ask the same models, and training is what they take their time for.
var (
	leftOutOnce  sync.Once
	leftOutAsked []asked
)

type asked struct {
	record  record
	weights string
}

// learntFrom is leftOut with weights from so many percent of the services.
func learntFrom(t testing.TB, percent uint32, f func(r record, weights string)) (services int) {
	records, written := loadRecorded(t), append(load(t, extra), load(t, fresh1)...)
	_, held := heldOut(records)
	for fold := range uint32(folds) {
		train := slices.DeleteFunc(slices.Clone(records), func(r record) bool {
			return foldOf(r.Service, folds) == fold || foldOf("share "+r.Service, 100) >= percent
		})
		names := map[string]bool{}
		for _, r := range train {
			names[r.Service] = true
		}
		services += len(names)
		if percent == 100 {
			train = append(train, written...)
		}
		w := trained(train)
		for _, r := range held {
			if foldOf(r.Service, folds) == fold {
				f(r, w)
			}
		}
	}
	return services / folds
}

// More services teach more, the words of the rules being the same.
func TestLearningCurve(t *testing.T) {
	if os.Getenv("TOKENGUARD_LONG") == "" {
		t.Skip("trains 20 models: under TOKENGUARD_LONG")
	}
	var alone []float64
	for _, percent := range []uint32{10, 25, 50, 99} {
		var model, both score
		n := learntFrom(t, percent, func(r record, w string) {
			ev := newEvidence(w)
			defer ev.free()
			ev.read(r.input())
			guess, _ := ev.guess(w)
			model.add(r, guess)
			both.add(r, ev.judge().class)
		})
		t.Logf("%3d services: model alone %.3f, with the rules %.3f, wrongly permitting %.2f %%", n, model.accuracy(), both.accuracy(), 100*both.permissiveShare())
		alone = append(alone, model.accuracy())
	}
	require.Greater(t, alone[len(alone)-1], alone[0]+0.02)
}

// TestModel says what the model brings, on services from whose texts its weights
// do not come.
func TestModel(t *testing.T) {
	var rules, model, answered, both score
	agree, right := 0, 0
	leftOut(t, func(r record, w string) {
		ev := evidence{matcher: phrases(), weights: w}
		ev.read(r.input())
		class := ev.class
		guess, _ := ev.guess(w)
		j := ev.judge()
		rules.add(r, class)
		model.add(r, guess)
		both.add(r, j.class)
		if j.model == overrules {
			answered.add(r, class)
		} else {
			answered.add(r, j.class)
		}
		if guess == class {
			agree++
			if class == r.Class {
				right++
			}
		}
	})
	rules.log(t, "rules alone", false)
	model.log(t, "model alone", false)
	answered.log(t, "rules, the model answers for unknown", false)
	both.log(t, "rules, the model answers and overrules", *showHeldOut)
	t.Logf("rules and model agree on %d of %d, and are right in %.3f of these", agree, rules.n, float64(right)/float64(agree))
	require.Greater(t, both.accuracy(), rules.accuracy())
	require.GreaterOrEqual(t, both.accuracy(), 0.94)
	require.GreaterOrEqual(t, both.macroF1(), 0.92)
	require.LessOrEqual(t, both.permissive, rules.permissive, "the model permits nothing that the rules do not")
	require.LessOrEqual(t, both.permissiveShare(), 0.003)
}

// The weights in the repository are those that the program in train makes.
func TestWeightsAreFresh(t *testing.T) {
	require.Len(t, weights, Buckets*len(Classes()))
	disagree := 0
	records := slices.Concat(loadRecorded(t), load(t, extra), load(t, fresh1))
	fresh := trained(records)
	for _, r := range records {
		ev := evidence{matcher: phrases()}
		ev.read(r.input())
		a, _ := ev.guess(weights)
		b, _ := ev.guess(fresh)
		if a != b {
			disagree++
		}
	}
	require.LessOrEqual(t, disagree, len(records)/100, "run go generate: words or answers have changed since the weights were written")
}

func BenchmarkModel(b *testing.B) {
	in := Input{StatusCode: 429, Text: oneKilobyte}
	ev := evidence{matcher: phrases()}
	ev.read(in)
	b.ReportAllocs()
	for b.Loop() {
		ev.guess(weights)
	}
}
