package plugins

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/bhrpc/bhrpc/extensions"
	"github.com/bhrpc/bhrpc/spi"
)

// crossRoles are plugins of several kinds, and of several lives.
var crossRoles = map[string]func(){
	"every kind": func() {
		cat := spi.NewCatalog()
		says := saysConfig{Interval: spi.Duration(time.Second), Silence: spi.Duration(9 * time.Second), Says: "alive"}
		err := errors.Join(
			spi.Register(cat.LoadBalancers, "first", "Sends everything to the first.", firstConfig{Share: 3}, openFirst),
			spi.Register(cat.Heartbeats, "says", "Says what it is told.", says, openSays),
			spi.Register(cat.Registries, "dialled", "Asks the test.", dialledConfig{}, openDialled),
			spi.Register(cat.Proxies, "desk", "Does what the method is called.", deskConfig{}, openDesk),
			spi.Register(cat.Serializers, "marked", "JSON behind a mark.", markedConfig{Mark: "#"}, openMarked))
		if err == nil {
			err = Serve(cat)
		}
		if err != nil {
			panic(err)
		}
	},
	"opens slowly":         serveSlowly,
	"second start refuses": serveStrictly,
	"second start hangs": func() {
		if isSecondStart() {
			fmt.Println("hangs")
			time.Sleep(time.Hour) // it is killed
		}
		roles["plugin"]()
	},
	"second start ends": func() {
		if !isSecondStart() {
			fmt.Println("panic: of the first")
			roles["plugin"]()
		}
	},
	"second start brings another": func() {
		if isSecondStart() {
			serveSecond()
		} else {
			roles["plugin"]()
		}
	},
}

// isSecondStart counts the starts of a plugin by the directory that its test names.
func isSecondStart() bool {
	dir := os.Getenv("BHRPC_TEST_ONCE")
	return os.Mkdir(dir, 0o700) != nil && os.Mkdir(filepath.Join(dir, "second"), 0o700) == nil
}

// kinds is an extension of every kind, opened from a plugin that brings them all.
type kinds struct {
	plugin     *Plugin
	picker     spi.Picker
	balancer   *balancer
	strategy   *strategy
	serializer spi.Serializer
	proxy      spi.Wrapper
	registry   *registry
	server     server // which the registry dials
}

// openKinds opens everything, and has the heartbeat's questions asked by the test.
func openKinds(t *testing.T, p *Plugin, cat *spi.Catalog) *kinds {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	k := &kinds{plugin: p, server: server{listener}, strategy: openStrategy(t, cat, spi.RoleConsumer, ""), serializer: openSerializer(t, cat, ""), proxy: openProxy(t, cat, "")}
	t.Cleanup(func() { closeIt(t, k.proxy) })
	k.strategy.mu.Lock()
	k.strategy.running = true
	k.strategy.mu.Unlock()
	lb, err := cat.LoadBalancers.Open(t.Context(), spi.Env{Log: quiet()}, spi.Ref{Use: "first"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIt(t, lb) })
	k.balancer = lb.(*balancer)
	if k.picker, err = lb.Build(endpoints("a", "b", "c")); err != nil {
		t.Fatal(err)
	}
	with := fmt.Sprintf(`{"address": %q}`, listener.Addr())
	r, err := cat.Registries.Open(t.Context(), spi.Env{Log: quiet()}, spi.Ref{Use: "dialled", With: spi.Raw{JSON: []byte(with)}})
	if err != nil {
		t.Fatal(err)
	}
	k.registry = r.(*registry)
	return k
}

// watch begins a watch, and returns the sets that come.
func (k *kinds) watch(t *testing.T) <-chan []spi.Endpoint {
	sets, done := make(chan []spi.Endpoint, 16), make(chan error, 1) // more than any test says
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		done <- k.registry.Watch(ctx, "greeter", func(set []spi.Endpoint) { sets <- set })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch: got %v, want nothing", err)
		}
	})
	return sets
}

// use uses everything that is asked and answered at once.
func (k *kinds) use(t *testing.T, round int) {
	t.Helper()
	if data, err := k.serializer.Append(nil, round); string(data) != fmt.Sprint("#", round) || err != nil {
		t.Errorf("serializer: got %s, %v, want #%d", data, err, round)
	}
	if _, reply, err := invoke(t.Context(), k.proxy, "Echo", nil); len(reply) == 0 || err != nil {
		t.Errorf("proxy: got %s, %v, want its answer", reply, err)
	}
	h := k.strategy
	now := time.Duration(round) * time.Minute // the next question is due
	h.Decide(spi.Snapshot{ConnID: 1, Role: spi.RoleConsumer, Now: now, Due: now, LastIn: now}, spi.State{})
	number, batch := h.take()
	reply, err := h.exchange(batch)
	if err := h.answered(number, batch, reply, err); err != nil || len(batch) != 1 {
		t.Errorf("heartbeat: got %v about %d connections, want a decision about one", err, len(batch))
	}
	if i, err := k.picker.Pick(&spi.CallInfo{Now: now}); i != 0 || err != nil {
		t.Errorf("load balancer: got %d, %v, want 0", i, err)
	}
}

// TestEveryKindComesLater: an optional plugin that did not start at first, with and
// without TLS, is used by every kind as soon as it runs, without opening anything again.
func TestEveryKindComesLater(t *testing.T) {
	for _, mtls := range []string{"auto", "off"} {
		t.Run("mtls "+mtls, func(t *testing.T) {
			cfg, tmp := asPlugin(t, "every kind")
			cfg.MTLS, cfg.PerCall = mtls, true
			cfg.Restart.Base, cfg.Restart.Cap = spi.Duration(time.Hour), spi.Duration(time.Hour) // the test says when
			cfg.Provides = map[string][]string{"loadbalancer": {"first"}, "heartbeat": {"says"}, "registry": {"dialled"}, "proxy": {"desk"}, "serializer": {"marked"}}
			away := cfg.Path + ".away"
			if err := os.Rename(cfg.Path, away); err != nil {
				t.Fatal(err)
			}
			cat, env, _ := loading(t)
			if err := extensions.Register(cat); err != nil {
				t.Fatal(err)
			}
			all, err := cat.PluginLoader.Load(t.Context(), env, cat, []spi.PluginConfig{cfg})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := all.Close(); err != nil {
					t.Errorf("Close: got %v, want nothing", err)
				}
				wantEmpty(t, tmp)
			})
			p := all.(loaded).plugins[0]
			k := openKinds(t, p, cat)
			sets := k.watch(t)
			if i, err := k.picker.Pick(&spi.CallInfo{}); i < 0 || i > 2 || err != nil {
				t.Errorf("load balancer without the plugin: got %d, %v, want any endpoint", i, err)
			}
			if d, _ := k.strategy.Decide(spi.Snapshot{ConnID: 7}, spi.State{}); !d.SendPing {
				t.Errorf("heartbeat without the plugin: got %+v, want what the built-in says", d)
			}
			if _, _, err := invoke(t.Context(), k.proxy, "Echo", nil); spi.CodeOf(err) != spi.Unavailable {
				t.Errorf("proxy without the plugin: got %v, want UNAVAILABLE", err)
			}
			number, batch := k.strategy.take()
			reply, err := k.strategy.exchange(batch)
			if err := k.strategy.answered(number, batch, reply, err); !errors.Is(err, errNotReady) {
				t.Errorf("heartbeat's question without the plugin: got %v, want %v", err, errNotReady)
			}

			if err := os.Rename(away, cfg.Path); err != nil {
				t.Fatal(err)
			}
			if err := all.Restart(t.Context(), "acme", ""); err != nil {
				t.Fatal(err)
			}
			k.server.hears(t, "watch greeter").say("a")
			if set := <-sets; len(set) != 1 || set[0].Address != "a" {
				t.Errorf("registry: got %v, want a", set)
			}
			for now := time.Second; k.balancer.remote.use.planned.Load() == 0; now += time.Second {
				_, _ = k.picker.Pick(&spi.CallInfo{Now: now}) // asks for a plan
				select {
				case <-time.After(time.Millisecond):
				case <-t.Context().Done():
					t.Fatal("got no plan, want one")
				}
			}
			if picker, err := k.balancer.Build(endpoints("a", "b", "c")); err != nil {
				t.Error(err)
			} else {
				k.picker = picker
			}
			k.use(t, 1)
		})
	}
}

// TestRestartUnderLoad: no use of any kind fails while the process is replaced, again
// and again, and registries move.
func TestRestartUnderLoad(t *testing.T) {
	cfg, _ := asPlugin(t, "every kind")
	cfg.PerCall = true
	p, _ := opened(t, cfg)
	cat := spi.NewCatalog()
	if err := errors.Join(extensions.Register(cat), p.Register(cat)); err != nil {
		t.Fatal(err)
	}
	k := openKinds(t, p, cat)
	sets := k.watch(t)
	k.server.hears(t, "watch greeter").say("0")
	<-sets
	var stop atomic.Bool
	var using sync.WaitGroup
	using.Go(func() {
		for round := 1; !stop.Load(); round++ {
			k.use(t, round)
		}
	})
	for _, set := range []string{"1", "2", "3"} {
		replaced := replace(t, p)
		k.server.hears(t, "watch greeter").say(set)
		if got := <-sets; len(got) != 1 || got[0].Address != set {
			t.Errorf("registry: got %v, want %s of the new process", got, set)
		}
		if err := <-replaced; err != nil {
			t.Errorf("Restart: got %v, want nothing", err)
		}
	}
	stop.Store(true)
	using.Wait()
	if s := p.Status(); s.Generation != 4 || s.Errors != 0 {
		t.Errorf("Status: got generation %d and %d errors, want 4 and 0", s.Generation, s.Errors)
	}
}

// hanging opens a plugin whose second start hangs; hangs gets its log line.
func hanging(t *testing.T) (p *Plugin, hangs <-chan *logrus.Entry, tmp string) {
	t.Helper()
	cfg, tmp := asPlugin(t, "second start hangs")
	cfg.Env["BHRPC_TEST_ONCE"] = filepath.Join(t.TempDir(), "once")
	cfg.Restart = quick(100)
	seen := make(chan *logrus.Entry, 1)
	log := logrus.New()
	log.Out = new(lines)
	log.AddHook(onEntry(func(e *logrus.Entry) {
		if e.Message == "hangs" {
			seen <- e
		}
	}))
	p, err := Open(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p, seen, tmp
}

// TestEndWhileReplaced: the old process ends while the new one starts, which then
// fails; another one follows.
func TestEndWhileReplaced(t *testing.T) {
	p, hangs, _ := hanging(t)
	g := next(t, p, 0)
	done := replace(t, p)
	fresh := <-hangs
	kill(t, g)
	pid := 0
	if _, err := fmt.Sscan(fmt.Sprint(fresh.Data["pid"]), &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("Restart: got nothing, want that the new process ended")
	}
	if g := next(t, p, 1); g.number != 3 {
		t.Errorf("got generation %d, want 3", g.number)
	}
	if got := p.Status().LastExit; got != "signal: killed" {
		t.Errorf("last exit: got %q, want that of the old process", got)
	}
}

// TestRestartBringsLess: a program that does not bring what is registered is not used,
// and ended.
func TestRestartBringsLess(t *testing.T) {
	cfg, _ := asPlugin(t, "second start brings another")
	cfg.Env["BHRPC_TEST_ONCE"] = filepath.Join(t.TempDir(), "once")
	p, _ := opened(t, cfg)
	if err := p.Restart(t.Context(), ""); err == nil || !strings.Contains(err.Error(), `it no longer brings loadbalancer "first"`) {
		t.Errorf("Restart: got %v, want that it brings less", err)
	}
	if exists(filepath.Join(p.room.dir, "2")) {
		t.Error("got a directory of the process that was refused, want it ended")
	}
	if g := next(t, p, 0); g.number != 1 || isClosed(g.exited()) {
		t.Errorf("got generation %d, ended %t, want the first, which stays", g.number, isClosed(g.exited()))
	}
}

// TestRestartEnds: why a start failed is not said in the words of an earlier process.
func TestRestartEnds(t *testing.T) {
	cfg, _ := asPlugin(t, "second start ends")
	cfg.Env["BHRPC_TEST_ONCE"] = filepath.Join(t.TempDir(), "once")
	cfg.SHA256, cfg.AllowUnverified = "", true
	p, hook := opened(t, cfg)
	for !slices.ContainsFunc(hook.AllEntries(), func(e *logrus.Entry) bool { return e.Message == "opened" }) {
		runtime.Gosched() // the last line of the first process is on its way
	}
	err := p.Restart(t.Context(), "")
	if err == nil || !strings.Contains(err.Error(), "it ended, exit status 0") || strings.Contains(err.Error(), "printed") {
		t.Errorf("Restart: got %v, want that it ended, and nothing of what the first one printed", err)
	}
	warnings := 0
	for _, e := range hook.AllEntries() {
		if e.Level == logrus.WarnLevel && strings.Contains(e.Message, "unverified") {
			warnings++
		}
	}
	if warnings != 2 {
		t.Errorf("log: got %d warnings of a program that is not verified, want one at each start", warnings)
	}
}

// TestCloseInEveryState: nothing is left, and nothing is offered any more.
func TestCloseInEveryState(t *testing.T) {
	plain := func(change func(*spi.PluginConfig)) func(t *testing.T) (*Plugin, string) {
		return func(t *testing.T) (*Plugin, string) {
			cfg, tmp := asPlugin(t, "plugin")
			change(&cfg)
			p, _ := opened(t, cfg)
			return p, tmp
		}
	}
	hour := func(cfg *spi.PluginConfig) {
		cfg.Restart.Base, cfg.Restart.Cap, cfg.Restart.MaxStarts = spi.Duration(time.Hour), spi.Duration(time.Hour), 100
	}
	tests := []struct {
		name string
		open func(t *testing.T) (p *Plugin, tmp string)
		into func(t *testing.T, p *Plugin)
	}{
		{"ready", plain(func(*spi.PluginConfig) {}), func(*testing.T, *Plugin) {}},
		{"backoff", plain(hour), func(t *testing.T, p *Plugin) {
			kill(t, next(t, p, 0))
			awaitState(t, p, stateBackoff)
		}},
		{"open", plain(func(cfg *spi.PluginConfig) { cfg.Restart = quick(1) }), func(t *testing.T, p *Plugin) {
			kill(t, next(t, p, 0))
			kill(t, next(t, p, 1))
			awaitState(t, p, stateOpen)
		}},
		{"killing", plain(hour), func(t *testing.T, p *Plugin) {
			g := next(t, p, 0)
			if err := syscall.Kill(g.process.cmd.Process.Pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			for range lateStrikes {
				g.answered(context.DeadlineExceeded, time.Now(), 0)
			}
			awaitState(t, p, stateKilling)
		}},
		{"draining", plain(func(*spi.PluginConfig) {}), func(t *testing.T, p *Plugin) {
			old, err := p.use() // never released
			if err != nil {
				t.Fatal(err)
			}
			done := replace(t, p)
			next(t, p, old.number)
			t.Cleanup(func() {
				if err := <-done; err != nil || !isClosed(old.exited()) {
					t.Errorf("Restart: got %v, old process ended %t, want it ended", err, isClosed(old.exited()))
				}
				if got := old.process.exitText(); got != "exit status 0" {
					t.Errorf("old process: got %q, want an orderly end", got)
				}
			})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, tmp := tt.open(t)
			tt.into(t, p)
			wantClosed(t, p, tmp)
		})
	}
	t.Run("starting", func(t *testing.T) {
		p, hangs, tmp := hanging(t)
		kill(t, next(t, p, 0))
		<-hangs
		wantClosed(t, p, tmp)
	})
	t.Run("replacing", func(t *testing.T) {
		p, hangs, tmp := hanging(t)
		done := replace(t, p)
		<-hangs
		wantClosed(t, p, tmp)
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Restart: got %v, want %v", err, context.Canceled)
		}
	})
}

// wantClosed closes a plugin.
func wantClosed(t *testing.T, p *Plugin, tmp string) {
	t.Helper()
	for range 2 {
		if err := p.Close(); err != nil {
			t.Errorf("Close: got %v, want nothing", err)
		}
	}
	if s := p.Status(); s.State != stateStopped || s.PID != 0 {
		t.Errorf("Status: got %s, pid %d, want it stopped", s.State, s.PID)
	}
	if _, err := p.use(); !errors.Is(err, errNotReady) {
		t.Errorf("use: got %v, want %v", err, errNotReady)
	}
	if _, err := p.await(t.Context(), 0); !errors.Is(err, errNotReady) {
		t.Errorf("await: got %v, want %v", err, errNotReady)
	}
	if err := p.Restart(t.Context(), ""); err == nil {
		t.Error("Restart: got nothing, want that it is closed")
	}
	wantEmpty(t, tmp)
}
