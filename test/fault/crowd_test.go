//go:build (fault || faultnet || faultlong) && linux

package fault_test

import (
	"encoding/json"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core/coretest"
)

// crowdArgs describes many connections to one address, made by one process without
// the framework.
type crowdArgs struct {
	Address string
	Conns   int
	Behave  string // one of behaviours
}

// jsonHello is what a peer of these tests says of itself.
var jsonHello = coretest.Hello{Serializers: []string{"json"}}

// behaviour is what a connection of a crowd does.
type behaviour struct {
	hello bool   // shakes hands
	once  []byte // then sends this
	drip  []byte // and then this, one byte in a second
}

var behaviours = map[string]behaviour{
	"silent": {},
	"hello":  {hello: true},
	"drip":   {drip: coretest.AppendFrame(nil, coretest.Frame{Type: coretest.TypeHello, Body: make([]byte, 100)})},
	"tls":    {once: []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 the beginning of a ClientHello")},
	"http":   {drip: []byte("POST /Till/Echo HTTP/1.1\r\nHost: localhost\r\nX-Slow: very, very slow\r\n")},
	"header": {hello: true, drip: wholeRequest(100)},
	"body":   {hello: true, once: wholeRequest(1000)[:100], drip: make([]byte, 100)},
	"large":  {hello: true, once: wholeRequest(mib)[:100], drip: make([]byte, 100)},
}

// wholeRequest is a request with a body of n bytes.
func wholeRequest(n int) []byte {
	return coretest.AppendFrame(nil, coretest.Request(7<<20, "Till", "Echo", make([]byte, n)))
}

// crowdReport says what became of them.
type crowdReport struct {
	Open    int // connected, and with "hello" shaken hands
	Failed  int
	Why     string // one reason of those that failed
	Closed  int    // by the other side
	Soonest time.Duration
	Latest  time.Duration // from a connection's beginning to its end by the other side
}

// crowdRole makes connections and watches their ends.
type crowdRole struct {
	args  crowdArgs
	ready sync.WaitGroup // every connection is open or has failed
	over  sync.WaitGroup // every connection has ended

	mu     sync.Mutex
	conns  []net.Conn
	report crowdReport
	lives  []time.Duration
	left   bool // this side ends them
}

// startCrowd starts a process that makes the connections when it is told to
// "gather".
func startCrowd(t *testing.T, args crowdArgs) *proc {
	t.Helper()
	return start(t, "crowd", args, nil)
}

func newCrowdRole(raw json.RawMessage) (role, any, error) {
	args, err := parse[crowdArgs](raw)
	return &crowdRole{args: args}, nil, err
}

func (c *crowdRole) obey(do string, _ json.RawMessage) (any, error) {
	switch do {
	case "gather": // returns when every connection is open, or has failed
		c.gather()
		c.ready.Wait()
	case "await": // returns when the other side has ended every connection
		c.over.Wait()
	case "leave": // ends them
		c.mu.Lock()
		c.left = true
		for _, nc := range c.conns {
			_ = nc.Close()
		}
		c.mu.Unlock()
		c.over.Wait()
	case "report":
	default:
		return nil, errors.New("a crowd has no such command")
	}
	return c.reported(), nil
}

// gather begins to connect, a few at a time.
func (c *crowdRole) gather() {
	const atOnce = 64
	turn := make(chan struct{}, atOnce)
	c.ready.Add(c.args.Conns)
	for range c.args.Conns {
		turn <- struct{}{}
		c.over.Go(func() {
			nc, err := net.DialTimeout("tcp", c.args.Address, 10*time.Second)
			begin := time.Now()
			if err == nil {
				err = c.enter(nc)
			}
			<-turn
			c.entered(nc, err)
			c.ready.Done()
			if err == nil {
				c.live(nc, begin)
			}
		})
	}
}

// enter does what makes a connection part of the crowd.
func (c *crowdRole) enter(nc net.Conn) error {
	does := behaviours[c.args.Behave]
	_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
	var err error
	if does.hello {
		_, err = coretest.NewPeer(nc).BeConsumer(jsonHello)
	}
	if err == nil {
		_, err = nc.Write(does.once)
	}
	_ = nc.SetDeadline(time.Time{})
	if err != nil {
		_ = nc.Close()
	}
	return err
}

func (c *crowdRole) entered(nc net.Conn, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.report.Failed++
		c.report.Why = err.Error()
		return
	}
	c.report.Open++
	c.conns = append(c.conns, nc)
}

// live behaves until the other side ends the connection.
func (c *crowdRole) live(nc net.Conn, begin time.Time) {
	var talker sync.WaitGroup
	gone := make(chan struct{})
	talker.Go(func() { drip(nc, behaviours[c.args.Behave].drip, gone) })
	var b [4 << 10]byte
	for {
		if _, err := nc.Read(b[:]); err != nil {
			break
		}
	}
	lived := time.Since(begin)
	close(gone)
	_ = nc.Close()
	talker.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.left {
		c.report.Closed++
		c.lives = append(c.lives, lived)
	}
}

// drip sends b, one byte in a second.
func drip(nc net.Conn, b []byte, gone <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := range b {
		if _, err := nc.Write(b[i : i+1]); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-gone:
			return
		}
	}
}

func (c *crowdRole) reported() crowdReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.report
	if len(c.lives) > 0 {
		r.Soonest, r.Latest = slices.Min(c.lives), slices.Max(c.lives)
	}
	return r
}

// together starts crowds of one kind until they have n connections.
func together(t *testing.T, n int, args crowdArgs) (crowds []*proc) {
	t.Helper()
	const most = 10_000 // of one process: it may have 20,000 descriptors
	for ; n > 0; n -= args.Conns {
		args.Conns = min(n, most)
		crowds = append(crowds, startCrowd(t, args))
	}
	return crowds
}

// all asks every crowd for the same at the same time, and adds up what they say.
func all(t *testing.T, crowds []*proc, do string) crowdReport {
	t.Helper()
	for _, c := range crowds {
		c.tell(do, nil)
	}
	var sum crowdReport
	for i, c := range crowds {
		var r crowdReport
		c.answer(do, &r)
		if i == 0 {
			sum = r
			continue
		}
		sum.Open, sum.Failed, sum.Closed = sum.Open+r.Open, sum.Failed+r.Failed, sum.Closed+r.Closed
		sum.Soonest, sum.Latest = min(sum.Soonest, r.Soonest), max(sum.Latest, r.Latest)
		if r.Why != "" {
			sum.Why = r.Why
		}
	}
	return sum
}
