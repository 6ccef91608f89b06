package core

import "sync"

// tokens finds the connections of a Provider by the names that their consumers gave
// them. The zero tokens is empty.
type tokens struct {
	mu    sync.Mutex
	conns map[[16]byte]*providerConn
}

// enter adds a connection and returns the one that it supersedes, if that is there
// still. Who knows the random token of a connection is its consumer.
func (t *tokens) enter(c *providerConn) (old *providerConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conns == nil {
		t.conns = make(map[[16]byte]*providerConn)
	}
	if c.supersedes != nil && *c.supersedes != c.token {
		old = t.conns[*c.supersedes]
	}
	if _, taken := t.conns[c.token]; !taken {
		t.conns[c.token] = c
	}
	return old
}

// yields reports whether the connection of a name gives its place to the one of another.
// It does so once. No name, zero, is nobody's.
func (t *tokens) yields(name, to [16]byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.conns[name]
	if name == [16]byte{} || name == to || old == nil || old.yielded {
		return false
	}
	old.yielded = true
	return true
}

func (t *tokens) leave(c *providerConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conns[c.token] == c {
		delete(t.conns, c.token)
	}
}
