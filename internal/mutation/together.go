package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Building a test binary takes ten times as long as running it. So the faults of a package that lie in the bodies of
// functions are built together: each function has a copy of its body for each of its faults, and the process is told by
// its environment which of them it runs.
const (
	variable = "TOKENGUARD_FAULT"
	chosen   = "plantedFault"
)

// weave returns the source with those of the faults, by number, that lie in bodies of functions, and the numbers of them.
func weave(source string, faults map[int]*fault) (text string, woven []int, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "", source, parser.SkipObjectResolution)
	if err != nil {
		return "", nil, err
	}
	copies := map[int]string{} // by where they are put
	for n, f := range faults {
		if _, err := f.apply(source); err != nil {
			continue // it is tried alone, and named there
		}
		from := strings.Index(source, f.old)
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			begin, end := fset.Position(fn.Body.Lbrace).Offset+1, fset.Position(fn.Body.Rbrace).Offset
			if from < begin || from+len(f.old) > end || labelled(fn.Body) {
				continue
			}
			leave := ""
			if fn.Type.Results == nil {
				leave = "return\n"
			}
			body := source[begin:from] + f.new + source[from+len(f.old):end]
			copies[begin] += fmt.Sprintf("\nif %s == %d {%s\n%s}", chosen, n, body, leave)
			woven = append(woven, n)
		}
	}
	var out strings.Builder
	last := 0
	for _, at := range slices.Sorted(maps.Keys(copies)) {
		out.WriteString(source[last:at] + copies[at] + "\n")
		last = at
	}
	out.WriteString(source[last:])
	slices.Sort(woven)
	return out.String(), woven, nil
}

// labelled reports whether a body has a label, which a copy would state again.
func labelled(body *ast.BlockStmt) (found bool) {
	ast.Inspect(body, func(n ast.Node) bool {
		_, label := n.(*ast.LabeledStmt)
		found = found || label
		return !found
	})
	return found
}

// together is the test binary of a package with the faults that it can hold, by their numbers.
type together struct {
	dir, binary string
	woven       map[int]bool
}

// build weaves those faults of the list that are in the package's directory, numbered from 1, and builds its tests into
// the folder into.
func build(ctx context.Context, list []fault, dir, into string) (*together, error) {
	t := &together{dir: dir, binary: filepath.Join(into, "test.exe"), woven: map[int]bool{}}
	files := map[string]map[int]*fault{}
	for i := range list {
		if f := &list[i]; filepath.Dir(f.file) == dir {
			if files[f.file] == nil {
				files[f.file] = map[int]*fault{}
			}
			files[f.file][i+1] = f
		}
	}
	replace := map[string]string{}
	put := func(path, text string) error {
		path, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		replace[path] = filepath.Join(into, strconv.Itoa(len(replace))+".go")
		return os.WriteFile(replace[path], []byte(text), 0o600)
	}
	for _, path := range slices.Sorted(maps.Keys(files)) { // in one order, or the overlay's names change and nothing is cached
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		text, woven, err := weave(string(source), files[path])
		if err == nil {
			err = put(path, text)
		}
		if err != nil {
			return nil, err
		}
		for _, n := range woven {
			t.woven[n] = true
		}
	}
	err := put(filepath.Join(dir, "plantedfault.go"), fmt.Sprintf("package %s\n\nimport (\n\"os\"\n\"strconv\"\n)\n\nvar %s, _ = strconv.Atoi(os.Getenv(%q))\n", filepath.Base(dir), chosen, variable))
	if err != nil {
		return nil, err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(into, "overlay.json")
	if err := os.WriteFile(path, overlay, 0o600); err != nil {
		return nil, err
	}
	output, err := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", path, "-o", t.binary, "./"+dir).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("the faults of %s do not build together: %w\n%s", dir, err, output)
	}
	return t, nil
}

// caught runs the tests with the fault of that number, 0 for none, and reports whether they fail.
func (t *together) caught(ctx context.Context, n int) (failed bool, output []byte, err error) {
	bounded, cancel := context.WithTimeout(ctx, timeout+time.Minute) // a package may loop before its tests begin
	defer cancel()
	cmd := exec.CommandContext(bounded, t.binary, "-test.failfast", "-test.timeout", timeout.String())
	cmd.Dir, cmd.Env = t.dir, append(os.Environ(), variable+"="+strconv.Itoa(n))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	var exit *exec.ExitError
	if ctx.Err() == nil && errors.As(err, &exit) {
		return true, out.Bytes(), nil
	}
	return false, out.Bytes(), err
}
