package replay

import (
	"embed"
	"html/template"
	"io"
)

//go:embed report.html
var page embed.FS

var report = template.Must(template.New("report.html").Funcs(template.FuncMap{
	"stamp": stamp, "percent": percent, "verdict": verdict, "oneLine": oneLine,
	"share":   func(r *Result, n int) float64 { return r.share(n) },
	"heading": func() []string { return whatIfHeading },
	"whatif":  (*Result).whatIf,
	"picture": picture,
}).ParseFS(page, "report.html"))

// HTML writes the report as a page that needs no other file.
func (r *Report) HTML(w io.Writer) error { return report.Execute(w, r) }
