package main

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

const unreleased = "## Unreleased\n"

// releaseNotes makes what is unreleased the section of the version, below an empty one for what comes next.
func releaseNotes(changelog, version string, today time.Time) (string, error) {
	if strings.Contains(changelog, "\n## "+version+" ") {
		return "", fmt.Errorf("CHANGELOG.md has a section for %s already", version)
	}
	before, after, found := strings.Cut(changelog, "\n"+unreleased)
	if !found {
		return "", errors.New(`CHANGELOG.md has no section "## Unreleased"`)
	}
	notes, older, more := strings.Cut(after, "\n## ")
	if strings.TrimSpace(notes) == "" {
		return "", errors.New("CHANGELOG.md says nothing under Unreleased: users read there what a release brings")
	}
	section := fmt.Sprintf("## %s - %s\n\n%s\n", version, today.Format(time.DateOnly), strings.TrimSpace(notes))
	if more {
		section += "\n## " + older
	}
	return before + "\n" + unreleased + "\n" + section, nil
}
