package plugins

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// dialledConfig configures the registry of the tests' plugin, whose server is the test.
type dialledConfig struct {
	Address string `json:"address" doc:"of the server"`
}

// Validate refuses to do without a server.
func (c *dialledConfig) Validate() error {
	if c.Address == "" {
		return errors.New("address: is missing")
	}
	return nil
}

func openDialled(_ context.Context, _ spi.Env, cfg dialledConfig) (spi.Registry, error) {
	return dialled(cfg), nil
}

type dialled dialledConfig

func (d dialled) Close() error { return nil }

// talk sends a line and gives every line of the answer to hear, until ctx ends; then
// it sends "remove" and waits for one more.
func (d dialled) talk(ctx context.Context, line string, hear func(string) error) error {
	conn, err := net.Dial("tcp", d.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintln(conn, line)
	stop := context.AfterFunc(ctx, func() { fmt.Fprintln(conn, "remove") })
	defer stop()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if ctx.Err() != nil {
			return nil
		}
		if err := hear(lines.Text()); err != nil {
			return err
		}
	}
	return nil
}

func (d dialled) Announce(ctx context.Context, reg spi.Registration, up func(error)) error {
	return d.talk(ctx, fmt.Sprint("announce ", reg.Service, " ", reg.Address, " ", reg.Instance, " ", reg.Weight, " ", reg.Labels["zone"]), func(said string) error {
		switch said {
		case "never":
			return errors.New("it never will")
		case "ok":
			up(nil)
		default:
			up(errors.New(said))
		}
		return nil
	})
}

func (d dialled) Watch(ctx context.Context, service string, update func([]spi.Endpoint)) error {
	return d.talk(ctx, "watch "+service, func(said string) error {
		if said == "never" {
			return errors.New("it never will")
		}
		var set []spi.Endpoint
		for _, address := range strings.Fields(said) {
			set = append(set, spi.Endpoint{Address: address, Labels: map[string]string{"zone": "eu1"}})
		}
		update(set)
		return nil
	})
}

func serveRegistry() {
	cat := spi.NewCatalog()
	if err := spi.Register(cat.Registries, "dialled", "Asks the test.", dialledConfig{}, openDialled); err != nil {
		panic(err)
	}
	if err := Serve(cat); err != nil {
		panic(err)
	}
}

// server is what the registry of the tests' plugin dials.
type server struct{ net.Listener }

// hears accepts a connection and checks the line that it begins with.
func (s server) hears(t *testing.T, want string) *dialogue {
	t.Helper()
	conn, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	d := &dialogue{conn, bufio.NewScanner(conn)}
	if got := d.line(); got != want {
		t.Fatalf("the server heard %q, want %q", got, want)
	}
	return d
}

type dialogue struct {
	net.Conn
	lines *bufio.Scanner
}

// line returns the next line, "" at the end.
func (d *dialogue) line() string {
	d.lines.Scan()
	return d.lines.Text()
}

func (d *dialogue) say(line string) { fmt.Fprintln(d, line) }

// openRegistries starts the plugin of the tests and opens its registry.
func openRegistries(t *testing.T) (*Plugin, *registry, server) {
	t.Helper()
	cfg, _ := asPlugin(t, "registry")
	cfg.Restart = quick(100)
	p, err := Open(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	cat := spi.NewCatalog()
	if err := p.Register(cat); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	with := fmt.Sprintf(`{"address": %q}`, listener.Addr())
	r, err := cat.Registries.Open(t.Context(), spi.Env{}, spi.Ref{Use: "dialled", With: spi.Raw{JSON: []byte(with)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cat.Registries.Open(t.Context(), spi.Env{}, spi.Ref{Use: "dialled"}); err == nil || !strings.Contains(err.Error(), "address: is missing") {
		t.Errorf("Open without a server: got %v, want what Validate says", err)
	}
	return p, r.(*registry), server{listener}
}

// replace begins an upgrade; the one who receives waits for its end.
func replace(t *testing.T, p *Plugin) <-chan error {
	done := make(chan error, 1)
	go func() { done <- p.Restart(t.Context(), "") }()
	return done
}

func TestWatchOfAPlugin(t *testing.T) {
	p, r, s := openRegistries(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	updates, done := make(chan []string, 16), make(chan error, 1)
	var updating atomic.Bool
	go func() {
		done <- r.Watch(ctx, "greeter", func(set []spi.Endpoint) {
			if updating.Swap(true) {
				t.Error("update: got two at a time")
			}
			defer updating.Store(false)
			addresses := []string{}
			for _, e := range set {
				if e.Weight != 1 || e.Labels["zone"] != "eu1" {
					t.Errorf("endpoint: got %+v, want weight 1 and its label", e)
				}
				addresses = append(addresses, e.Address)
			}
			updates <- addresses
		})
	}()
	want := func(when string, set ...string) {
		t.Helper()
		select {
		case got := <-updates:
			if !slices.Equal(got, set) {
				t.Fatalf("set %s: got %v, want %v", when, got, set)
			}
		case err := <-done:
			t.Fatalf("Watch %s: got %v, want it to go on", when, err)
		}
	}
	first := s.hears(t, "watch greeter")
	first.say("a b")
	want("at first", "a", "b")
	first.say("a a") // refused
	first.say("")
	want("when it is empty")
	first.say("a b")
	want("after that", "a", "b")

	kill(t, p.ready.Load())
	if got := first.line(); got != "" {
		t.Errorf("the server heard %q from a process that was killed, want nothing", got)
	}
	second := s.hears(t, "watch greeter")
	second.say("a b") // no change
	second.say("a c")
	want("from the second process", "a", "c")

	replaced := replace(t, p) // an upgrade: the one before still runs
	third := s.hears(t, "watch greeter")
	if err := <-replaced; err != nil { // nothing of ours keeps the one before
		t.Errorf("Restart: got %v, want nothing", err)
	}
	third.say("c")
	want("from the third process", "c")

	cancel()
	if err := <-done; err != nil {
		t.Errorf("Watch: got %v, want nothing", err)
	}
}

func TestAnnounceOfAPlugin(t *testing.T) {
	p, r, s := openRegistries(t)
	r.remove = 1 << 62
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ups, done := make(chan error, 16), make(chan error, 1)
	reg := spi.Registration{Service: "greeter", Address: "h:1", Instance: "i", Weight: 3, Labels: map[string]string{"zone": "eu1"}}
	go func() { done <- r.Announce(ctx, reg, func(err error) { ups <- err }) }()
	const line = "announce greeter h:1 i 3 eu1"
	want := func(when string, causes ...string) { // any of them; none: it is registered
		t.Helper()
		select {
		case err := <-ups:
			if (err == nil) != (len(causes) == 0) || err != nil && !slices.ContainsFunc(causes, func(cause string) bool { return strings.Contains(err.Error(), cause) }) {
				t.Fatalf("up %s: got %v, want %q", when, err, causes)
			}
		case err := <-done:
			t.Fatalf("Announce %s: got %v, want it to go on", when, err)
		}
	}
	first := s.hears(t, line)
	first.say("ok")
	want("at first")
	first.say("lease expired")
	want("when it is lost", "lease expired")
	first.say("still so") // no change
	first.say("ok")
	want("when it is back")

	kill(t, p.ready.Load())
	want("when the plugin is killed", "Unavailable", errExited.Error())
	second := s.hears(t, line)
	second.say("ok")
	want("from the second process")

	replaced := replace(t, p) // an upgrade: the one before still runs
	if got := second.line(); got != "remove" {
		t.Errorf("the server heard %q of the second process, want %q", got, "remove")
	}
	second.say("removed")
	want("at an upgrade", "moved to the next process")
	third := s.hears(t, line)
	if err := <-replaced; err != nil {
		t.Errorf("Restart: got %v, want nothing", err)
	}
	third.say("ok")
	want("from the third process")

	cancel()
	if got := third.line(); got != "remove" {
		t.Errorf("the server heard %q at the end, want %q", got, "remove")
	}
	select {
	case err := <-done:
		t.Errorf("Announce before the registration is removed: got %v, want it to wait", err)
	default:
	}
	third.say("removed")
	if err := <-done; err != nil {
		t.Errorf("Announce: got %v, want nothing", err)
	}
}

// TestRegistryOfAPluginThatIsStopped: an end is not waited for without end.
func TestRegistryOfAPluginThatIsStopped(t *testing.T) {
	p, r, s := openRegistries(t)
	r.remove = 1
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- r.Announce(ctx, spi.Registration{Service: "greeter"}, func(error) {}) }()
	s.hears(t, "announce greeter   0 ")
	go func() { done <- r.Watch(ctx, "greeter", func([]spi.Endpoint) {}) }()
	s.hears(t, "watch greeter")
	if err := syscall.Kill(p.ready.Load().process.cmd.Process.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Errorf("got %v, want nothing", err)
		}
	}
}

// TestRegistryOfAPluginGivesUp: what can never succeed ends, and a plugin that was
// closed is not waited for.
func TestRegistryOfAPluginGivesUp(t *testing.T) {
	p, r, s := openRegistries(t)
	done := make(chan error, 2)
	begin := func() {
		go func() { done <- r.Announce(t.Context(), spi.Registration{Service: "greeter"}, func(error) {}) }()
		s.hears(t, "announce greeter   0 ").say("never")
		go func() { done <- r.Watch(t.Context(), "greeter", func([]spi.Endpoint) {}) }()
		s.hears(t, "watch greeter").say("never")
	}
	begin()
	for range 2 {
		if err := <-done; err == nil || !strings.Contains(err.Error(), `registry "dialled" of plugin "acme": it never will`) {
			t.Errorf("got %v, want what the plugin says", err)
		}
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close: got %v, want nothing", err)
	}
	if err := r.Watch(t.Context(), "greeter", nil); !errors.Is(err, errNotReady) {
		t.Errorf("Watch of a closed plugin: got %v, want %v", err, errNotReady)
	}
}
