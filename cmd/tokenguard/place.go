package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/redisstore"
)

// place is where a state is: a file, the one of a name in the user's folder, or under a name on a server.
type place struct {
	name, file, server, prefix string
	shared                     bool // the file is for the users of one group

	path   string // of the file, whole; "" on a server
	client *redis.Client
	store  *redisstore.Store
}

func (p *place) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&p.name, "name", p.name, "upstream and account: the guards' `NAME`")
	flags.StringVar(&p.file, "state", "", "state `FILE` (default: one named after --name in your state folder)")
	serverFlags(cmd, &p.server, &p.prefix)
	completeNames(cmd, "name")
	complete(cmd, "state")
}

// writerFlags are flags for a command that writes to the state.
func (p *place) writerFlags(cmd *cobra.Command) {
	p.flags(cmd)
	cmd.Flags().BoolVar(&p.shared, "shared", false, "the state file is for all users of its folder's group; everybody on it must say so")
}

func serverFlags(cmd *cobra.Command, server, prefix *string) {
	flags := cmd.Flags()
	flags.StringVar(server, "redis", "", "`URL` of the Redis or Valkey that holds the state: redis://USER:PASSWORD@HOST:PORT/DB, rediss:// with TLS")
	flags.StringVar(prefix, "prefix", "", "of the keys in Redis (default: the library's)")
	completeWords(cmd, "redis", "redis://localhost:6379/0")
	completeWords(cmd, "prefix", "tokenguard:")
}

// fileArg checks the arguments of a command that takes a state file as its only one.
func (p *place) fileArg(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage("%s takes one state; %d files given", cmd.Name(), len(args))
	}
	if len(args) == 1 {
		if p.name != "" || p.server != "" || p.file != "" {
			return usage("%s needs either a state file or --name (with --redis, if it is there)", cmd.Name())
		}
		p.file = args[0]
	}
	return p.check(cmd)
}

func (p *place) check(cmd *cobra.Command) error {
	switch {
	case p.file == "" && p.name == "":
		return usage("%s needs a state file, or the guards' name with --name", cmd.Name())
	case p.file != "" && p.server != "":
		return usage("--state and --redis: a state is in one place")
	case p.prefix != "" && p.server == "":
		return usage("--prefix is of the keys in Redis: it needs --redis")
	case p.shared && p.server != "":
		return usage("--shared is of a state file, and --redis is on a server")
	}
	return nil
}

// open finds the state; close ends what open began.
func (p *place) open() (err error) {
	switch {
	case p.server != "":
		p.client, p.store, err = dial(p.server, p.prefix)
	case p.file != "":
		p.path, err = filepath.Abs(p.file)
	default:
		if p.path, err = tokenguard.DefaultStateFile(p.name); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	return err
}

func (p *place) close() {
	if p.store != nil {
		_, _ = p.store.Close(), p.client.Close()
	}
}

func (p *place) String() string {
	if p.store != nil {
		return fmt.Sprintf("%q on %s", p.name, p.client.Options().Addr)
	}
	return p.path
}

// flagged names the state as the flags of another command do.
func (p *place) flagged() string {
	var b strings.Builder
	for _, f := range []struct{ name, value string }{{"--state", p.file}, {"--name", p.name}, {"--redis", p.server}, {"--prefix", p.prefix}} {
		if f.value == "" || f.name == "--name" && p.file != "" {
			continue
		}
		if f.name == "--redis" {
			f.value = "URL" // may hold a password
		}
		fmt.Fprintf(&b, " %s %s", f.name, f.value)
	}
	return b.String()[1:]
}

// option keeps a guard's state here.
func (p *place) option() tokenguard.Option {
	switch {
	case p.store != nil:
		return tokenguard.WithStore(p.store)
	case p.shared:
		return tokenguard.WithSharedStateFile(p.path)
	}
	return tokenguard.WithStateFile(p.path)
}

// look reads the state and changes nothing.
func (p *place) look(ctx context.Context) (r inspected, err error) {
	if p.store != nil {
		r, err = inspectStore(ctx, p.store, p.name)
	} else {
		r, err = inspectFile(ctx, p.path)
	}
	return r, storeError(err)
}

// standing is look for a command that needs a state that is there and whole.
func (p *place) standing(ctx context.Context) (inspected, error) {
	r, err := p.look(ctx)
	if err == nil {
		err = problemOf(p, r)
	}
	switch {
	case err != nil:
		return r, err
	case !r.Exists:
		return r, &exitError{exitFault, fmt.Errorf("tokenguard: %s: there is no state yet", p)}
	}
	return r, nil
}

// problemOf is what is wrong with a state that could be looked at; nil: nothing.
func problemOf(p *place, r inspected) error {
	if r.Problem == "" {
		return nil
	}
	return &exitError{exitFault, fmt.Errorf("tokenguard: %s: %s", p, r.Problem)}
}

// guard opens the state as a guard that never acquires.
func (p *place) guard(r inspected, opts ...tokenguard.Option) (*tokenguard.Guard, error) {
	name := p.name
	if name == "" {
		name = r.Name
	}
	opts = append([]tokenguard.Option{tokenguard.WithRateLimits(limitsOf(r))}, opts...)
	opts = append(opts, tokenguard.WithName(name), tokenguard.WithFreshness(0), p.option())
	g, err := tokenguard.New(readOnly, opts...)
	return g, storeError(err)
}

// readOnly is the RequestFunc of a guard that never acquires.
func readOnly(context.Context, tokenguard.Request) (tokenguard.Token, error) {
	return tokenguard.Token{}, errors.New("tokenguard: this guard acquires nothing")
}

// mute keeps the client's own log off standard error: what matters of it is in the errors.
type mute struct{}

func (mute) Printf(context.Context, string, ...any) {}

// dial opens a store on a server. No input or output yet.
func dial(server, prefix string) (*redis.Client, *redisstore.Store, error) {
	options, err := redis.ParseURL(server)
	if err != nil { // whose text may hold the password
		return nil, nil, usage("--redis: not an address such as redis://localhost:6379/0")
	}
	options.ContextTimeoutEnabled, options.DisableIdentity = true, true
	redis.SetLogger(mute{})
	client := redis.NewClient(options)
	var opts []redisstore.Option
	if prefix != "" {
		opts = append(opts, redisstore.WithPrefix(prefix))
	}
	store, err := redisstore.New(client, opts...)
	if err != nil {
		_ = client.Close()
		return nil, nil, &exitError{exitUsage, err}
	}
	return client, store, nil
}
