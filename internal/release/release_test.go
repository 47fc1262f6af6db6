package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const lib = "github.com/example/lib"

// library is a repository of three modules that need each other, and one that is not for users.
var library = map[string]string{
	"go.mod":          "module " + lib + "\n\ngo 1.26.0\n",
	"lib.go":          "// Package lib is one.\npackage lib\n\n// Answer is known.\nfunc Answer() int { return 42 }\n",
	"LICENSE":         "as you like\n",
	"CHANGELOG.md":    "# Changelog\n\n## Unreleased\n\n- Answers.\n",
	"store/go.mod":    "module " + lib + "/store\n\ngo 1.26.0\n\nrequire " + lib + " v0.0.0\n",
	"store/store.go":  "package store\n\nimport \"" + lib + "\"\n\nvar Kept = lib.Answer()\n",
	"cmd/ask/go.mod":  "module " + lib + "/cmd/ask\n\ngo 1.26.0\n\nrequire (\n\t" + lib + " v0.0.0\n\t" + lib + "/store v0.0.0\n)\n",
	"cmd/ask/main.go": "package main\n\nimport (\n\t\"" + lib + "\"\n\t\"" + lib + "/store\"\n)\n\nfunc main() { println(lib.Answer(), store.Kept) }\n",
	"bench/go.mod":    "// Unreleased: it measures.\nmodule " + lib + "/bench\n\ngo 1.26.0\n\nrequire " + lib + " v0.0.0\n",
	"bench/bench.go":  "package bench\n\nimport \"" + lib + "\"\n\nvar Bench = lib.Answer()\n",
	"go.work": "go 1.26.0\n\nuse (\n\t.\n\t./bench\n\t./cmd/ask\n\t./store\n)\n\n// Until released.\nreplace (\n\t" +
		lib + " v0.0.0 => .\n\t" + lib + "/store v0.0.0 => ./store\n)\n",
}

// newLibrary commits library, with changes, to a new repository. Nothing of it reaches a network.
func newLibrary(t *testing.T, changed map[string]string) repository {
	t.Helper()
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOSUMDB", "off")
	t.Setenv("GOFLAGS", "")
	t.Setenv("GOWORK", "")
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	repo := repository(t.TempDir())
	git(t, repo, "init", "--quiet", "--initial-branch=main")
	git(t, repo, "config", "user.name", "tester")
	git(t, repo, "config", "user.email", "tester@example.test")
	write(t, repo, library)
	write(t, repo, changed)
	commit(t, repo)
	return repo
}

func git(t *testing.T, repo repository, args ...string) string {
	t.Helper()
	out, err := repo.git(t.Context(), args...)
	require.NoError(t, err)
	return out
}

// write writes files; an empty one is removed.
func write(t *testing.T, repo repository, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(string(repo), name)
		if text == "" {
			require.NoError(t, os.Remove(name))
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
}

func commit(t *testing.T, repo repository) {
	t.Helper()
	git(t, repo, "add", "--all")
	git(t, repo, "commit", "--quiet", "--message", "work")
}

func attempt(t *testing.T, repo repository, version string) error {
	t.Helper()
	return (&release{dir: string(repo), version: version, today: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), out: io.Discard}).run(t.Context())
}

// released makes a release and merges it.
func released(t *testing.T, repo repository, version string) {
	t.Helper()
	require.NoError(t, attempt(t, repo, version))
	git(t, repo, "merge", "--quiet", "--ff-only", version)
}

func TestRelease(t *testing.T) {
	repo := newLibrary(t, nil)
	head, branches := git(t, repo, "rev-parse", "HEAD"), git(t, repo, "branch", "--list", "--all")
	require.NoError(t, attempt(t, repo, "v0.1.0"))

	assert.Equal(t, head, git(t, repo, "rev-parse", "HEAD"))
	assert.Equal(t, branches, git(t, repo, "branch", "--list", "--all"))
	assert.Empty(t, git(t, repo, "status", "--porcelain"))
	assert.Equal(t, "cmd/ask/v0.1.0\nstore/v0.1.0\nv0.1.0", git(t, repo, "tag"))
	for _, tag := range strings.Fields(git(t, repo, "tag")) {
		assert.Equal(t, git(t, repo, "rev-parse", "v0.1.0^{commit}"), git(t, repo, "rev-parse", tag+"^{commit}"))
	}
	assert.Equal(t, head, git(t, repo, "rev-parse", "v0.1.0^"))
	assert.Equal(t, "# Changelog\n\n## Unreleased\n\n## v0.1.0 - 2026-03-01\n\n- Answers.", git(t, repo, "show", "v0.1.0:CHANGELOG.md"))
	for _, name := range []string{"store/go.mod", "cmd/ask/go.mod", "bench/go.mod", "go.work"} {
		text := git(t, repo, "show", "v0.1.0:"+name)
		assert.NotContains(t, text, "v0.0.0", name)
		assert.Contains(t, text, lib+" v0.1.0", name)
	}
	assert.Contains(t, git(t, repo, "show", "v0.1.0:go.work"), "// Until released.")
	assert.Contains(t, git(t, repo, "show", "v0.1.0:bench/go.mod"), "// Unreleased: it measures.")
}

// What the go command makes of the tags is what the release's go.sum files say, and a stranger can install from them.
func TestTagsAreWhatTheHashesSay(t *testing.T) {
	repo := newLibrary(t, nil)
	released(t, repo, "v0.1.0")
	t.Setenv("GIT_CONFIG_COUNT", "1")
	t.Setenv("GIT_CONFIG_KEY_0", "url.file://"+filepath.ToSlash(string(repo))+".insteadOf")
	t.Setenv("GIT_CONFIG_VALUE_0", "https://"+lib)
	work := t.TempDir()
	env := append(os.Environ(), "GOPROXY=direct", "GOWORK=off", "GOFLAGS=-modcacherw", "GOMODCACHE="+filepath.Join(work, "cache"), "GOBIN="+work)
	run := func(dir string, args ...string) string {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	run(work, "go", "install", lib+"/cmd/ask@v0.1.0")
	assert.Equal(t, "42 42\n", run(work, filepath.Join(work, "ask")))
	for _, dir := range []string{".", "store", "cmd/ask", "bench"} {
		dir = filepath.Join(string(repo), dir)
		run(dir, "go", "mod", "tidy", "-diff") // also holds what it downloads against go.sum
		run(dir, "go", "vet", "./...")
		run(dir, "go", "mod", "verify")
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change  map[string]string // committed
		prepare func(*testing.T, repository)
		version string // v0.1.0 if empty
		want    string
	}{
		"changed":          {prepare: func(t *testing.T, r repository) { write(t, r, map[string]string{"lib.go": "package lib"}) }, want: "lib.go"},
		"untracked":        {prepare: func(t *testing.T, r repository) { write(t, r, map[string]string{"new/x.go": "package x"}) }, want: "new/x.go"},
		"no version":       {version: "0.1.0", want: "is no version"},
		"short version":    {version: "v0.1", want: "is no version"},
		"build metadata":   {version: "v0.1.0+a", want: "is no version"},
		"another path":     {version: "v2.0.0", want: "v0 or v1"},
		"no changelog":     {change: map[string]string{"CHANGELOG.md": ""}, want: "needs a changelog"},
		"no section":       {change: map[string]string{"CHANGELOG.md": "# Changelog\n"}, want: "no section"},
		"empty section":    {change: map[string]string{"CHANGELOG.md": "# Changelog\n\n## Unreleased\n\n## v0.0.1 - 2025-01-01\n\n- Old.\n"}, want: "says nothing"},
		"written already":  {change: map[string]string{"CHANGELOG.md": "# C\n\n## Unreleased\n\n- a\n\n## v0.1.0 - 2025-01-01\n"}, want: "already"},
		"nested tag":       {prepare: func(t *testing.T, r repository) { git(t, r, "tag", "store/v0.1.0") }, want: "store/v0.1.0 exists"},
		"replaced":         {change: map[string]string{"store/go.mod": library["store/go.mod"] + "\nreplace example.test/x => ../x\n"}, want: "replaces example.test/x"},
		"needs unreleased": {change: map[string]string{"store/go.mod": library["store/go.mod"] + "\nrequire " + lib + "/bench v0.0.0\n"}, want: "bench, which is not"},
		"cycle":            {change: map[string]string{"go.mod": library["go.mod"] + "\nrequire " + lib + "/store v0.0.0\n"}, want: "needs itself"},
		"unknown import":   {change: map[string]string{"store/store.go": "package store\n\nimport _ \"" + lib + "/absent\"\n"}, want: "go mod tidy in store"},
		"no author": {prepare: func(t *testing.T, r repository) {
			git(t, r, "config", "--unset", "user.name")
			git(t, r, "config", "user.useConfigOnly", "true")
			t.Setenv("GIT_AUTHOR_NAME", "")
			t.Setenv("GIT_COMMITTER_NAME", "")
		}, want: "ident"},
	} {
		t.Run(name, func(t *testing.T) {
			repo := newLibrary(t, c.change)
			before := git(t, repo, "tag")
			if c.prepare != nil {
				c.prepare(t, repo)
				before = git(t, repo, "tag")
			}
			status := git(t, repo, "status", "--porcelain")
			version := c.version
			if version == "" {
				version = "v0.1.0"
			}
			assert.ErrorContains(t, attempt(t, repo, version), c.want)
			assert.Equal(t, before, git(t, repo, "tag"), "a refused release leaves no tag")
			assert.Equal(t, status, git(t, repo, "status", "--porcelain"))
		})
	}
}

func TestOrder(t *testing.T) {
	repo := newLibrary(t, nil)
	require.NoError(t, attempt(t, repo, "v0.2.0"))
	assert.ErrorContains(t, attempt(t, repo, "v0.3.0"), "v0.2.0 is not part of HEAD")
	git(t, repo, "merge", "--quiet", "--ff-only", "v0.2.0")
	assert.ErrorContains(t, attempt(t, repo, "v0.3.0"), "says nothing under Unreleased")
	for _, version := range []string{"v0.2.0", "v0.1.9", "v0.2.0-rc.1"} {
		assert.ErrorContains(t, attempt(t, repo, version), "does not come after v0.2.0")
	}
	shallow := repository(filepath.Join(t.TempDir(), "shallow"))
	git(t, repo, "clone", "--quiet", "--depth=1", "--no-tags", "file://"+string(repo), string(shallow))
	assert.ErrorContains(t, attempt(t, shallow, "v0.1.0"), "shallow")
}

// Each change against the versions that it may be released as, after v0.1.0 and after v1.0.0.
func TestVersionsFollowTheChanges(t *testing.T) {
	change := map[string]map[string]string{
		"nothing": {"lib.go": strings.Replace(library["lib.go"], "42", "40 + 2", 1)},
		"hidden":  {"internal/x/x.go": "package x\n\nfunc New() {}\n", "cmd/ask/more.go": "package main\n\nfunc More() {}\n"},
		"added":   {"lib.go": library["lib.go"] + "\n// More is more.\nfunc More() {}\n"},
		"nested":  {"store/more.go": "package store\n\nfunc More() {}\n"},
		"broken":  {"lib.go": strings.Replace(library["lib.go"], "Answer() int", "Answer(...int) int", 1)},
		"removed": {
			"store/store.go":  "package store\n\ntype T int\n",
			"cmd/ask/main.go": strings.Replace(library["cmd/ask/main.go"], "store.Kept", "0", 1) + "\nvar _ store.T\n",
		},
		"module": {"extra/go.mod": "module " + lib + "/extra\n\ngo 1.26.0\n", "extra/x.go": "package extra\n"},
	}
	next := map[string][]string{"v0.1.0": {"v0.1.1", "v0.2.0"}, "v1.0.0": {"v1.0.1", "v1.1.0"}}
	for first, expected := range map[string]map[string]string{ // the versions that are refused
		"v0.1.0": {
			"nothing": "", "hidden": "", "added": "v0.1.1", "nested": "v0.1.1", "broken": "v0.1.1", "removed": "v0.1.1", "module": "v0.1.1",
		},
		"v1.0.0": {
			"nothing": "", "hidden": "", "added": "v1.0.1", "nested": "v1.0.1", "broken": "v1.0.1 v1.1.0", "removed": "v1.0.1 v1.1.0", "module": "v1.0.1",
		},
	} {
		repo := newLibrary(t, nil)
		released(t, repo, first)
		for name, refused := range expected {
			git(t, repo, "reset", "--quiet", "--hard", first)
			write(t, repo, change[name])
			log := git(t, repo, "show", "HEAD:CHANGELOG.md")
			write(t, repo, map[string]string{"CHANGELOG.md": strings.Replace(log, "## Unreleased\n", "## Unreleased\n\n- New.\n", 1)})
			commit(t, repo)
			for _, version := range next[first] {
				err := attempt(t, repo, version)
				if strings.Contains(refused, version) {
					assert.ErrorContains(t, err, "must be a new", "%s after %s: %s", version, first, name)
					continue
				}
				assert.NoError(t, err, "%s after %s: %s", version, first, name)
				for tag := range strings.FieldsSeq(git(t, repo, "tag", "--points-at", version+"^{commit}")) {
					git(t, repo, "tag", "--delete", tag)
				}
			}
		}
	}
}

func TestCloneLeavesTheRepositoryAlone(t *testing.T) {
	repo := newLibrary(t, nil)
	dir := t.TempDir()
	r := &release{dir: string(repo), version: "v0.1.0", out: io.Discard, clone: filepath.Join(dir, "clone"), proxy: filepath.Join(dir, "proxy")}
	require.NoError(t, r.run(t.Context()))
	assert.Empty(t, git(t, repo, "tag"))
	assert.Equal(t, "cmd/ask/v0.1.0\nstore/v0.1.0\nv0.1.0", git(t, repository(r.clone), "tag"))
	for _, suffix := range []string{"list", "v0.1.0.info", "v0.1.0.mod", "v0.1.0.zip"} {
		assert.FileExists(t, filepath.Join(r.proxy, lib, "store", "@v", suffix))
	}
}
