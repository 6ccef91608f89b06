//go:build fault && linux

package fault_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy stands between a consumer and a provider and breaks what passes. Its faults
// are for all of its connections, in force at once and until they are taken back.
type proxy struct {
	toProvider, toConsumer *direction

	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu       sync.Mutex
	accepted int
	conns    map[net.Conn]bool // both ends
	closed   bool
}

// direction is one way through a proxy. All methods are safe for concurrent use.
type direction struct {
	mu      sync.Mutex
	changed sync.Cond
	stalled bool
	flipAt  int64         // offset in a connection's stream
	flip    byte          // bits to flip there
	cut     int64         // bytes of a connection after which it ends; -1: never
	half    bool          // cut closes this way only, in order; otherwise it resets the connection
	pace    time.Duration // between single bytes; 0: as they come
	passed  int64         // bytes of the connection on which the last ones came
	over    bool          // the proxy is closed
}

// startProxy starts a proxy in this process; it ends with the test.
func startProxy(t *testing.T, target string) (*proxy, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{toProvider: newDirection(), toConsumer: newDirection(), listener: l, target: target, conns: make(map[net.Conn]bool)}
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p, l.Addr().String()
}

func newDirection() *direction {
	d := &direction{cut: -1}
	d.changed.L = &d.mu
	return d
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for nc := range p.conns {
		_ = nc.Close()
	}
	p.mu.Unlock()
	for _, d := range []*direction{p.toProvider, p.toConsumer} {
		d.set(func() { d.over = true })
	}
	p.running.Wait()
}

// reset ends every connection that there is.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for nc := range p.conns {
		_ = nc.(*net.TCPConn).SetLinger(0)
		_ = nc.Close()
	}
}

// connections returns how many were ever made through the proxy.
func (p *proxy) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

func (p *proxy) accept() {
	for {
		consumer, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() {
			provider, err := net.Dial("tcp", p.target)
			if err != nil {
				_ = consumer.Close()
				return
			}
			p.join(consumer.(*net.TCPConn), provider.(*net.TCPConn))
		})
	}
}

// join passes bytes on until both ways have ended.
func (p *proxy) join(consumer, provider *net.TCPConn) {
	p.mu.Lock()
	p.accepted++
	p.conns[consumer], p.conns[provider] = true, true
	if p.closed {
		_, _ = consumer.Close(), provider.Close()
	}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.toProvider.carry(provider, consumer) })
	both.Go(func() { p.toConsumer.carry(consumer, provider) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, nc := range []*net.TCPConn{consumer, provider} {
		_ = nc.Close()
		delete(p.conns, nc)
	}
}

// carry passes bytes on, or what becomes of them, until either side ends. The end of
// from closes half of to; the end of to, or a cut, resets both.
func (d *direction) carry(to, from *net.TCPConn) {
	b := make([]byte, 32*kib)
	for offset := int64(0); ; {
		n, err := from.Read(b[:d.wait(len(b))])
		pass, cut, half := d.damage(b[:n], offset)
		offset += int64(pass)
		if _, failed := to.Write(b[:pass]); failed != nil || cut && !half {
			for _, nc := range []*net.TCPConn{to, from} {
				_ = nc.SetLinger(0)
				_ = nc.Close()
			}
			return
		}
		if cut || err == io.EOF {
			_ = to.CloseWrite()
			_, _ = io.Copy(io.Discard, from)
			return
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

// wait waits as the faults say, and returns how many of n bytes may be read next.
func (d *direction) wait(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.stalled && !d.over {
		d.changed.Wait()
	}
	if d.pace == 0 || d.over {
		return n
	}
	pace := d.pace
	d.mu.Unlock()
	pass(pace)
	d.mu.Lock()
	return 1
}

// damage flips bits in b, which begins at offset of a connection's stream, and
// returns how much of it passes, and whether and how that was the last.
func (d *direction) damage(b []byte, offset int64) (pass int, cut, half bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := d.flipAt - offset; i >= 0 && i < int64(len(b)) {
		b[i] ^= d.flip
	}
	d.passed = offset + int64(len(b))
	if d.cut >= 0 && offset+int64(len(b)) >= d.cut {
		return int(max(d.cut-offset, 0)), true, d.half
	}
	return len(b), false, false
}

// set changes faults.
func (d *direction) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	d.changed.Broadcast()
}

// stall stops reading what is sent this way: the sender's window closes. The end of
// a stall is false.
func (d *direction) stall(on bool) { d.set(func() { d.stalled = on }) }

// damageAt flips bits of one byte of every connection; no bits end that.
func (d *direction) damageAt(offset int64, bits byte) {
	d.set(func() { d.flipAt, d.flip = offset, bits })
}

// length returns how many bytes came this way on the connection that brought the last
// ones.
func (d *direction) length() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}

// cutAfter ends every connection after n bytes this way: with a reset, or with half
// by closing this way only. n = -1 ends that.
func (d *direction) cutAfter(n int64, half bool) { d.set(func() { d.cut, d.half = n, half }) }

// drip passes single bytes, with a pause after each; 0 ends that.
func (d *direction) drip(pace time.Duration) { d.set(func() { d.pace = pace }) }
