package main

import (
	"context"
	"errors"
	"fmt"
	"go/types"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/exp/apidiff"
	"golang.org/x/mod/semver"
	"golang.org/x/tools/go/packages"
)

// changes are those of what users of the modules can name.
type changes struct{ incompatible, added []string }

// compare finds what changed for users between two working trees.
func compare(ctx context.Context, before, after repository, was, is []tree) (changes, error) {
	var c changes
	now := map[string]tree{}
	for _, t := range is {
		now[t.path] = t
	}
	for _, old := range was {
		if !old.released {
			continue
		}
		t, there := now[old.path]
		if !there || !t.released {
			c.incompatible = append(c.incompatible, fmt.Sprintf("module %s: removed", old.path))
			continue
		}
		delete(now, old.path)
		a, err := load(ctx, before, old)
		if err != nil {
			return c, err
		}
		b, err := load(ctx, after, t)
		if err != nil {
			return c, err
		}
		for _, change := range apidiff.ModuleChanges(a, b).Changes {
			text := fmt.Sprintf("module %s: %s", t.path, change.Message)
			if change.Compatible {
				c.added = append(c.added, text)
			} else {
				c.incompatible = append(c.incompatible, text)
			}
		}
	}
	for _, t := range is {
		if _, added := now[t.path]; added && t.released {
			c.added = append(c.added, fmt.Sprintf("module %s: added", t.path))
		}
	}
	return c, nil
}

// load reads the packages of a module that others may import.
func load(ctx context.Context, top repository, t tree) (*apidiff.Module, error) {
	loaded, err := packages.Load(&packages.Config{
		Context: ctx,
		Dir:     filepath.Join(string(top), filepath.FromSlash(t.dir)),
		Mode:    packages.NeedName | packages.NeedTypes,
		// The workspace of that tree, whatever the caller's: requirements of it may be known to nobody else.
		Env: append(os.Environ(), "GOWORK=", "GOFLAGS="),
	}, "./...")
	if err != nil {
		return nil, fmt.Errorf("reading module %s: %w", t.path, err)
	}
	m := &apidiff.Module{Path: t.path}
	var errs []error
	for _, p := range loaded {
		for _, e := range p.Errors {
			errs = append(errs, e)
		}
		if p.Types != nil && importable(p.Types, t.path) {
			m.Packages = append(m.Packages, p.Types)
		}
	}
	return m, errors.Join(errs...)
}

func importable(p *types.Package, modulePath string) bool {
	below := strings.TrimPrefix(p.Path(), modulePath) + "/"
	return p.Name() != "main" && !strings.Contains(below, "/internal/")
}

// allowed says whether a version may follow another with these changes: what breaks users needs a new major version, or
// a new minor one before v1, and what is new needs a new minor one. A prerelease promises nothing.
func (c changes) allowed(from, to string) error {
	if semver.Prerelease(from) != "" {
		return nil
	}
	sameMajor, sameMinor := semver.Major(from) == semver.Major(to), semver.MajorMinor(from) == semver.MajorMinor(to)
	switch unstable := semver.Major(to) == "v0"; {
	case len(c.incompatible) > 0 && sameMajor && (!unstable || sameMinor):
		needed := "major"
		if unstable {
			needed = "minor"
		}
		return fmt.Errorf("%s breaks users of %s; it must be a new %s version:\n%s", to, from, needed, strings.Join(c.incompatible, "\n"))
	case len(c.added) > 0 && sameMinor:
		return fmt.Errorf("%s adds names to %s; it must be a new minor version:\n%s", to, from, strings.Join(c.added, "\n"))
	}
	return nil
}
