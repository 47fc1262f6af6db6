package redisstore

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/storetest"
)

// redis5 are the commands of Redis 5.0.
const redis5 = `append asking auth bgrewriteaof bgsave bitcount bitfield bitop bitpos blpop brpop brpoplpush bzpopmax
bzpopmin client cluster command config dbsize debug decr decrby del discard dump echo eval evalsha exec exists expire
expireat flushall flushdb geoadd geodist geohash geopos georadius georadius_ro georadiusbymember georadiusbymember_ro get
getbit getrange getset hdel hexists hget hgetall hincrby hincrbyfloat hkeys hlen hmget hmset hscan hset hsetnx hstrlen
hvals incr incrby incrbyfloat info keys lastsave latency lindex linsert llen lolwut lpop lpush lpushx lrange lrem lset
ltrim memory mget migrate module monitor move mset msetnx multi object persist pexpire pexpireat pfadd pfcount pfdebug
pfmerge pfselftest ping psetex psubscribe psync pttl publish pubsub punsubscribe randomkey readonly readwrite rename
renamenx replconf replicaof restore restore-asking role rpop rpoplpush rpush rpushx sadd save scan scard script sdiff
sdiffstore select set setbit setex setnx setrange shutdown sinter sinterstore sismember slaveof slowlog smembers smove
sort spop srandmember srem sscan strlen subscribe substr sunion sunionstore swapdb sync time touch ttl type unlink
unsubscribe unwatch wait watch xack xadd xclaim xdel xgroup xinfo xlen xpending xrange xread xreadgroup xrevrange xsetid
xtrim zadd zcard zcount zincrby zinterstore zlexcount zpopmax zpopmin zrange zrangebylex zrangebyscore zrank zrem
zremrangebylex zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore
zunionstore`

// The Store, and the client under it, get along with a server that knows no command later than those of Redis 5.0.
func TestCommandsOfRedis5(t *testing.T) {
	known := strings.Fields(redis5)
	var conf strings.Builder
	later := 0
	for name, command := range startServer(t).client().Command(t.Context()).Val() {
		if !slices.Contains(known, name) && !slices.Contains(command.Flags, "module") { // these come after the file
			later++
			conf.WriteString("rename-command " + name + " \"\"\n")
		}
	}
	require.NotZero(t, later)
	path := filepath.Join(t.TempDir(), "redis.conf")
	require.NoError(t, os.WriteFile(path, []byte(conf.String()), 0o600))
	server := startServer(t, path)
	require.ErrorContains(t, server.client().Do(t.Context(), "HELLO").Err(), "unknown command")

	storetest.Run(t, func(t *testing.T) tokenguard.Store { // each with a key of its own
		return newStore(t, server.client(), WithTimeout(20*time.Second), WithPrefix(newID()))
	})
	s := newStore(t, server.client())
	hints := s.Watch(t.Context(), "n")
	<-hints
	update(t, s, increment)
	<-hints
	waiting := newStore(t, server.client(), WithWaitReplicas(1, time.Millisecond))
	_, err := waiting.Update(t.Context(), "n", increment)
	require.ErrorIs(t, err, ErrNotReplicated, "there is none")
}
