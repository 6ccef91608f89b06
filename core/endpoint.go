package core

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/google/uuid"
	"github.com/sirupsen/logrus"
)

// afterDeath is how many times longer the first attempt after a death waits at most:
// a frozen provider has many consumers, which find it dead in the same second.
const afterDeath = 5

// endpointState is where an endpoint stands; docs/connections.md §3 draws the
// edges.
type endpointState uint8

const (
	connecting endpointState = iota
	up
	suspected // up, but the heartbeat doubts it
	backoff
	gone
)

// endpoint is one provider address of a Consumer. Its goroutine, run, owns the
// connection: it dials, waits for the connection to end, and dials again.
type endpoint struct {
	consumer *Consumer
	address  string
	load     spi.Load
	log      logrus.FieldLogger

	ctx    context.Context // ends when the endpoint is no longer listed
	cancel context.CancelFunc
	conns  sync.WaitGroup // one for each conn.run

	mu      sync.Mutex
	state   endpointState
	conn    *consumerConn // set in states up and suspected only
	attempt *attempt      // what callers wait for: the current try to connect or the next; nil in those
	last    error         // of the last attempt that failed; nil after one that did not
	lostBy  string        // why the last connection ended; "" while there is one

	downSince  time.Time // when there was a connection last
	reconnects uint64    // connections after the first
	connected  bool      // there was a first

	// Of run alone.
	attempts int       // failed ones since there was a connection
	failures int       // failed attempts in a row, connections that did not last among them
	downAt   time.Time // since when there is no connection
	died     uuid.UUID // token of the connection that was found dead last, until there is another; zero: none

	// Guarded by Consumer.mu.
	sets []*endpointSet // where it is listed; without any it is closed
}

// attempt is one try to connect. over is closed when conn or err is set.
type attempt struct {
	over chan struct{}
	conn *consumerConn
	err  error // an *spi.Error
}

func newAttempt() *attempt { return &attempt{over: make(chan struct{})} }

func newEndpoint(c *Consumer, address string) *endpoint {
	e := &endpoint{consumer: c, address: address, downSince: time.Now(), attempt: newAttempt(), log: c.cfg.Log.WithField("endpoint", address)}
	e.ctx, e.cancel = context.WithCancel(c.active)
	return e
}

// run connects and reconnects until the endpoint is closed. It returns when every
// connection of the endpoint has been cleaned up.
func (e *endpoint) run() {
	defer e.conns.Wait()
	defer func() { e.become(gone, nil, e.closedError()) }()
	e.downAt = time.Now()
	for first := true; ; first = false {
		e.become(connecting, nil, nil)
		c, err := e.connect(first)
		if e.ctx.Err() != nil {
			return
		}
		wait := time.Duration(0)
		if err != nil {
			wait = e.failed(err)
		} else {
			wait = e.serve(c)
		}
		if e.ctx.Err() == nil {
			e.consumer.pulse.report(ReconnectAttempt{e.address, e.attempts + 1, wait, time.Now()})
		}
		if !sleep(e.ctx, wait) {
			return
		}
	}
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// connect dials and shakes hands once. The connection drains when the endpoint is no
// longer listed, and closes when the Consumer does.
func (e *endpoint) connect(first bool) (*consumerConn, error) {
	cfg := &e.consumer.cfg
	select { // so that a thousand endpoints do not dial in the same moment
	case e.consumer.dials <- struct{}{}:
		defer func() { <-e.consumer.dials }()
	case <-e.ctx.Done():
		return nil, e.ctx.Err()
	}
	ctx, cancel := context.WithTimeout(e.ctx, cfg.DialTimeout.D())
	defer cancel()
	nc, err := cfg.Dial(ctx, e.address)
	if err != nil {
		return nil, e.dialError(err)
	}
	tuneSocket(nc, e.consumer.pulse.userTimeout(cfg.WriteTimeout))
	if nc, err = e.consumer.secure(e.ctx, nc, e.address); err != nil {
		return nil, e.handshakeError(err)
	}
	c := newConsumerConn(e, nc)
	c.hello.Supersedes = e.died
	if !first {
		c.attempt, c.downAt = e.attempts+1, e.downAt
	}
	e.consumer.open.add(c)
	e.conns.Go(func() {
		defer close(c.gone)
		defer e.consumer.open.remove(c)
		defer context.AfterFunc(e.consumer.ctx, func() { c.close(errClosed) })()
		defer context.AfterFunc(e.ctx, func() {
			if e.consumer.ctx.Err() == nil {
				c.stop()
			}
		})()
		c.run()
	})
	select {
	case <-c.ready:
		return c, nil
	case <-c.ended:
		select {
		case <-c.ready: // it ended right after the handshake, which did not fail
			return c, nil
		default:
		}
		return nil, e.handshakeError(c.cause)
	}
}

// failed ends an attempt and returns how long to wait before the next.
func (e *endpoint) failed(err error) time.Duration {
	e.attempts++
	e.failures++
	var failure *spi.Error
	if errors.As(err, &failure) && e.attempts > 1 {
		failure.Message = fmt.Sprintf("%s; %d attempts in %v", failure.Message, e.attempts, time.Since(e.downAt).Round(time.Millisecond))
	}
	if e.attempts == 1 || e.attempts%100 == 0 {
		e.log.WithError(err).WithField("attempts", e.attempts).Warn("cannot connect")
	}
	e.become(backoff, nil, err)
	if failure != nil && failure.Code == spi.Unauthenticated { // asking again soon changes nothing
		return jittered(float64(e.consumer.cfg.Reconnect.Cap))
	}
	return e.delay()
}

// serve publishes a connection, waits for its end, and returns how long to wait
// before the next attempt.
func (e *endpoint) serve(c *consumerConn) time.Duration {
	e.become(up, c, nil)
	since := time.Now()
	select {
	case <-c.gone: // everything of it is freed before there is another one
	case <-c.draining: // the old connection finishes beside the next one
	}
	e.forget(c) // it may have ended before it was published
	e.attempts, e.downAt, e.died = 0, time.Now(), uuid.UUID{}
	leaving := true
	select {
	case <-c.draining: // though it may have ended since
	default:
		leaving = false
	}
	switch {
	case e.ctx.Err() != nil: // nobody wants it any more
	case leaving:
		e.log.Info("the provider is shutting down")
	default:
		_, text := reasonOf(c.cause)
		e.mu.Lock()
		e.lostBy = text
		e.mu.Unlock()
		if presumedDead(c.cause) {
			e.died = c.hello.Token
		}
	}
	wait := e.over(time.Since(since), leaving)
	if wait > 0 {
		e.become(backoff, nil, nil)
	}
	return wait
}

// over returns how long to wait after a connection that lived for so long. One that
// did not last counts as a failed attempt, or a provider that takes connections and
// gives them up would be asked without end.
func (e *endpoint) over(lived time.Duration, leaving bool) (wait time.Duration) {
	lasted := lived >= e.consumer.cfg.Reconnect.Stable.D()
	if lasted {
		e.failures = 0
	}
	switch {
	case e.failures > 0:
		wait = e.delay()
	case !leaving && e.died != uuid.UUID{}:
		wait = rand.N(afterDeath*e.consumer.cfg.Reconnect.First.D() + 1)
	case !leaving:
		wait = rand.N(e.consumer.cfg.Reconnect.First.D() + 1)
	}
	if !lasted {
		e.failures++
	}
	return wait
}

// delay is how long to wait after so many failures: the cap first, the jitter
// after it, so that many consumers at the cap stay apart.
func (e *endpoint) delay() time.Duration {
	r := e.consumer.cfg.Reconnect
	d := min(float64(r.Cap), float64(r.Base)*math.Pow(r.Factor, float64(e.failures-1)))
	return jittered(d)
}

func jittered(d float64) time.Duration { return time.Duration(d * (0.2 + 0.8*rand.Float64())) }

// become changes the state, and ends the attempt that callers wait for if the
// change decides it: in up with c, in backoff and gone with err, unless that is
// nil.
func (e *endpoint) become(state endpointState, c *consumerConn, err error) {
	e.mu.Lock()
	decided := e.attempt
	e.state, e.conn = state, c
	switch {
	case c != nil:
		e.attempt, e.last, e.lostBy = nil, nil, ""
		if e.connected {
			e.reconnects++
			e.load.Renew()
		}
		e.connected = true
	case err != nil:
		e.attempt, e.last = newAttempt(), err
	case e.attempt == nil:
		e.attempt = newAttempt()
		decided = nil
	default:
		decided = nil
	}
	if state == gone {
		e.attempt.err = err
		close(e.attempt.over)
	}
	e.mu.Unlock()
	if decided != nil {
		decided.conn, decided.err = c, err
		close(decided.over)
	}
	e.consumer.stateChanged(e)
}

// suspect makes calls avoid a connection while there is another one, or no longer.
func (e *endpoint) suspect(c *consumerConn, on bool) {
	e.mu.Lock()
	mine := e.conn == c
	if mine && on {
		e.state = suspected
	} else if mine {
		e.state = up
	}
	e.mu.Unlock()
	if mine {
		e.consumer.stateChanged(e)
	}
}

// forget takes a connection that ends or drains out of use, at once.
func (e *endpoint) forget(c *consumerConn) {
	e.mu.Lock()
	mine := e.conn == c
	if mine {
		e.state, e.conn, e.attempt, e.downSince = connecting, nil, newAttempt(), time.Now()
	}
	e.mu.Unlock()
	if mine {
		e.consumer.stateChanged(e)
	}
}

// connection returns the open connection, waiting for the current or next attempt
// if there is none, unless the last one failed for a certificate. Errors are
// *spi.Error.
func (e *endpoint) connection(ctx context.Context, deadline time.Time) (*consumerConn, error) {
	e.mu.Lock()
	c, try, state, last := e.conn, e.attempt, e.state, e.last
	e.mu.Unlock()
	switch {
	case c != nil:
		return c, nil
	case state == backoff && spi.CodeOf(last) == spi.Unauthenticated: // the next attempt is far away, and will hardly go better
		return nil, last
	}
	ctx, cancel := within(ctx, deadline)
	defer cancel()
	select {
	case <-try.over:
		return try.conn, try.err
	case <-ctx.Done():
	}
	e.mu.Lock()
	last = e.last
	e.mu.Unlock()
	failure := contextError(ctx.Err(), spi.PhaseDial, spi.SentNo)
	failure.Endpoint = e.address
	failure.Message += " before there was a connection"
	var why *spi.Error
	if errors.As(last, &why) {
		failure.Message += "; last attempt: " + why.Message
		failure.Hint = why.Hint
	}
	return nil, failure
}

func (e *endpoint) dialError(err error) error {
	text := fmt.Sprintf("no answer within %v", e.consumer.cfg.DialTimeout)
	if !isTimeout(err) {
		text = innermost(err).Error() // "connection refused" says it best
	}
	hint := "is the provider started?"
	if errors.Is(err, syscall.EMFILE) {
		hint = "this process has as many descriptors as it may (ulimit -n)"
	}
	return &spi.Error{Code: spi.Unavailable, Reason: spi.ReasonConnecting, Phase: spi.PhaseDial, Sent: spi.SentNo, Endpoint: e.address,
		Message: text, Hint: hint, Cause: fmt.Errorf("%w: %w", spi.ErrConnLost, err)}
}

func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

func (e *endpoint) handshakeError(cause error) error {
	failure := lost(cause, spi.SentNo)
	failure.Phase, failure.Endpoint = spi.PhaseHandshake, e.address
	var serializer *serializerError
	switch {
	case errors.As(cause, &serializer):
		failure.Code, failure.Reason, failure.Message = spi.Unimplemented, "", cause.Error()
		failure.Hint = "choose one of them by the key consumer.serializer"
	case failure.Reason == spi.ReasonCertificate:
		failure.Code = spi.Unauthenticated
		failure.Hint = "check consumer.tls.ca and server_name, and what the provider's certificate says"
		if !errors.As(cause, new(*tlsError)) {
			failure.Hint = "the provider accepts other certificates; check consumer.tls.cert"
		}
	case failure.Reason == spi.ReasonTLS:
		failure.Hint = "does the provider have provider.tls? If not, turn consumer.tls off"
	case failure.Reason == spi.ReasonOverloaded:
		failure.Hint = "start another provider, or raise the key there"
	case failure.Reason != spi.ReasonClosed && failure.Reason != spi.ReasonGoAway:
		failure.Hint = "is that a bhrpc provider?"
	}
	return failure
}

func (e *endpoint) closedError() error {
	failure := lost(errConsumerClosed, spi.SentNo)
	if e.consumer.active.Err() == nil {
		failure.Message = "the endpoint is no longer listed"
	}
	failure.Phase, failure.Endpoint = spi.PhaseDial, e.address
	return failure
}
