package core

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// HTTP says how a provider serves HTTP/1.1, which it does on the port of the native
// protocol; docs/http.md.
type HTTP struct {
	Enabled bool     `json:"enabled" doc:"whether HTTP/1.1 is served on the same port"`
	Origins []string `json:"origins" doc:"web pages that may call, as https://shop.example; empty: none"`
	Hosts   []string `json:"hosts" doc:"names by which the provider may be called, beside localhost, IP addresses and those of listen and advertise"`
}

// idleTimeout is how long a connection may wait for its next HTTP request.
const idleTimeout = 2 * time.Minute

// webServer serves HTTP/1.1 on connections that turn out to speak it. The server of
// net/http reads requests and writes answers; whose turn a connection is, and when it
// ends, stays with the Provider, for which it is a providerConn as any other.
type webServer struct {
	provider *Provider
	server   http.Server
	json     spi.Serializer // nil: the provider does not offer it
	hosts    []string       // allowed beside localhost and IP addresses
	patience time.Duration  // with a client that takes no bytes; there is no heartbeat that this follows
}

func (w *webServer) init(p *Provider, configured spi.Duration) {
	w.provider = p
	w.patience = cmp.Or(configured, defaultWriteTimeout).D()
	w.json = p.cfg.Serializers["json"]
	w.hosts = slices.Clone(p.cfg.HTTP.Hosts)
	if host, _, err := net.SplitHostPort(p.cfg.Advertise); err == nil {
		w.hosts = append(w.hosts, host)
	}
	only := new(http.Protocols)
	only.SetHTTP1(true)
	w.server = http.Server{
		Handler:           w,
		Protocols:         only,
		ReadHeaderTimeout: p.cfg.HandshakeTimeout.D(),
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    int(p.cfg.Limits.Metadata),
		ErrorLog:          log.New(complainer{p}, "", 0),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			return context.WithValue(ctx, webConnKey{}, nc)
		},
		ConnState: func(nc net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				close(nc.(*webConn).over)
			}
		},
	}
}

// leave closes connections that wait for a request, and lets the others end with
// their answer.
func (w *webServer) leave() { w.server.SetKeepAlivesEnabled(false) }

// serve runs a connection to its end.
func (w *webServer) serve(c *providerConn) {
	tuneSocket(c.nc, max(silentFor, w.patience+time.Second))
	nc := &webConn{resumed: resumed{c.nc, slices.Clone(c.in.unread())}, conn: c, over: make(chan struct{})}
	c.in.close()
	one := &oneConn{conn: make(chan net.Conn, 1), over: nc.over, addr: c.nc.LocalAddr()}
	one.conn <- nc
	_ = w.server.Serve(one) // returns when the connection is over
	c.end(errClosed)
}

// webConn is a connection as net/http sees it.
type webConn struct {
	resumed
	conn *providerConn
	over chan struct{} // closed by ConnState when net/http has done with it
}

// Read implements [net.Conn].
func (c *webConn) Read(b []byte) (int, error) {
	again := c.first != nil // they were counted when they came
	n, err := c.resumed.Read(b)
	if !again {
		c.conn.in.traffic.add(n)
	}
	return n, err
}

// Write implements [net.Conn].
func (c *webConn) Write(b []byte) (int, error) {
	n, err := c.resumed.Write(b)
	out := &c.conn.out
	out.mu.Lock()
	defer out.mu.Unlock()
	out.written.add(n)
	return n, err
}

type webConnKey struct{}

// oneConn is a listener that accepts one connection and ends with it.
type oneConn struct {
	conn chan net.Conn // capacity 1, filled once
	over chan struct{}
	addr net.Addr
}

// Accept implements [net.Listener].
func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conn:
		return nc, nil
	case <-l.over:
		return nil, io.EOF
	}
}

// Close implements [net.Listener].
func (l *oneConn) Close() error { return nil }

// Addr implements [net.Listener].
func (l *oneConn) Addr() net.Addr { return l.addr }

// complainer logs what net/http has to say about consumers.
type complainer struct{ provider *Provider }

// Write implements [io.Writer].
func (c complainer) Write(line []byte) (int, error) {
	if c.provider.complaints.allow() {
		c.provider.cfg.Log.Warn(strings.TrimSpace(string(line)))
	}
	return len(line), nil
}

// ServeHTTP implements [http.Handler].
func (w *webServer) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(webConnKey{}).(*webConn).conn
	first := w.provider.lobby.leave(c)
	c.asked(1)
	defer c.asked(-1)
	control := http.NewResponseController(rw)
	_ = control.SetWriteDeadline(time.Now().Add(w.patience)) // of small answers; larger ones set their own
	rw.Header().Set("X-Content-Type-Options", "nosniff")
	if first && !w.provider.introduce(c, [16]byte{}, [16]byte{}) {
		if w.provider.complaints.allow() {
			w.provider.cfg.Log.WithField("consumer", c.remote).Warn(errFull.Error())
		}
		_ = control.SetReadDeadline(time.Now().Add(lastMoment)) // or the rest of a body would be waited for
		rw.Header().Set("Connection", "close")
		w.refuse(rw, http.StatusServiceUnavailable, &spi.Error{Code: spi.Unavailable, Reason: spi.ReasonOverloaded, Message: errFull.Error()})
		return
	}
	if !w.hostAllowed(r.Host) {
		w.refuse(rw, http.StatusForbidden, &spi.Error{Code: spi.PermissionDenied, Reason: "host", Message: fmt.Sprintf("%q is not a name of this provider", shorten(r.Host, maxName)),
			Hint: "use its IP address, or add the name to the key provider.http.hosts"})
		return
	}
	switch r.URL.Path {
	case "/healthz":
		fmt.Fprintln(rw, "ok")
		return
	case "/readyz":
		w.ready(rw)
		return
	}
	origin := r.Header.Get("Origin")
	switch {
	case w.originAllowed(r.Header):
		allowOrigin(rw.Header(), r.Header)
	case origin != "":
		w.refuse(rw, http.StatusForbidden, &spi.Error{Code: spi.PermissionDenied, Reason: "origin", Message: fmt.Sprintf("web pages of %s may not call this provider", shorten(origin, maxName)),
			Hint: "add the origin to the key provider.http.origins"})
		return
	case r.Header.Get("Sec-Fetch-Site") != "":
		w.refuse(rw, http.StatusForbidden, &spi.Error{Code: spi.PermissionDenied, Reason: "origin", Message: "browsers may not call this provider", Hint: "use curl; for web pages there is the key provider.http.origins"})
		return
	}
	switch {
	case r.Method == http.MethodPost:
		w.post(rw, r, c)
	case r.Method == http.MethodOptions && origin != "":
		rw.WriteHeader(http.StatusNoContent)
	case r.URL.Path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead) && w.provider.cfg.Introspection:
		w.list(rw, r, c)
	default:
		rw.Header().Set("Allow", http.MethodPost)
		w.refuse(rw, http.StatusMethodNotAllowed, &spi.Error{Code: spi.Unimplemented, Message: "a call is a POST to /Service/Method", Hint: `its body is a JSON array of arguments, such as ["world"]`})
	}
}

// ready says whether new calls are welcome.
func (w *webServer) ready(rw http.ResponseWriter) {
	if w.provider.announceCtx.Err() != nil {
		rw.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(rw, "draining")
		return
	}
	fmt.Fprintln(rw, "ready")
}

// list shows the services, as bhrpc ls does, and how to call the first.
func (w *webServer) list(rw http.ResponseWriter, r *http.Request, c *providerConn) {
	var text strings.Builder
	for _, s := range w.provider.Services().Services {
		for _, signature := range s.Methods {
			text.WriteString(spi.ServiceKey(s.Name, s.Version, s.Group) + "." + signature + "\n")
		}
	}
	target := r.Host
	if c.secured {
		target = "https://" + target
	}
	if first, ok := FirstCall(w.provider.registered()); ok {
		fmt.Fprintf(&text, "\ntry: %s\n", first.Curl(target))
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(rw, text.String())
}
