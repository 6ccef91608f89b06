package drill

import (
	"context"
	"strings"
	"sync"
)

// workers is how many workers a provider has at least when the drill begins: more
// than its calls need at once.
const workers = 3

// practice is the service of the providers of this process.
type practice struct {
	name string
	held chan struct{} // sent to by a Hold that waits; capacity 1, so that it need not wait for the drill

	full    chan struct{} // closed by the last that is waited for in Gather
	mu      sync.Mutex
	arrived int // in Gather
}

func newPractice(name string) *practice {
	return &practice{name: name, held: make(chan struct{}, 1), full: make(chan struct{})}
}

// Ask answers at once.
func (*practice) Ask() error { return nil }

// Fill answers with so many bytes.
func (*practice) Fill(size int) (string, error) { return strings.Repeat("x", size), nil }

// Gather waits until all workers wait here.
func (p *practice) Gather(ctx context.Context) error {
	p.mu.Lock()
	if p.arrived++; p.arrived == workers {
		close(p.full)
	}
	p.mu.Unlock()
	select {
	case <-p.full:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ready reports whether Gather has seen all workers.
func (p *practice) ready() bool {
	select {
	case <-p.full:
		return true
	default:
		return false
	}
}

// Hold waits, at provider a, until its call is cancelled.
func (p *practice) Hold(ctx context.Context) error {
	if p.name == "a" {
		p.held <- struct{}{}
		<-ctx.Done()
	}
	return nil
}
