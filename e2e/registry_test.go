package e2e

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/tokenguard/tokenguard"
)

const (
	// The token server of the registry's own project, of the same release line as Debian's docker-registry.
	distribution = "v2.8.3+incompatible"
	repository   = account + "/e2e" // the token server gives each account its own folder
	pullScope    = "repository:" + repository + ":pull"
	processes    = 6
	pullsEach    = 5
	// Everybody pulls as this account, whose password is no secret.
	account = "anonymous"
)

func TestMain(m *testing.M) {
	if os.Getenv("E2E_PULL") != "" {
		if err := pull(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// pull is one of several processes: it pulls the image a few times, asking for a token before each.
func pull() error {
	ref, err := name.ParseReference(os.Getenv("E2E_PULL"), name.Insecure)
	if err != nil {
		return err
	}
	login := authn.Authenticator(&authn.Basic{Username: account, Password: account})
	var guard *tokenguard.Guard
	if state := os.Getenv("E2E_STATE"); state != "" {
		if guard, err = tokenguard.New(registryToken(os.Getenv("E2E_REALM")), tokenguard.WithStateFile(state)); err != nil {
			return err
		}
		defer guard.Close()
	}
	for range pullsEach {
		if guard != nil {
			grant, err := guard.Acquire(context.Background(), tokenguard.Request{Scope: pullScope, Caller: "pull"})
			if err != nil {
				return err
			}
			login = authn.FromConfig(authn.AuthConfig{RegistryToken: grant.Token.Value()})
		}
		image, err := remote.Image(ref, remote.WithAuth(login))
		if err != nil {
			return err
		}
		if err := download(image); err != nil {
			return err
		}
	}
	return nil
}

func download(image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		r, err := layer.Compressed()
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		_ = r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// registryToken is the fetch function of a registry client: it asks the realm for a token that may pull.
func registryToken(realm string) tokenguard.RequestFunc {
	return func(ctx context.Context, req tokenguard.Request) (tokenguard.Token, error) {
		ask := realm + "?service=e2e&scope=" + url.QueryEscape(req.Scope)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, ask, nil)
		if err != nil {
			return tokenguard.Token{}, err
		}
		r.SetBasicAuth(account, account)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return tokenguard.Token{}, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return tokenguard.Token{}, err
		}
		if resp.StatusCode != http.StatusOK {
			return tokenguard.Token{}, tokenguard.Failed(tokenguard.Failure{StatusCode: resp.StatusCode, Header: resp.Header, Message: string(body)})
		}
		var answer struct { // servers send one name or the other
			Token       string               `json:"token"`
			AccessToken string               `json:"access_token"`
			ExpiresIn   tokenguard.ExpiresIn `json:"expires_in"`
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return tokenguard.Token{}, err
		}
		return tokenguard.NewTokenIn(cmp.Or(answer.Token, answer.AccessToken), time.Duration(answer.ExpiresIn)), nil
	}
}

// Several processes pull from a real registry whose tokens come from a real token server.
func TestRegistry(t *testing.T) {
	long(t)
	dir := t.TempDir()
	realm, asked := tokenServer(t, dir)
	host := registry(t, dir, realm)
	image := host + "/" + repository + ":v1"
	ref, err := name.ParseReference(image, name.Insecure)
	require.NoError(t, err)
	content, err := random.Image(4096, 3)
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, content, remote.WithAuth(&authn.Basic{Username: account, Password: account})))

	count := func(env ...string) int64 {
		asked.Store(0)
		var running []*exec.Cmd
		for range processes {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), append(env, "E2E_PULL="+image, "E2E_REALM="+realm)...)
			cmd.Stderr = os.Stderr
			require.NoError(t, cmd.Start())
			running = append(running, cmd)
		}
		for _, cmd := range running {
			require.NoError(t, cmd.Wait())
		}
		return asked.Load()
	}
	without := count()
	with := count("E2E_STATE=" + filepath.Join(dir, "pull.state"))
	t.Logf("%d processes, %d pulls each: %d token requests without a guard, %d with it", processes, pullsEach, without, with)
	require.EqualValues(t, processes*pullsEach, without)
	require.EqualValues(t, 1, with)
}

// tokenServer starts the token server behind a proxy that counts what is asked of it.
func tokenServer(t *testing.T, dir string) (realm string, asked *atomic.Int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	write(t, dir, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "e2e"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err = x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	require.NoError(t, err)
	write(t, dir, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	hash, err := bcrypt.GenerateFromPassword([]byte(account), bcrypt.MinCost)
	require.NoError(t, err)
	write(t, dir, "htpasswd", []byte(account+":"+string(hash)+"\n"))

	addr := freeAddr(t)
	start(t, addr, build(t, dir, "github.com/docker/distribution/contrib/token-server"),
		"-addr", addr, "-key", filepath.Join(dir, "key.pem"), "-passwd", filepath.Join(dir, "htpasswd"), "-realm", "e2e", "-issuer", "e2e")
	asked = new(atomic.Int64)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	// By name: clients refuse a realm that is a loopback address.
	return strings.Replace(front.URL, "127.0.0.1", "localhost", 1) + "/token/", asked
}

// registry starts a registry that trusts the token server's key.
func registry(t *testing.T, dir, realm string) (host string) {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("SKIP: no docker-registry here: install Debian's package docker-registry")
	}
	addr := freeAddr(t)
	write(t, dir, "registry.yml", fmt.Appendf(nil, `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %q}}
http: {addr: %q}
auth: {token: {realm: %q, service: e2e, issuer: e2e, rootcertbundle: %q}}
`, filepath.Join(dir, "blobs"), addr, realm, filepath.Join(dir, "cert.pem")))
	start(t, addr, program, "serve", filepath.Join(dir, "registry.yml"))
	return addr
}

// build installs a program from its module.
func build(t *testing.T, dir, path string) string {
	t.Helper()
	cmd := exec.Command("go", "install", path+"@"+distribution)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return filepath.Join(dir, filepath.Base(path))
}

// start runs a server until the test ends, and waits until it listens.
func start(t *testing.T, addr, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	for deadline := time.After(30 * time.Second); ; {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", program, err, log.String())
		case <-deadline:
			t.Fatalf("%s does not listen", program)
		case <-ticks.C:
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func write(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
}

// long skips what takes minutes, unless it was asked for.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("TOKENGUARD_LONG") == "" {
		t.Skip("set TOKENGUARD_LONG=1: it builds and runs real servers")
	}
}
