package redisstore

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
	"golang.org/x/sync/errgroup"
)

// startCluster makes a cluster of three masters.
func startCluster(t *testing.T) ([]*server, *redis.ClusterClient) {
	t.Helper()
	cli, err := exec.LookPath("redis-cli")
	require.NoError(t, err)
	args := []string{"--cluster", "create"}
	var nodes []*server
	var addrs []string
	for range 3 {
		n := clusterNode(t, "--cluster-node-timeout", "2000")
		nodes, addrs = append(nodes, n), append(addrs, n.addr())
	}
	out, err := exec.Command(cli, append(append(args, addrs...), "--cluster-yes")...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	for _, n := range nodes {
		eventually(t, "the cluster is up", func() bool {
			return strings.Contains(n.do("CLUSTER", "INFO").(string), "cluster_state:ok")
		})
	}
	return nodes, client
}

// moveSlot moves the slot of key to another node, and returns the node that had it.
func moveSlot(t *testing.T, nodes []*server, key string) *server {
	t.Helper()
	slot := nodes[0].do("CLUSTER", "KEYSLOT", key)
	var from, to *server
	for _, n := range nodes {
		if held, _ := n.client().ClusterCountKeysInSlot(t.Context(), int(slot.(int64))).Result(); held > 0 {
			from = n
		} else {
			to = n
		}
	}
	require.NotNil(t, from)
	id := func(n *server) any { return n.do("CLUSTER", "MYID") }
	to.do("CLUSTER", "SETSLOT", slot, "IMPORTING", id(from))
	from.do("CLUSTER", "SETSLOT", slot, "MIGRATING", id(to))
	from.do("MIGRATE", "127.0.0.1", to.port, key, 0, 5000)
	for _, n := range nodes {
		n.do("CLUSTER", "SETSLOT", slot, "NODE", id(to))
	}
	return from
}

func TestClusterWithAMovedSlot(t *testing.T) {
	long(t)
	nodes, client := startCluster(t)
	a, b := newStore(t, client, WithTimeout(20*time.Second)), newStore(t, client, WithTimeout(20*time.Second))
	update(t, a, increment)
	hints := a.Watch(t.Context(), "n")
	<-hints
	var group errgroup.Group
	const rounds = 300
	for _, s := range []*Store{a, b} {
		group.Go(func() error {
			for range rounds {
				if _, err := s.Update(t.Context(), "n", increment); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for range 3 {
		moveSlot(t, nodes, a.key("n"))
	}
	require.NoError(t, group.Wait())
	snap := view(t, newStore(t, client))
	require.Equal(t, fmt.Sprint(2*rounds+1), string(snap.Data))
	require.Equal(t, snap.Epoch, view(t, a).Epoch, "a move is no loss")
	<-hints // told across nodes

	// WAIT goes to the node that has the slot, and finds it after a move. These masters have no replicas.
	waiting := newStore(t, client, WithWaitReplicas(1, 10*time.Millisecond))
	for i := range 2 {
		_, err := waiting.Update(t.Context(), "n", increment)
		require.ErrorIs(t, err, ErrNotReplicated)
		require.Equal(t, fmt.Sprint(2*rounds+2+i), string(view(t, waiting).Data))
		moveSlot(t, nodes, a.key("n"))
	}
}

func TestSentinelFailover(t *testing.T) {
	long(t)
	master, replica := startServer(t), startServer(t)
	replica.do("REPLICAOF", "127.0.0.1", strconv.Itoa(master.port))
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "sentinel monitor m 127.0.0.1 %d 1\n"+
		"sentinel down-after-milliseconds m 500\nsentinel failover-timeout m 2000\n", master.port), 0o600))
	sentinel := startServer(t, conf, "--sentinel")
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: "m", SentinelAddrs: []string{sentinel.addr()}, ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { _ = client.Close() })
	s := newStore(t, client, WithWaitReplicas(1, time.Second), WithTimeout(5*time.Second))
	var before tokenguard.Snapshot
	eventually(t, "the replica confirms", func() (ok bool) {
		var err error
		before, err = s.Update(t.Context(), "n", write("1"))
		return err == nil
	})
	eventually(t, "the sentinel knows the replica", func() bool {
		return strings.Contains(sentinel.do("INFO", "sentinel").(string), "slaves=1")
	})
	master.kill()
	recovered(t, s)
	after := view(t, s)
	require.Equal(t, before.Epoch, after.Epoch, "a confirmed commit is not lost")
	require.Equal(t, before.Rev, after.Rev)
	alone := newStore(t, client, WithTimeout(5*time.Second))
	eventually(t, "the new master takes commits", func() bool {
		_, err := alone.Update(t.Context(), "n", increment)
		return err == nil
	})
	require.Equal(t, "2", string(view(t, s).Data))
}
