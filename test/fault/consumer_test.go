//go:build (fault || faultnet || faultlong) && linux

package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/spi"
)

// consumerArgs is what a consumer process is started with.
type consumerArgs struct {
	Addresses []string
	Files     uint64         // RLIMIT_NOFILE; 0: as it is
	Keys      map[string]any // of the configuration
}

// loadArgs describes a load. Calls begin on time, whether earlier ones have ended
// or not.
type loadArgs struct {
	Methods  []string      // called in turn: Service.Method of [till]
	Rate     int           // calls per second
	Timeout  time.Duration // of each
	Size     int           // of the text that goes or comes, in bytes
	Metadata int           // bytes of metadata beside it
}

// record is what became of one call.
type record struct {
	ID       uint64
	Method   string
	Begin    time.Time
	End      time.Time
	Code     spi.Code // 0: OK
	Reason   string
	Phase    spi.Phase
	Sent     spi.Sent
	Lost     bool // errors.Is(err, spi.ErrConnLost)
	Endpoint string
	Message  string
}

// consumerRole is a consumer made by the facade, with a load generator.
type consumerRole struct {
	app  *bhrpc.App
	stop context.CancelFunc // ends the load; nil: there is none
	load sync.WaitGroup     // its calls, and what makes them

	mu      sync.Mutex
	history []record
	begun   int
	lag     time.Duration
}

// startConsumer starts a consumer process.
func startConsumer(t *testing.T, keys map[string]any, addresses ...string) *proc {
	t.Helper()
	return start(t, "consumer", consumerArgs{Addresses: addresses, Keys: keys}, nil)
}

func newConsumerRole(raw json.RawMessage) (role, any, error) {
	args, err := parse[consumerArgs](raw)
	if err != nil {
		return nil, nil, err
	}
	if err := limitFiles(args.Files); err != nil {
		return nil, nil, err
	}
	app, err := open(args.Keys, "consumer.addresses", args.Addresses)
	return &consumerRole{app: app}, nil, err
}

func (c *consumerRole) obey(do string, raw json.RawMessage) (any, error) {
	switch do {
	case "call": // one call, and what became of it
		args, err := parse[loadArgs](raw)
		if err != nil {
			return nil, err
		}
		return c.call(0, args.Methods[0], args), nil
	case "load": // begins a load
		args, err := parse[loadArgs](raw)
		if err != nil {
			return nil, err
		}
		ctx, stop := context.WithCancel(context.Background())
		c.stop = stop
		c.load.Go(func() { c.generate(ctx, args) })
		return nil, nil
	case "history": // ends the load, waits for its last call, and returns them all
		c.stop()
		c.load.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		all := history{Begun: c.begun, Lag: c.lag, Calls: c.history}
		c.history, c.begun, c.lag = nil, 0, 0
		return all, nil
	case "plugins":
		return c.app.Plugins(), nil
	case "hoard": // takes descriptors until there are none
		return hoard()
	case "drop":
		dropHoard()
		return nil, nil
	}
	return nil, errors.New("a consumer has no such command")
}

// generate begins calls at the rate until ctx ends.
func (c *consumerRole) generate(ctx context.Context, args loadArgs) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	for last := start; ctx.Err() == nil; {
		for due := int(time.Since(start).Seconds() * float64(args.Rate)); c.begun < due; c.begun++ {
			id := uint64(c.begun)
			c.load.Go(func() {
				r := c.call(id, args.Methods[id%uint64(len(args.Methods))], args)
				c.mu.Lock()
				defer c.mu.Unlock()
				c.history = append(c.history, r)
			})
		}
		select {
		case <-tick.C:
			now := time.Now()
			c.lag = max(c.lag, now.Sub(last))
			last = now
		case <-ctx.Done():
		}
	}
}

// call makes one call and checks its answer.
func (c *consumerRole) call(id uint64, method string, args loadArgs) record {
	service, name, _ := spi.SplitMethod(method)
	call := &spi.Call{Method: c.app.Method(service, name), Timeout: args.Timeout}
	if args.Metadata > 0 {
		call.Metadata = spi.Metadata{{Key: "m", Value: strings.Repeat("x", args.Metadata)}}
	}
	text := strings.Repeat("x", args.Size)
	var number uint64
	var echo string
	var err error
	r := record{ID: id, Method: method, Begin: time.Now()}
	switch name {
	case "Book":
		call.Args, call.Reply = spi.Values{id}, &number
		if err = c.app.Invoke(context.Background(), call); err == nil && number != id {
			err = fmt.Errorf("got the answer to call %d", number)
		}
	case "Echo":
		call.Args, call.Reply = spi.Values{text}, &echo
		if err = c.app.Invoke(context.Background(), call); err == nil && echo != text {
			err = fmt.Errorf("got %d bytes back", len(echo))
		}
	case "Size":
		call.Args, call.Reply = spi.Values{text}, &number
		err = c.app.Invoke(context.Background(), call)
	case "Print":
		call.Args, call.Reply = spi.Values{args.Size}, &echo
		err = c.app.Invoke(context.Background(), call)
	default:
		err = c.app.Invoke(context.Background(), call)
	}
	r.End, r.Endpoint = time.Now(), call.Peer
	if err != nil {
		r.Code, r.Message, r.Lost = spi.CodeOf(err), err.Error(), errors.Is(err, spi.ErrConnLost)
		var e *spi.Error
		if errors.As(err, &e) {
			r.Reason, r.Phase, r.Sent = e.Reason, e.Phase, e.Sent
		}
	}
	return r
}
