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

// has reports whether there is a connection of that name.
func (t *tokens) has(name [16]byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conns[name] != nil
}

func (t *tokens) leave(c *providerConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conns[c.token] == c {
		delete(t.conns, c.token)
	}
}
