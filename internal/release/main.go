// Release makes a release of every module of this repository. docs/releasing.md is its manual.
//
//	go run ./internal/release v0.2.0
//
// It works in a clone. When everything holds, the release is one commit there, with one tag for each module, and the tags
// are fetched into the repository; its working tree and branches stay as they are. With -clone it leaves the repository
// alone and the clone where it is told, which is how a release is tried.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: go run ./internal/release [flags] vMAJOR.MINOR.PATCH\n")
		flag.PrintDefaults()
	}
	r := release{today: time.Now().UTC(), out: os.Stdout}
	flag.StringVar(&r.dir, "dir", ".", "the repository")
	flag.StringVar(&r.clone, "clone", "", "leave the release in a clone in this folder, and the repository as it is")
	flag.StringVar(&r.proxy, "proxy", "", "publish the modules into a module proxy in this folder, too")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	r.version = flag.Arg(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := r.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		stop()
		os.Exit(1)
	}
}
