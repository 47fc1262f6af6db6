package guardui

import (
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

const (
	maxLive        = 32 // browsers
	maxLivePerPeer = 8  // a browser opens at most 6 connections to a server anyway
)

// places counts the live connections, so that no peer takes them all.
type places struct {
	mu    sync.Mutex // guards what follows
	all   int
	peers map[string]int // without those that have none
}

// take takes a place for the peer; the caller gives it back. why is what to say if there is none.
func (p *places) take(peer string) (giveBack func(), why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.peers[peer] >= maxLivePerPeer:
		return nil, "too many browsers are connected from your address"
	case p.all >= maxLive:
		return nil, "too many browsers are connected"
	}
	if p.peers == nil {
		p.peers = map[string]int{}
	}
	p.all++
	p.peers[peer]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.all--
		if p.peers[peer]--; p.peers[peer] == 0 {
			delete(p.peers, peer)
		}
	}, ""
}

// peer is whom a connection counts for: an IPv4 address or an IPv6 network of 64 bits, which is what one subscriber
// has. Behind a proxy, which the page is served through only with Auth or AllowRemote, it is the address that the
// nearest one has added.
func peer(r *http.Request) string {
	if list := r.Header.Values("X-Forwarded-For"); len(list) > 0 {
		last := list[len(list)-1]
		last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
		if addr, err := netip.ParseAddr(strings.Trim(last, "[]")); err == nil {
			return network(addr)
		}
		if addr, err := netip.ParseAddrPort(last); err == nil { // as some proxies write it
			return network(addr.Addr())
		}
	}
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil { // a Unix socket
		return ""
	}
	return network(addr.Addr())
}

func network(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	prefix, _ := addr.Prefix(64) // an IPv6 address has as many
	return prefix.String()
}
