package grpcguard

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/tokenguard/tokenguard"
)

// call follows one call from its credentials to its end.
type call struct {
	method  string
	start   time.Time
	trailer metadata.MD
	peer    peer.Peer // whom it reached; no address: nobody

	mu  sync.Mutex // guards what follows: attempts may be repeated beside the call's end
	id  string     // of the token of the last attempt
	err error      // the guard's
}

type callKey struct{}

func begin(ctx context.Context, method string) (*call, context.Context) {
	k := &call{method: method, start: time.Now()}
	return k, context.WithValue(ctx, callKey{}, k)
}

func (k *call) set(id string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.id, k.err = id, err
}

func (k *call) get() (id string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.id, k.err
}

// options make gRPC fill in what the call's end is read from.
func (k *call) options() []grpc.CallOption {
	return []grpc.CallOption{grpc.Trailer(&k.trailer), grpc.Peer(&k.peer)}
}

// refusal puts the guard's own error behind gRPC's.
type refusal struct {
	error
	guard error
}

func (r refusal) Unwrap() []error            { return []error{r.error, r.guard} }
func (r refusal) GRPCStatus() *status.Status { return status.Convert(r.error) }

// Unary reports how a call with the guard's token ended. Of one that reached no server, or whose credentials failed on
// the way, nothing is reported.
func (c Credentials) Unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	k, inner := begin(ctx, method)
	err := invoke(inner, method, req, reply, cc, append(opts[:len(opts):len(opts)], k.options()...)...)
	c.report(ctx, k, err)
	return k.explained(err)
}

// Stream reports how a stream with the guard's token ended: as Unary, when it has ended. A stream that is neither read
// to its end nor cancelled ends never.
func (c Credentials) Stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	k, inner := begin(ctx, method)
	opts = append(append(opts[:len(opts):len(opts)], k.options()...), grpc.OnFinish(func(err error) {
		c.report(ctx, k, err)
	}))
	stream, err := open(inner, desc, cc, method, opts...)
	return stream, k.explained(err)
}

// explained puts the guard's refusal behind the error of a call that it ended. Of the status it makes what
// GetRequestMetadata said: gRPC lets no FailedPrecondition of credentials through (its proposal A54).
func (k *call) explained(err error) error {
	if _, guard := k.get(); err != nil && guard != nil {
		return refusal{status.Error(code(guard), text(guard)), guard}
	}
	return err
}

// report tells the guard how a call ended. Its latency is the whole of it, of a stream too: the guard reads from it when
// the call began, and a success that began before a refusal does not lift it.
func (c Credentials) report(ctx context.Context, k *call, err error) {
	id, refused := k.get()
	switch {
	case refused != nil, c.Guard == nil:
		return
	case id == "":
		return // another credential was sent, or none
	case err != nil && k.peer.Addr == nil:
		return // nothing was sent: the upstream has said nothing about the token
	}
	o := tokenguard.Outcome{TokenID: id, Caller: c.Request.Caller, Latency: time.Since(k.start)}
	if o.Caller == "" {
		o.Caller = k.method
	}
	if err != nil {
		o.Failure = FailureFromError(err, k.trailer)
	}
	// The call has ended either way; a store that fails shows in the next one's verdict.
	_ = c.Guard.Report(context.WithoutCancel(ctx), o)
}
