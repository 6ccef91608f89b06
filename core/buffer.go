package core

import "sync"

// buffer is a pooled byte slice. Exactly one part of the engine owns a buffer at a
// time, and the last owner puts it back.
type buffer struct{ b []byte }

// The size classes of the pools: 1 KiB, 4 KiB, 16 KiB, 64 KiB, 256 KiB, 1 MiB.
// Larger buffers are left to the garbage collector.
const (
	classes   = 6
	smallest  = 1 << 10
	classStep = 2 // bits between classes
)

// Pools of plain memory may be shared by the whole process; pools of channels or
// timers may not (they would leak between testing/synctest bubbles).
var buffers [classes]sync.Pool

// traceBuffer, if set, sees every buffer when it is taken and when it is given back.
// Only tests set it, to find what is given back twice or never.
var traceBuffer func(b *buffer, taken bool)

// newBuffer returns an empty buffer with room for at least size bytes.
func newBuffer(size int) *buffer {
	b := pooled(size)
	if traceBuffer != nil {
		traceBuffer(b, true)
	}
	return b
}

// grow returns a buffer with what b holds and room for more bytes after it. It takes
// at most twice what is needed, and no more than most. b must not be used again.
func (b *buffer) grow(more, most int) *buffer {
	need := len(b.b) + more
	if need <= cap(b.b) {
		return b
	}
	larger := newBuffer(min(2*need, max(most, need)))
	larger.b = append(larger.b, b.b...)
	b.release()
	return larger
}

func pooled(size int) *buffer {
	for i := range classes {
		room := smallest << (classStep * i)
		if size > room {
			continue
		}
		if b, _ := buffers[i].Get().(*buffer); b != nil {
			return b
		}
		return &buffer{make([]byte, 0, room)}
	}
	return &buffer{make([]byte, 0, size)}
}

// release gives the buffer back. Whoever calls it must not touch it afterwards. A
// nil buffer is fine.
func (b *buffer) release() {
	if b == nil {
		return
	}
	if traceBuffer != nil {
		traceBuffer(b, false)
	}
	for i := classes - 1; i >= 0; i-- {
		room := smallest << (classStep * i)
		if cap(b.b) < room {
			continue
		}
		if cap(b.b) < room<<(classStep+1) { // not one that outgrew its class by far
			b.b = b.b[:0]
			buffers[i].Put(b)
		}
		return
	}
}
