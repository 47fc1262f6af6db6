package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"golang.org/x/mod/semver"
)

// repository is a folder with a git repository and its working tree.
type repository string

func (r repository) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = string(r)
	var out, failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failed
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(failed.Bytes()))
	}
	return strings.TrimSpace(out.String()), nil
}

// releasable returns the commit to release, and why it cannot be.
func (r repository) releasable(ctx context.Context) (commit string, err error) {
	changed, err := r.git(ctx, "status", "--porcelain", "--untracked-files=all")
	if err != nil {
		return "", err
	}
	if changed != "" {
		return "", fmt.Errorf("the working tree is not clean: commit or stash these first:\n%s", changed)
	}
	// Without the history the last release cannot be seen, and any version would look like the first.
	if shallow, err := r.git(ctx, "rev-parse", "--is-shallow-repository"); err != nil || shallow != "false" {
		return "", errors.Join(errors.New("the repository is shallow: git fetch --unshallow --tags first"), err)
	}
	return r.git(ctx, "rev-parse", "HEAD")
}

// previous returns the highest release, empty before the first. It must be part of what is released now: otherwise the
// commit that it made was never merged, and its section of the changelog would be released twice.
func (r repository) previous(ctx context.Context, commit string) (string, error) {
	tags, err := r.git(ctx, "tag", "--list", "v*")
	if err != nil {
		return "", err
	}
	last := ""
	for tag := range strings.FieldsSeq(tags) {
		if semver.IsValid(tag) && semver.Compare(tag, last) > 0 {
			last = tag
		}
	}
	if last == "" {
		return "", nil
	}
	if _, err := r.git(ctx, "merge-base", "--is-ancestor", last, commit); err != nil {
		return "", fmt.Errorf("%s is not part of HEAD: merge it first", last)
	}
	return last, nil
}

// cloneTo makes a clone at the commit, with the author of the repository.
func (r repository) cloneTo(ctx context.Context, dir, commit string) (repository, error) {
	if _, err := r.git(ctx, "clone", "--quiet", "--no-checkout", ".", dir); err != nil {
		return "", err
	}
	c := repository(dir)
	for _, key := range []string{"user.name", "user.email"} {
		// A missing one is git's to complain of, when it commits.
		if value, err := r.git(ctx, "config", key); err == nil {
			if _, err := c.git(ctx, "config", key, value); err != nil {
				return "", err
			}
		}
	}
	_, err := c.git(ctx, "checkout", "--quiet", "--detach", commit)
	return c, err
}
