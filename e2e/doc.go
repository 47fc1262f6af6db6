// Package e2e runs guards against real servers and clients: an OCI registry with its token server, pulled from by
// several processes, and the proxy of examples/proxy in front of a metered upstream. The tests print what they counted.
//
// They build the servers from their modules and take minutes, so they run only with TOKENGUARD_LONG=1.
package e2e
