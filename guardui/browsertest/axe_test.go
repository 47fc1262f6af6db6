package browsertest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// axe-core is fetched from npm, and is no part of this repository: it is under the MPL-2.0.
const (
	axePackage   = "axe-core@4.14.1"
	axeIntegrity = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==" // SHA-512
)

// axeScript is the program, fetched once.
var axeScript = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("TOKENGUARD_AXE"); path != "" { // the package's file, where npm is out of reach
		return unpack(path)
	}
	dir, err := os.MkdirTemp("", "axe")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	pack := exec.Command("npm", "pack", axePackage, "--silent")
	pack.Dir = dir
	if out, err := pack.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm pack: %w: %s", err, out)
	}
	return unpack(filepath.Join(dir, strings.ReplaceAll(axePackage, "@", "-")+".tgz"))
})

func unpack(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if sum := sha512.Sum512(data); base64.StdEncoding.EncodeToString(sum[:]) != axeIntegrity {
		return "", errors.New("it is not the package that the tests were written with")
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	files := tar.NewReader(unzipped)
	for {
		switch file, err := files.Next(); {
		case err != nil:
			return "", err
		case file.Name == "package/axe.min.js":
			script, err := io.ReadAll(files)
			return string(script), err
		}
	}
}

// accessible runs axe-core on the page in the tab, with all its rules.
func accessible(ctx context.Context, t *testing.T) {
	t.Helper()
	script, err := axeScript()
	if err != nil {
		fmt.Println("SKIP: axe-core cannot be had on this machine:", err)
		return
	}
	do(ctx, t, chromedp.Evaluate[chromedp.Void](script))
	do(ctx, t, chromedp.Evaluate[chromedp.Void](`window.axeFound = null; axe.run({ resultTypes: ["violations"] }).then((r) => {
		window.axeFound = r.violations.flatMap((v) => v.nodes.map((n) => v.id + " at " + n.target + ": " + n.failureSummary.replace(/\s+/g, " ")));
	}, (e) => { window.axeFound = ["axe failed: " + e]; })`))
	require.True(t, get(ctx, t, chromedp.Poll[bool](`window.axeFound !== null`)))
	assert.Empty(t, get(ctx, t, chromedp.Evaluate[[]string](`window.axeFound`)))
}

// axe finds what is wrong: a page without a name for a field is one that it complains of.
func TestAxeComplains(t *testing.T) {
	script, err := axeScript()
	if err != nil {
		fmt.Println("SKIP: axe-core cannot be had on this machine:", err)
		t.Skip(err)
	}
	ctx, _ := browser(t)
	_, url := busy(t)
	do(ctx, t, chromedp.Navigate(url), connected, chromedp.Evaluate[chromedp.Void](script),
		chromedp.Evaluate[chromedp.Void](`document.querySelector("main").insertAdjacentHTML("beforeend", "<input>");
		axe.run().then((r) => { window.axeFound = r.violations.map((v) => v.id) })`))
	require.True(t, get(ctx, t, chromedp.Poll[bool](`window.axeFound !== undefined`)))
	assert.Contains(t, get(ctx, t, chromedp.Evaluate[[]string](`window.axeFound`)), "label")
}
