package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// release is one, as it was asked for.
type release struct {
	dir, version string
	clone, proxy string // empty: temporary
	today        time.Time
	out          io.Writer
}

func (r *release) run(ctx context.Context) error {
	if semver.Canonical(r.version) != r.version {
		return fmt.Errorf("%q is no version: write vMAJOR.MINOR.PATCH", r.version)
	}
	temp, err := os.MkdirTemp("", "release")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)

	top, err := repository(r.dir).git(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	repo := repository(top)
	commit, err := repo.releasable(ctx)
	if err != nil {
		return err
	}
	last, err := repo.previous(ctx, commit)
	if err != nil {
		return err
	}
	if last != "" && semver.Compare(r.version, last) <= 0 {
		return fmt.Errorf("%s does not come after %s, the last release", r.version, last)
	}

	at := filepath.Join(temp, "clone")
	if r.clone != "" {
		if at, err = filepath.Abs(r.clone); err != nil {
			return err
		}
	}
	work, err := repo.cloneTo(ctx, at, commit)
	if err != nil {
		return err
	}
	all, err := modules(ctx, work)
	if err != nil {
		return err
	}
	var tags []string
	for _, t := range all {
		if !t.released {
			continue
		}
		if err := module.Check(t.path, r.version); err != nil {
			return err
		}
		if _, err := work.git(ctx, "rev-parse", "--verify", "--quiet", "refs/tags/"+t.tag(r.version)); err == nil {
			return fmt.Errorf("the tag %s exists already", t.tag(r.version))
		}
		tags = append(tags, t.tag(r.version))
	}
	if err := r.write(ctx, work, all, temp); err != nil {
		return err
	}
	if err := r.compatible(ctx, work, all, last, filepath.Join(temp, "last")); err != nil {
		return err
	}
	for _, tag := range tags {
		if _, err := work.git(ctx, "tag", "--annotate", "--message", tag, tag); err != nil {
			return err
		}
	}
	if r.clone != "" {
		fmt.Fprintf(r.out, "%s is in %s, tagged %s\n", r.version, at, strings.Join(tags, " "))
		return nil
	}
	fetch := []string{"fetch", "--quiet", "--atomic", "--no-tags", at}
	for _, tag := range tags {
		fetch = append(fetch, "refs/tags/"+tag+":refs/tags/"+tag)
	}
	if _, err := repo.git(ctx, fetch...); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "%s is tagged. Read it with git show %s, and publish it:\n\n    git merge --ff-only %s\n    git push --atomic origin HEAD %s\n\nor take it back: git tag --delete %s\n",
		r.version, r.version, r.version, strings.Join(tags, " "), strings.Join(tags, " "))
	return nil
}

// write makes the commit of the release.
func (r *release) write(ctx context.Context, work repository, all []tree, temp string) error {
	changelog := filepath.Join(string(work), "CHANGELOG.md")
	text, err := os.ReadFile(changelog)
	if err != nil {
		return fmt.Errorf("a release needs a changelog: %w", err)
	}
	notes, err := releaseNotes(string(text), r.version, r.today)
	if err != nil {
		return err
	}
	if err := os.WriteFile(changelog, []byte(notes), 0o644); err != nil {
		return err
	}
	if err := replaceInWorkspace(work, all, r.version); err != nil {
		return err
	}
	proxy := filepath.Join(temp, "proxy")
	if r.proxy != "" {
		if proxy, err = filepath.Abs(r.proxy); err != nil {
			return err
		}
	}
	env, err := proxied(ctx, work, proxy, filepath.Join(temp, "cache"), all)
	if err != nil {
		return err
	}
	// Each after those that it needs, whose hashes its go.sum lists.
	for _, t := range all {
		if err := t.require(work, r.version); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, "go", "mod", "tidy")
		cmd.Dir, cmd.Env = filepath.Join(string(work), filepath.FromSlash(t.dir)), env
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go mod tidy in %s: %w\n%s", t.dir, err, out)
		}
		if !t.released {
			continue
		}
		if err := t.publish(work, proxy, r.version, r.today.Format(time.RFC3339)); err != nil {
			return fmt.Errorf("module %s: %w", t.path, err)
		}
	}
	// A module that needs nothing may have had no go.sum before.
	if _, err := work.git(ctx, "add", "--all"); err != nil {
		return err
	}
	_, err = work.git(ctx, "commit", "--quiet", "--message", "all: "+r.version)
	return err
}

// compatible holds the release against the last one.
func (r *release) compatible(ctx context.Context, work repository, all []tree, last, dir string) error {
	if last == "" {
		fmt.Fprintln(r.out, "the first release: there is none to be compatible with")
		return nil
	}
	before, err := work.cloneTo(ctx, dir, last)
	if err != nil {
		return err
	}
	was, err := modules(ctx, before)
	if err != nil {
		return err
	}
	c, err := compare(ctx, before, work, was, all)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.out, "since %s: %d incompatible changes, %d additions\n", last, len(c.incompatible), len(c.added))
	return c.allowed(last, r.version)
}

// proxied is the environment of go commands to which the proxy in a folder comes first, before the machine's module cache
// and what the user has set. The cache is one of their own: an unpublished version must not stay in the user's.
func proxied(ctx context.Context, work repository, proxy, cache string, all []tree) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOMODCACHE", "GOPROXY", "GONOSUMDB")
	cmd.Dir = string(work)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	lines := strings.Split(string(out), "\n")
	if len(lines) < 3 {
		return nil, errors.New("go env says less than it was asked for")
	}
	private := []string{lines[2]}
	for _, t := range all {
		private = append(private, t.path)
	}
	return append(os.Environ(),
		"GOWORK=off", "GOFLAGS=-modcacherw", "GOMODCACHE="+cache, "GONOSUMDB="+strings.Join(private, ","), "GONOPROXY=none",
		"GOPROXY="+fileURL(proxy)+","+fileURL(filepath.Join(lines[0], "cache", "download"))+","+lines[1]), nil
}

func fileURL(path string) string { return "file://" + filepath.ToSlash(path) }
