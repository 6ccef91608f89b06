package heartbeat_test

import (
	"context"
	"testing"

	"github.com/bhrpc/bhrpc/heartbeat"
	"github.com/bhrpc/bhrpc/spi"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func catalog(t testing.TB) *spi.Catalog {
	t.Helper()
	cat := spi.NewCatalog()
	if err := heartbeat.Register(cat); err != nil {
		t.Fatalf("Register: got %v, want no error", err)
	}
	return cat
}

// open opens a strategy of a consumer with a configuration in JSON, "" for none.
func open(t testing.TB, use, with string) spi.Heartbeat {
	t.Helper()
	return openAt(t, spi.RoleConsumer, use, with)
}

func openAt(t testing.TB, role spi.Role, use, with string) spi.Heartbeat {
	t.Helper()
	hb, err := catalog(t).Heartbeats.Open(context.Background(), spi.Env{Role: role}, spi.Ref{Use: use, With: spi.Raw{JSON: []byte(with)}})
	if err != nil {
		t.Fatalf("open %s %s: got %v, want no error", use, with, err)
	}
	return hb
}
