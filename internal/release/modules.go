package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// tree is a module of the repository.
type tree struct {
	dir      string // below the top folder, with slashes; "." at the top
	path     string
	needs    []string // modules of this repository
	released bool     // false: it only serves this repository, as its go.mod says
}

// tag is how the go command finds the version of a module in a repository.
func (t tree) tag(version string) string { return path.Join(t.dir, version) }

// unreleasedMark begins the comment over the module line of a module that is not for users.
const unreleasedMark = "// Unreleased:"

// modules returns the modules of the working tree, each after those that it needs.
func modules(ctx context.Context, repo repository) ([]tree, error) {
	// Not go.work: a module that somebody forgot to list there has users, too.
	files, err := repo.git(ctx, "ls-files", "go.mod", "*/go.mod")
	if err != nil {
		return nil, err
	}
	all := map[string]tree{}
	var order []string
	for file := range strings.Lines(files) {
		file = strings.TrimSpace(file)
		name := filepath.Join(string(repo), filepath.FromSlash(file))
		f, err := readModFile(name)
		if err != nil {
			return nil, err
		}
		t := tree{dir: path.Dir(file), path: f.Module.Mod.Path, released: true}
		for _, c := range f.Module.Syntax.Before {
			t.released = t.released && !strings.HasPrefix(c.Token, unreleasedMark)
		}
		for _, r := range f.Require {
			t.needs = append(t.needs, r.Mod.Path)
		}
		all[t.path] = t
		order = append(order, t.path)
	}
	if len(order) == 0 {
		return nil, fmt.Errorf("no go.mod in %s", repo)
	}
	var sorted []tree
	state := map[string]int{} // 1: being visited, 2: sorted
	var visit func(string) error
	visit = func(p string) error {
		t, ours := all[p]
		if !ours || state[p] == 2 {
			return nil
		}
		if state[p] == 1 {
			return fmt.Errorf("module %s needs itself, by way of others of this repository", p)
		}
		state[p] = 1
		t.needs = slices.DeleteFunc(t.needs, func(n string) bool { _, ours := all[n]; return !ours })
		for _, n := range t.needs {
			if t.released && !all[n].released {
				return fmt.Errorf("%s is released and needs %s, which is not", p, n)
			}
			if err := visit(n); err != nil {
				return err
			}
		}
		state[p] = 2
		sorted = append(sorted, t)
		return nil
	}
	for _, p := range order {
		if err := visit(p); err != nil {
			return nil, err
		}
	}
	return sorted, nil
}

func readModFile(name string) (*modfile.File, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	f, err := modfile.Parse(name, data, nil)
	if err == nil && f.Module == nil {
		err = fmt.Errorf("%s has no module line", name)
	}
	return f, err
}

// require sets the version of the modules of this repository in a module's go.mod. Replacements of them go: the go command
// ignores those of a dependency and refuses to install a command that has any.
func (t tree) require(top repository, version string) error {
	name := filepath.Join(string(top), filepath.FromSlash(t.dir), "go.mod")
	f, err := readModFile(name)
	if err != nil {
		return err
	}
	for _, p := range t.needs {
		if err := f.AddRequire(p, version); err != nil {
			return err
		}
		for _, r := range slices.Clone(f.Replace) {
			if r.Old.Path == p {
				if err := f.DropReplace(r.Old.Path, r.Old.Version); err != nil {
					return err
				}
			}
		}
	}
	f.Cleanup()
	if t.released && len(f.Replace) > 0 {
		return fmt.Errorf("%s replaces %s: nobody could go install a command of this module", name, f.Replace[0].Old.Path)
	}
	data, err := f.Format()
	if err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}

// replaceInWorkspace points go.work's replacements at the version that the modules require now.
func replaceInWorkspace(top repository, all []tree, version string) error {
	name := filepath.Join(string(top), "go.work")
	data, err := os.ReadFile(name)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	f, err := modfile.ParseWork(name, data, nil)
	if err != nil {
		return err
	}
	for _, r := range f.Replace {
		if slices.ContainsFunc(all, func(t tree) bool { return t.path == r.Old.Path }) {
			// In place, so that the comment over the block stays.
			for i, token := range r.Syntax.Token {
				if token == r.Old.Version {
					r.Syntax.Token[i] = version
				}
			}
		}
	}
	return os.WriteFile(name, modfile.Format(f.Syntax), 0o644)
}

// publish puts the module as it is in the working tree into a module proxy in a folder.
func (t tree) publish(top repository, proxy, version string, written string) error {
	dir := filepath.Join(string(top), filepath.FromSlash(t.dir))
	escaped, err := module.EscapePath(t.path)
	if err != nil {
		return err
	}
	at := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	for suffix, data := range map[string][]byte{
		"list":            []byte(version + "\n"),
		version + ".info": fmt.Appendf(nil, `{"Version":%q,"Time":%q}`, version, written),
		version + ".mod":  mod,
	} {
		if err := os.WriteFile(filepath.Join(at, suffix), data, 0o644); err != nil {
			return err
		}
	}
	files, err := t.files(top, dir)
	if err != nil {
		return err
	}
	out, err := os.Create(filepath.Join(at, version+".zip"))
	if err != nil {
		return err
	}
	if err := zip.Create(out, module.Version{Path: t.path, Version: version}, files); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

// files are those of the module's zip: of its folder without the modules in it and, as the go command has it, the
// repository's LICENSE where the module has none of its own.
func (t tree) files(top repository, dir string) ([]zip.File, error) {
	checked, err := zip.CheckDir(dir)
	if err != nil {
		return nil, err
	}
	var files []zip.File
	licensed := false
	for _, name := range checked.Valid {
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return nil, err
		}
		files = append(files, file{filepath.ToSlash(rel), name})
		licensed = licensed || rel == "LICENSE"
	}
	license := filepath.Join(string(top), "LICENSE")
	if _, err := os.Stat(license); err == nil && !licensed {
		files = append(files, file{"LICENSE", license})
	}
	return files, nil
}

type file struct{ path, name string }

func (f file) Path() string                 { return f.path }
func (f file) Lstat() (os.FileInfo, error)  { return os.Lstat(f.name) }
func (f file) Open() (io.ReadCloser, error) { return os.Open(f.name) }
