package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tokenguard": func() { os.Exit(run()) },
		"issue":      issue,
		"biglog":     biglog,
		"look":       look,
	})
}

func TestScripts(t *testing.T) {
	data, err := filepath.Abs("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("DATA", data)
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			env.Setenv("USER", "tester")
			return nil
		},
	})
}

// issue is an upstream's command line client: each run leaves a line in the file "runs" and prints another token.
func issue() {
	runs, err := os.OpenFile("runs", os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err == nil {
		_, err = runs.WriteString("run\n")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	info, _ := runs.Stat()
	fmt.Printf("made-up-token-%d\n", info.Size()/int64(len("run\n")))
}

// biglog prints as many calls as its argument says, one every 10 s, by 50 callers.
func biglog() {
	var n int
	_, _ = fmt.Sscan(os.Args[1], &n)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		fmt.Fprintf(out, `{"at":%q,"caller":"svc-%d"}`+"\n", at.Format(time.RFC3339), i%50)
		at = at.Add(10 * time.Second)
	}
}

// look prints a page.
func look() {
	jar, _ := cookiejar.New(nil) // as a browser has
	resp, err := (&http.Client{Jar: jar}).Get(os.Args[1])
	if err == nil {
		_, err = io.Copy(os.Stdout, resp.Body)
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
