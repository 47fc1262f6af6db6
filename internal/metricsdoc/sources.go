package metricsdoc

import (
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard"
)

// Sources finds the fields of Stats that each metric shows: those whose change alone changes it. read returns the
// metrics of some Stats, each with all its points in any one form.
func Sources(base tokenguard.Stats, read func(tokenguard.Stats) map[string]string) map[string][]string {
	before, out := read(base), map[string][]string{}
	v := reflect.ValueOf(&base).Elem()
	walk(v, "Stats", func(path string) {
		for name, points := range read(base) {
			if points != before[name] && !slices.Contains(out[name], path) {
				out[name] = append(out[name], path)
			}
		}
	})
	return out
}

// walk changes one figure after the other, calls looked, and sets it back.
func walk(v reflect.Value, path string, looked func(path string)) {
	if t, ok := v.Addr().Interface().(*time.Time); ok {
		old := *t
		*t = old.Add(90 * time.Minute)
		if old.IsZero() {
			*t = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		}
		looked(path)
		*t = old
		return
	}
	if p, ok := v.Addr().Interface().(*tokenguard.QuotaPeriod); ok {
		old := *p
		*p = tokenguard.Rolling(time.Hour)
		looked(path)
		*p = old
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.Name == "Guard" || !f.IsExported() { // a label of all metrics; what no metric can read
				continue
			}
			walk(v.Field(i), path+"."+v.Type().Field(i).Name, looked)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() { // an element of a map cannot be set in place
			element := reflect.New(v.Type().Elem()).Elem()
			element.Set(v.MapIndex(key))
			walk(element, path, func(path string) {
				old := v.MapIndex(key)
				v.SetMapIndex(key, element)
				looked(path)
				v.SetMapIndex(key, old)
			})
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), path, looked)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			walk(v.Elem(), path, looked)
		}
	default:
		old := reflect.New(v.Type()).Elem()
		old.Set(v)
		change(v)
		looked(path)
		v.Set(old)
	}
}

func change(v reflect.Value) {
	switch {
	case v.CanInt():
		v.SetInt(v.Int() + 1)
	case v.CanUint():
		v.SetUint(v.Uint() + 1)
	case v.CanFloat():
		v.SetFloat(v.Float() + 0.5)
	case v.Kind() == reflect.String:
		v.SetString(string(tokenguard.LevelLow))
	case v.Kind() == reflect.Bool:
		v.SetBool(!v.Bool())
	}
}

// Usage is of one scope and one operation.
var Usage = tokenguard.UsageStats{Scopes: []tokenguard.Usage{{Name: "eu", Acquisitions: 1, Renewals: 1, Refused: 1, Hits: 1}}, Operations: []tokenguard.Usage{{Name: "checkout", Acquisitions: 1, Renewals: 1, Refused: 1}}}

// Fixed is a source whose Stats are set.
type Fixed struct{ Is tokenguard.Stats }

// Stats returns them.
func (f *Fixed) Stats() tokenguard.Stats { return f.Is }

// Kinds are all kinds of events.
var Kinds = []tokenguard.EventKind{tokenguard.EventServed, tokenguard.EventRefused, tokenguard.EventStarted, tokenguard.EventAcquired,
	tokenguard.EventFailed, tokenguard.EventReported, tokenguard.EventAdopted, tokenguard.EventCleared, tokenguard.EventWarning, tokenguard.EventState,
	tokenguard.EventCandidate, tokenguard.EventRenewed, tokenguard.EventRenewalFailed, tokenguard.EventIdentityEnded, tokenguard.EventIdentityDropped}

// Options are those that every metric needs to be shown.
func Options() []tokenguard.Option {
	renew := func(context.Context, tokenguard.Token) (tokenguard.Token, error) { return tokenguard.Token{}, nil }
	return []tokenguard.Option{tokenguard.WithShadowModeRefusingNothing(), tokenguard.WithCandidate(tokenguard.Moderate()), tokenguard.WithRenewal(renew)}
}

// SourcesOfEvents finds the kinds of events that each metric counts.
func SourcesOfEvents(read func(told []tokenguard.Event) map[string]string) map[string][]string {
	before, out := read(nil), map[string][]string{}
	for _, kind := range Kinds {
		for name, points := range read([]tokenguard.Event{{Kind: kind, Guard: "default", Took: time.Second}}) {
			if points != before[name] {
				out[name] = append(out[name], "Event "+string(kind))
			}
		}
	}
	return out
}
