package plugins

import (
	"context"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// TestShelf: an extension is opened once per configuration and role, knows its role,
// outlives who asked first, and is closed with the rest.
func TestShelf(t *testing.T) {
	var roles []spi.Role
	closed := 0
	cat := spi.NewCatalog()
	if err := spi.Register(cat.Heartbeats, "counted", "Counts.", struct{}{}, func(ctx context.Context, env spi.Env, _ struct{}) (spi.Heartbeat, error) {
		roles = append(roles, env.Role)
		return countedHeartbeat{closed: &closed}, ctx.Err()
	}); err != nil {
		t.Fatal(err)
	}
	a := newAuthor(cat, quietLog())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, role := range []spi.Role{spi.RoleConsumer, spi.RoleProvider, spi.RoleConsumer} {
		if _, err := a.judging.open(ended, "counted", nil, string(role)); err != nil {
			t.Errorf("open for a %s: got %v, want nothing", role, err)
		}
	}
	if len(roles) != 2 || roles[0] != spi.RoleConsumer || roles[1] != spi.RoleProvider {
		t.Errorf("opened for %v, want once for each role", roles)
	}
	if err := a.close(); err != nil || closed != 2 {
		t.Errorf("close: got %v, %d closed, want both", err, closed)
	}
}

// countedHeartbeat counts how often one was closed.
type countedHeartbeat struct {
	spi.Heartbeat
	closed *int
}

func (c countedHeartbeat) Close() error { *c.closed++; return nil }
