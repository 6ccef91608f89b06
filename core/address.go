package core

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// unixScheme begins the address of a unix socket; its path follows, as in
// unix:///run/orders.sock.
const unixScheme = "unix://"

// Listen listens on an address: host:port, or unix:///path for a unix socket. The
// socket is for its owner alone (mode 0600) and is removed when the listener closes;
// one that a dead process left behind is replaced. An address that is taken is like
// [syscall.EADDRINUSE].
func Listen(ctx context.Context, address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, unixScheme)
	if !ok {
		return new(net.ListenConfig).Listen(ctx, "tcp", address)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeAbandoned(ctx, path, err); err != nil {
			return nil, err
		}
		l, err = new(net.ListenConfig).Listen(ctx, "unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil && runtime.GOOS != "windows" {
		return nil, errors.Join(err, l.Close())
	}
	return unixListener{l, unixAddr(path)}, nil
}

// removeAbandoned removes a socket that nobody listens on. taken is the error for
// one that somebody does.
func removeAbandoned(ctx context.Context, path string, taken error) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // gone in the meantime
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("listen on %s%s: there is a file that is no socket; remove it, or choose another path", unixScheme, path)
	}
	nc, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = nc.Close()
		return taken
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return taken
	}
	return os.Remove(path)
}

// dial connects to an address of the forms that Listen knows.
func dial(ctx context.Context, address string) (net.Conn, error) {
	if path, ok := strings.CutPrefix(address, unixScheme); ok {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// unixListener says its address as a consumer must write it.
type unixListener struct {
	net.Listener
	addr unixAddr
}

// Addr implements [net.Listener].
func (l unixListener) Addr() net.Addr { return l.addr }

// unixAddr is the path of a unix socket.
type unixAddr string

// Network implements [net.Addr].
func (unixAddr) Network() string { return "unix" }

// String implements [net.Addr].
func (a unixAddr) String() string { return unixScheme + string(a) }

// nameOf names the other end of a connection. On a unix socket a consumer has no
// address.
func nameOf(addr net.Addr) string {
	name := addr.String()
	if addr.Network() == "unix" && (name == "" || name == "@") {
		return "unix"
	}
	return name
}
