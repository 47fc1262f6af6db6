package replay

import (
	"embed"
	"html/template"
	"io"
	"regexp"
	"time"
)

//go:embed report.html
var page embed.FS

var report = template.Must(template.New("report.html").Funcs(template.FuncMap{
	"stamp": stamp, "percent": percent, "verdict": verdict, "oneLine": oneLine, "count": count,
	"brief":   func(d time.Duration) string { return noZeros.ReplaceAllString(d.String(), "$1$2") },
	"hundred": func(share float64) float64 { return 100 * share },
	"share":   func(r *Result, n int) float64 { return r.share(n) },
	"heading": func() []string { return whatIfHeading },
	"whatif":  (*Result).whatIf,
	"picture": picture, "failures": (*Report).failures, "unnamed": (*Report).unnamed,
}).ParseFS(page, "report.html"))

// noZeros makes 1h of 1h0m0s.
var noZeros = regexp.MustCompile(`([hm])0m0s$|([hm])0s$`)

// HTML writes the report as a page that needs no other file.
func (r *Report) HTML(w io.Writer) error { return report.Execute(w, r) }
