package core

import "sync"

// keptWorkers stay parked when there is nothing to do; more of them end.
const keptWorkers = 256

// workQueue runs requests in goroutines of its own. At most one worker is being
// woken at any time, and a woken worker that finds more wakes the next before it
// runs its own: so a handler that blocks never holds up the queue, and many short
// ones need few wake-ups. What bounds the workers is what bounds the requests.
type workQueue struct {
	run func(*request)

	mu      sync.Mutex
	queue   []*request
	head    int // queue[head:] waits
	waking  bool
	idle    []chan struct{} // parked workers; capacity 1, sent to by who wakes them
	closed  bool
	workers sync.WaitGroup // Add happens with mu held
}

// push queues a batch with one lock.
func (q *workQueue) push(batch []*request) {
	q.mu.Lock()
	if q.head > len(q.queue)/2 { // so that a queue that never empties does not grow
		n := copy(q.queue, q.queue[q.head:])
		clear(q.queue[n:])
		q.queue, q.head = q.queue[:n], 0
	}
	q.queue = append(q.queue, batch...)
	q.wake()
}

// wake gets a worker going if work waits and none is being woken. mu is held and
// released.
func (q *workQueue) wake() {
	if q.waking || q.head == len(q.queue) {
		q.mu.Unlock()
		return
	}
	q.waking = true
	if n := len(q.idle); n > 0 {
		worker := q.idle[n-1]
		q.idle = q.idle[:n-1]
		q.mu.Unlock()
		worker <- struct{}{}
		return
	}
	q.workers.Go(q.work)
	q.mu.Unlock()
}

func (q *workQueue) work() {
	var me chan struct{}
	for woken := true; ; {
		q.mu.Lock()
		if woken {
			q.waking, woken = false, false
		}
		if q.head == len(q.queue) {
			q.queue, q.head = q.queue[:0], 0
			if q.closed || len(q.idle) == keptWorkers {
				q.mu.Unlock()
				return
			}
			if me == nil {
				me = make(chan struct{}, 1)
			}
			q.idle = append(q.idle, me)
			q.mu.Unlock()
			<-me
			woken = true
			continue
		}
		r := q.queue[q.head]
		q.queue[q.head] = nil
		q.head++
		q.wake()
		q.run(r)
	}
}

// close lets parked workers end. Those that run end after their request.
func (q *workQueue) close() {
	q.mu.Lock()
	q.closed = true
	idle := q.idle
	q.idle = nil
	q.mu.Unlock()
	for _, worker := range idle {
		worker <- struct{}{}
	}
}
