package core

import (
	"context"
	"slices"
	"sync"
	"time"
)

// What a body may become before it takes part in the bound, and by how much more it
// is tried with each time that this was not enough; docs/connections.md §4 draws it.
const (
	freeUnpacked = 64 << 10 // bytes
	unpackStep   = 4
)

// unpackRoom bounds the bytes that the compressed bodies of all connections of one
// side are at once. Bodies that do not fit wait for their turn: one connection after
// the other, the bodies of each in order. It is safe for concurrent use.
type unpackRoom struct {
	limit int64 // bytes; a body larger than that has room alone

	mu      sync.Mutex
	used    int64
	waiting map[*packing][]*unpackTurn // by connection, the next first; nil: none yet
	order   []*packing                 // those that wait, the next first
}

// unpackTurn is a body that waits for room. done has capacity 1 and receives one
// value, when the room was granted.
type unpackTurn struct {
	size    int64
	granted bool
	buffer  *buffer // granted with the room; nil: none
	done    chan struct{}
}

// take waits for room for size bytes of a connection. Who had to wait gets a buffer
// of that size with it: in a crowd buffers are handed on, or garbage would be as large
// again as what is bounded. Error: that of ctx, or of the deadline unless it is zero;
// then there is nothing to give back.
func (u *unpackRoom) take(ctx context.Context, deadline time.Time, of *packing, size int) (*buffer, error) {
	t := &unpackTurn{size: int64(size)}
	u.mu.Lock()
	if len(u.order) == 0 && u.fits(t) {
		u.used += t.size
		u.mu.Unlock()
		return nil, nil
	}
	u.enter(of, t)
	u.mu.Unlock()
	ctx, cancel := within(ctx, deadline)
	defer cancel()
	select {
	case <-t.done:
	case <-ctx.Done():
		u.leave(of, t)
		return nil, ctx.Err()
	}
	if t.buffer == nil {
		t.buffer = newBuffer(size)
	}
	return t.buffer, nil
}

// give gives size bytes back, with the buffer that they were in, if there was one.
func (u *unpackRoom) give(size int, own *buffer) {
	if size == 0 {
		own.release()
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.used -= int64(size)
	u.grant(own)
}

func (u *unpackRoom) fits(t *unpackTurn) bool { return u.used == 0 || u.used+t.size <= u.limit }

// enter puts a body at the end of its connection's line. mu is held.
func (u *unpackRoom) enter(of *packing, t *unpackTurn) {
	t.done = make(chan struct{}, 1)
	if u.waiting == nil {
		u.waiting = make(map[*packing][]*unpackTurn)
	}
	if len(u.waiting[of]) == 0 {
		u.order = append(u.order, of)
	}
	u.waiting[of] = append(u.waiting[of], t)
}

// leave takes a body out that waits no more, granted or not.
func (u *unpackRoom) leave(of *packing, t *unpackTurn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if t.granted {
		u.used -= t.size
	} else {
		u.remove(of, slices.Index(u.waiting[of], t))
		if len(u.waiting[of]) == 0 {
			u.order = slices.DeleteFunc(u.order, func(p *packing) bool { return p == of })
		}
	}
	u.grant(t.buffer)
}

// remove takes body i out of a connection's line. mu is held.
func (u *unpackRoom) remove(of *packing, i int) {
	if line := slices.Delete(u.waiting[of], i, i+1); len(line) > 0 {
		u.waiting[of] = line
		return
	}
	delete(u.waiting, of)
}

// grant gives room to those that wait, as far as there is any, and the buffer to the
// first that needs just as much. Who comes next and does not fit holds the others up,
// or it would wait for ever. mu is held.
func (u *unpackRoom) grant(free *buffer) {
	defer func() { free.release() }()
	for len(u.order) > 0 {
		of := u.order[0]
		t := u.waiting[of][0]
		if !u.fits(t) {
			return
		}
		u.used += t.size
		t.granted = true
		if free != nil && int64(cap(free.b)) == t.size {
			free.b = free.b[:0]
			t.buffer, free = free, nil
		}
		t.done <- struct{}{}
		u.remove(of, 0)
		u.order = slices.Delete(u.order, 0, 1)
		if len(u.waiting[of]) > 0 {
			u.order = append(u.order, of)
		}
	}
}

// unpacked is a body as the serializer wrote it, until it is decoded: then release is
// due.
type unpacked struct {
	body []byte
	own  *buffer // holds body; nil: body is a view of what came
	room *unpackRoom
	size int // bytes taken of room
}

func (u *unpacked) release() { u.room.give(u.size, u.own) }

// shrink gives back what was taken beyond what the body has become.
func (u *unpacked) shrink() {
	if more := u.size - cap(u.own.b); more > 0 {
		u.size -= more
		u.room.give(more, nil)
	}
}
