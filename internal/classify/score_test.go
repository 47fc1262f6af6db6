package classify

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"testing"
)

type record struct {
	ID      string            `json:"id"`
	Service string            `json:"service"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Class   string            `json:"class"`
	Retry   *float64          `json:"retry_after_s"`
}

func (r record) input() Input {
	h := map[string][]string{}
	for k, v := range r.Headers {
		h[k] = []string{v}
	}
	return Input{r.Status, h, r.Body}
}

func load(t testing.TB, path string) []record {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []record
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		if len(sc.Bytes()) == 0 {
			continue
		}
		var r record
		if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
			t.Fatal(path, err, sc.Text())
		}
		out = append(out, r)
	}
	return out
}

func dump(t *testing.T, path string) {
	recs := load(t, path)
	right, permissive := 0, 0
	conf := map[string]int{}
	for _, r := range recs {
		got := Classify(r.input())
		if got == r.Class {
			right++
			continue
		}
		mark := ""
		if got == QuotaExhausted || got == AuthInvalid {
			permissive++
			mark = "!!"
		}
		conf[r.Class+" -> "+got]++
		fmt.Printf("%s %s want %s got %s | %d %v | %.160s\n", mark, r.ID, r.Class, got, r.Status, r.Headers, r.Body)
		if os.Getenv("NORM") != "" {
			fmt.Printf("      %s\n", explain(r.input()))
		}
	}
	var ks []string
	for k := range conf {
		ks = append(ks, k)
	}
	sort.Strings(ks)
	for _, k := range ks {
		fmt.Println(conf[k], k)
	}
	fmt.Printf("%s: %d/%d = %.3f, permissive %d\n", path, right, len(recs), float64(right)/float64(len(recs)), permissive)
}

func TestDump(t *testing.T) {
	dump(t, "../../testdata/api-errors.jsonl")
	if os.Getenv("EXTRA") != "" {
		dump(t, "testdata/extra.jsonl")
	}
}

var names = []string{"exceeded", "consumed", "lacking", "allowance", "count", "limit", "money", "card", "arrears", "long", "short", "pace", "manyCalls", "wait", "raise", "zeroLimit", "temporary", "purchase", "resets", "yours", "cred", "bad", "ended", "failed", "unauth", "loggedOut", "missing", "barred", "noRight", "refused", "notIncluded", "place", "address", "denied", "party", "off", "overload", "network", "faulty", "cancelled", "size", "tooMuch", "content", "param", "resource", "stale", "stored", "either", "spent", "overLimit", "deadCred", "lostCred", "lapsed", "periodCap", "noPlace", "noAddress", "shutOff", "lostThing", "lostParty", "endedThing", "staleTime", "countOver"}

func explain(in Input) string {
	var ev evidence
	ev.readHeader(in.Header)
	ev.readText(in.Text)
	ev.combine()
	ev.readWindows(in)
	s := ""
	for i, n := range names {
		if ev.said&(1<<i) != 0 {
			s += " " + n
		}
	}
	for i := range rules {
		r := &rules[i]
		if (r.any == 0 || ev.said&r.any != 0) && (r.also == 0 || ev.said&r.also != 0) && ev.said&r.none == 0 &&
			(r.when == nil || r.when(&ev, in)) {
			s += fmt.Sprint(" RULE ", i, r.class)
			break
		}
	}
	return s
}
