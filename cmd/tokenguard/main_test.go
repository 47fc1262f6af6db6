package main

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tokenguard": func() { os.Exit(run()) },
		"issue":      issue,
		"biglog":     biglog,
		"look":       look,
		"later":      later,
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
		Condition:           func(name string) (bool, error) { return name == "root" && os.Geteuid() == 0, nil },
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("DATA", data)
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			env.Setenv("USER", "tester")
			// Under the race detector each of hundreds of processes would sleep for a second before it ends.
			env.Setenv("GORACE", cmp.Or(os.Getenv("GORACE"), "atexit_sleep_ms=20"))
			server, err := miniredis.Run()
			if err != nil {
				return err
			}
			env.Defer(server.Close)
			env.Setenv("REDIS", "redis://"+server.Addr()+"/0")
			up := httptest.NewServer(http.HandlerFunc(upstream))
			env.Defer(up.Close)
			env.Setenv("UPSTREAM", up.URL)
			return nil
		},
	})
}

// upstream answers token requests in the ways in which upstreams do.
func upstream(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/token":
		fmt.Fprint(w, `{"access_token":"made-up-token","expires_in":3600}`)
	case "/page":
		fmt.Fprint(w, "<html><head><title>Welcome</title></head><body>Our API is documented here.</body></html>")
	case "/limited":
		w.Header().Set("Retry-After", "120")
		http.Error(w, `{"error":{"message":"Too many requests"}}`, http.StatusTooManyRequests)
	case "/banned":
		http.Error(w, `{"error":{"message":"Your account has been suspended"}}`, http.StatusForbidden)
	}
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

// later makes a state file one that a later version of the library wrote: of another document, or with the argument
// format of another format.
func later() {
	data, err := os.ReadFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	head, document, _ := strings.Cut(string(data), "\n\n")
	lines := strings.Split(head, "\n")
	document = regexp.MustCompile(`"version":\d+`).ReplaceAllString(document, `"version":99`)
	if len(os.Args) > 2 {
		first := "tokenguard-state 99"
		lines[0] = fmt.Sprintf("%s %08x", first, crc32.Checksum([]byte(first), crc32.MakeTable(crc32.Castagnoli)))
	}
	lines[5] = fmt.Sprintf("length: %d", len(document))
	before := strings.Join(lines[:6], "\n") + "\n"
	sum := sha256.Sum256([]byte(before + document))
	if err := os.WriteFile(os.Args[1], fmt.Appendf(nil, "%ssha256: %x\n\n%s", before, sum, document), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
