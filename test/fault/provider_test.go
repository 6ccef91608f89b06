//go:build (fault || faultnet || faultlong) && linux

package fault_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/plugins"
)

// providerArgs is what a provider process is started with.
type providerArgs struct {
	Listen  string         // "": any free port
	Journal string         // the file that [till.Book] writes to; "": none
	Files   uint64         // RLIMIT_NOFILE; 0: as it is
	Keys    map[string]any // of the configuration
}

// providerRole is a provider made by the facade. SIGTERM drains and ends it as
// [bhrpc.Serve] does: with 0 if nothing was cut off.
type providerRole struct{ service *till }

// startProvider starts a provider process and returns where it listens.
func startProvider(t *testing.T, args providerArgs) (*proc, string) {
	t.Helper()
	var address string
	p := start(t, "provider", args, &address)
	return p, address
}

func newProviderRole(raw json.RawMessage) (role, any, error) {
	args, err := parse[providerArgs](raw)
	if err != nil {
		return nil, nil, err
	}
	if err := limitFiles(args.Files); err != nil {
		return nil, nil, err
	}
	service := new(till)
	if args.Journal != "" {
		if service.journal, err = os.OpenFile(args.Journal, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			return nil, nil, err
		}
	}
	if args.Listen == "" {
		args.Listen = "127.0.0.1:0"
	}
	app, err := open(args.Keys, "provider.listen", args.Listen)
	if err != nil {
		return nil, nil, err
	}
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	p, err := app.Provide(ctx, bhrpc.Service{Impl: service, Name: "Till"}, bhrpc.Service{Impl: service, Name: "SafeTill"})
	if err != nil {
		return nil, nil, err
	}
	go func() {
		<-ctx.Done()
		if err := p.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}()
	return providerRole{service}, p.Addr().String(), nil
}

func (p providerRole) obey(do string, _ json.RawMessage) (any, error) {
	if do == "hanging" { // how many calls of Hang are under way
		return p.service.hanging.Load(), nil
	}
	return nil, fmt.Errorf("a provider has no such command")
}

// open makes an App of keys and one more.
func open(keys map[string]any, key string, value any) (*bhrpc.App, error) {
	cfg, err := bhrpc.Load("")
	if err != nil {
		return nil, err
	}
	if err := cfg.Set(key, value); err != nil {
		return nil, err
	}
	for key, value := range keys {
		if err := cfg.Set(key, value); err != nil {
			return nil, err
		}
	}
	cfg.Observers = []*core.Observer{observer()}
	return cfg.Open(context.Background(), plugins.Loader)
}

// till is the service of the tests. It is served under two names: calls of Till are
// not idempotent, calls of SafeTill are declared to be.
type till struct {
	journal *os.File
	hanging atomic.Int64
}

// Book notes that call id was executed, and then takes a while, so that there is
// always a call under way. What it has noted survives the death of the process.
func (t *till) Book(id uint64) (uint64, error) {
	_, err := t.journal.Write(binary.BigEndian.AppendUint64(nil, id)) // one write appends whole
	time.Sleep(5 * time.Millisecond)
	return id, err
}

// Echo returns text.
func (*till) Echo(text string) (string, error) { return text, nil }

// Size takes text of any length and returns it.
func (*till) Size(text string) (int, error) { return len(text), nil }

// Print returns n bytes.
func (*till) Print(n int) (string, error) { return strings.Repeat("x", n), nil }

// Hang returns when its caller gives up or is gone.
func (t *till) Hang(ctx context.Context) error {
	t.hanging.Add(1)
	defer t.hanging.Add(-1)
	<-ctx.Done()
	return ctx.Err()
}

// readJournal returns how often every call was executed, by all processes that
// wrote to the file.
func readJournal(t *testing.T, file string) map[uint64]int {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	executed := make(map[uint64]int)
	for ; len(b) >= 8; b = b[8:] {
		executed[binary.BigEndian.Uint64(b)]++
	}
	return executed
}
