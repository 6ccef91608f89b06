package drill

import (
	"context"
	"sync"
	"time"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/spi"
)

// load makes calls at a steady pace, all of them idempotent. A call that gets no answer
// does not hold up the next.
type load struct {
	next    func() *bhrpc.App // whose turn it is; safe for concurrent use
	method  string            // "Service.Method"; "": no calls are made, heartbeats only
	args    []any
	pace    time.Duration // between two calls
	most    int           // calls at once; beyond it none is made
	timeout time.Duration // of a call

	cancel  context.CancelFunc // nil: not running
	running sync.WaitGroup

	mu     sync.Mutex
	calls  int
	failed int
	first  error // of those that failed
}

// begin starts calling; end stops, and returns when every call has its answer.
func (l *load) begin() {
	if l.method == "" || l.cancel != nil {
		return
	}
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(context.Background())
	l.running.Go(func() { l.run(ctx) })
}

func (l *load) end() {
	if l.cancel != nil {
		l.cancel()
		l.cancel = nil
	}
	l.running.Wait()
}

func (l *load) run(ctx context.Context) {
	tick := time.NewTicker(l.pace)
	defer tick.Stop()
	busy := make(chan struct{}, l.most) // holds one for each call under way; nobody waits for room
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		select {
		case busy <- struct{}{}:
			l.running.Go(func() {
				l.count(l.call(l.next(), l.method, l.args))
				<-busy
			})
		default:
		}
	}
}

// call makes one idempotent call, whose answer nobody looks at.
func (l *load) call(app *bhrpc.App, name string, args []any) error {
	return l.callUnder(context.Background(), app, name, args)
}

func (l *load) callUnder(ctx context.Context, app *bhrpc.App, name string, args []any) error {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	service, method, _ := spi.SplitMethod(name)
	return app.Invoke(ctx, &spi.Call{Method: app.Method(service, method), Args: spi.Values(args), Idempotent: true})
}

func (l *load) count(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	if err != nil {
		l.failed++
		if l.first == nil {
			l.first = err
		}
	}
}

// made returns how many calls were made and failed, and why the first of those did.
func (l *load) made() (calls, failed int, first error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls, l.failed, l.first
}
