package core

import (
	"maps"
	"slices"
	"sync"
)

// openConns are the connections of a Consumer that are not cleaned up, those that
// drain after their endpoint is forgotten among them. The zero openConns is empty.
type openConns struct {
	mu    sync.Mutex
	conns map[*consumerConn]bool
}

func (o *openConns) add(c *consumerConn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conns == nil {
		o.conns = make(map[*consumerConn]bool)
	}
	o.conns[c] = true
}

func (o *openConns) remove(c *consumerConn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.conns, c)
}

func (o *openConns) list() []*consumerConn {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Keys(o.conns))
}
