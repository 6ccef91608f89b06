package spi

import (
	"context"
	"strings"
	"time"
)

// Method names what is called. Get one from [Invoker.Method], once per method, and
// reuse it for every call: the invoker keeps what it resolved for it inside. It
// must not be modified and is safe for concurrent use.
type Method struct {
	Service string // name of the service as registered
	Name    string // name of the method
	Version string // version of the service; "" if it has none
	Group   string // group of the service; "" if it has none
	Host    any    // the invoker's own; everybody else leaves it alone
}

// String returns "Service.Name".
func (m *Method) String() string { return m.Service + "." + m.Name }

// ServiceKey returns the text that identifies a service among providers: its
// name, followed by "#version#group" if either is set. Name and version hold no "#".
func ServiceKey(name, version, group string) string {
	if version == "" && group == "" {
		return name
	}
	return name + "#" + version + "#" + group
}

// SplitServiceKey is the inverse of [ServiceKey].
func SplitServiceKey(key string) (name, version, group string) {
	name, rest, _ := strings.Cut(key, "#")
	version, group, _ = strings.Cut(rest, "#")
	return name, version, group
}

// Args are the arguments of a call, in order. At returns a value or a pointer to
// one; a [Serializer] writes both the same way, and a pointer costs no
// allocation. For decoding every At must be a non-nil pointer.
type Args interface {
	Len() int
	At(i int) any
}

// SplitMethod divides "Service.Method" at the last dot. ok is false if a part is
// missing.
func SplitMethod(name string) (service, method string, ok bool) {
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 || dot == len(name)-1 {
		return "", "", false
	}
	return name[:dot], name[dot+1:], true
}

// Values are arguments held as a list. It implements [Args].
type Values []any

// Len returns the number of arguments.
func (v Values) Len() int { return len(v) }

// At returns argument i.
func (v Values) At(i int) any { return v[i] }

// Call is one request and its answer, as interceptors and proxies see it on
// either side. It belongs to whoever made it and is used by one goroutine at a
// time; nobody else keeps it or its arguments beyond Invoke.
type Call struct {
	Method *Method
	Args   Args // nil: no arguments

	// Reply is where the result goes: a non-nil pointer, or nil if the method has
	// no result or the caller does not want it. On the provider it is nil until
	// the method has returned and then holds the result, or a pointer to it.
	Reply any

	Metadata      Metadata // travels with the request
	ReplyMetadata Metadata // travels with the answer; set when Invoke returns

	// Timeout bounds this call, from Invoke to the answer. 0 means what is
	// configured for the method, or else its service, or else the consumer. A deadline of the context wins over both; the
	// context that interceptors see always has one.
	Timeout time.Duration

	// Peer is the address of the other side: on the consumer that of the provider
	// that was chosen last, on the provider that of the consumer.
	Peer string

	// Idempotent says that running the method twice does what running it once does,
	// so that the call may be sent again when its outcome is lost. A method that the
	// configuration marks is idempotent whatever stands here.
	Idempotent bool

	// Identity is who the consumer is, as its certificate says that was verified in
	// the TLS handshake. Only a provider that asks for certificates sets it; nil: it
	// is not known. It is shared by all calls of a connection and must not be modified.
	Identity *Identity
}

// Identity is what a verified certificate says of its owner. Which of the names
// count, the authority that signs them decides.
type Identity struct {
	CommonName string   // of the subject; "" if it has none
	DNSNames   []string // alternative names of hosts
	URIs       []string // alternative names such as spiffe://example.org/orders
}

// Invoker makes calls. It is safe for concurrent use.
type Invoker interface {
	// Method resolves a method of a service by name. It never fails: a name that
	// no provider knows fails the call.
	Method(service, name string) *Method

	// Invoke makes the call and waits for its answer. The error is nil or an
	// *[Error], possibly wrapped by an interceptor.
	Invoke(ctx context.Context, call *Call) error
}

// InvokeFunc is a call about to happen: on the consumer what sends it, on the
// provider what runs the method.
type InvokeFunc func(ctx context.Context, call *Call) error

// Interceptor wraps calls on either side. It is applied once, when the Consumer
// or Provider is made, and the function it returns runs for every call, by many
// goroutines at once. It may change the call before next, look at it afterwards,
// return without calling next, or call next again.
// On the consumer the call is a copy of the caller's with everything that will
// travel in Metadata, and the context has the call's deadline.
type Interceptor func(next InvokeFunc) InvokeFunc

// Compose wraps f in interceptors; the first is the outermost.
func Compose(f InvokeFunc, interceptors ...Interceptor) InvokeFunc {
	for i := len(interceptors) - 1; i >= 0; i-- {
		f = interceptors[i](f)
	}
	return f
}
