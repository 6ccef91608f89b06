package plugins

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/bhrpc/bhrpc/spi"
)

// slowShare makes the load balancer of a plugin open for longer than a host waits for
// an answer, strictShare is what the second process of another one refuses.
const (
	slowShare   = 5
	strictShare = 6
)

func serveSlowly() {
	cat := spi.NewCatalog()
	err := spi.Register(cat.LoadBalancers, "first", "Opens slowly.", firstConfig{Share: 3}, func(ctx context.Context, env spi.Env, cfg firstConfig) (spi.LoadBalancer, error) {
		if cfg.Share == slowShare {
			time.Sleep(1500 * time.Millisecond)
		}
		return openFirst(ctx, env, cfg)
	})
	if err = errors.Join(err, Serve(cat)); err != nil {
		panic(err)
	}
}

func serveStrictly() {
	second := isSecondStart()
	cat := spi.NewCatalog()
	err := spi.Register(cat.LoadBalancers, "first", "Refuses one share.", firstConfig{Share: 3}, func(ctx context.Context, env spi.Env, cfg firstConfig) (spi.LoadBalancer, error) {
		if second && cfg.Share == strictShare {
			return nil, errors.New("share: no longer allowed")
		}
		return openFirst(ctx, env, cfg)
	})
	if err = errors.Join(err, Serve(cat)); err != nil {
		panic(err)
	}
}

// openShare opens the load balancer of a plugin with a share.
func openShare(t *testing.T, p *Plugin, with string) *balancer {
	t.Helper()
	cat := spi.NewCatalog()
	if err := p.Register(cat); err != nil {
		t.Fatal(err)
	}
	lb, err := cat.LoadBalancers.Open(t.Context(), spi.Env{Log: quiet()}, spi.Ref{Use: "first", With: spi.Raw{JSON: []byte(with)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIt(t, lb) })
	return lb.(*balancer)
}

// plans asks for a plan, and again if the machine was busy.
func plans(t *testing.T, b *balancer) {
	t.Helper()
	var err error
	for range 20 {
		if _, err = b.remote.Plan(t.Context(), spi.Stats{Endpoints: []spi.EndpointStats{{Address: "a"}, {Address: "b"}, {Address: "c"}}}); err == nil {
			return
		}
	}
	t.Errorf("plan: got %v, 20 times, want one", err)
}

// TestSlowOpen: an extension may take longer to open than an answer may take, in the
// first process and in those that replace it.
func TestSlowOpen(t *testing.T) {
	cfg, _ := asPlugin(t, "opens slowly")
	cfg.CallTimeout, cfg.Restart = spi.Duration(time.Second), quick(100)
	p, _ := opened(t, cfg)
	b := openShare(t, p, `{"share":5}`)
	plans(t, b)
	kill(t, next(t, p, 0))
	next(t, p, 1)
	plans(t, b)
	if err := p.Restart(t.Context(), ""); err != nil {
		t.Error(err)
	}
	plans(t, b)
	if got := p.Status().Generation; got != 3 {
		t.Errorf("generation: got %d, want 3: no process was given up", got)
	}
}

// TestRestartKeepsWhatItRefuses: a new process that refuses what is in use does not
// replace the old one, and after a crash it is a start that failed.
func TestRestartKeepsWhatItRefuses(t *testing.T) {
	const refusal = "share: no longer allowed"
	for _, crash := range []bool{false, true} {
		t.Run(map[bool]string{false: "restart", true: "crash"}[crash], func(t *testing.T) {
			cfg, _ := asPlugin(t, "second start refuses")
			cfg.Restart, cfg.Env["BHRPC_TEST_ONCE"] = quick(100), filepath.Join(t.TempDir(), "once")
			p, hook := opened(t, cfg)
			b := openShare(t, p, `{"share":6}`)
			if !crash {
				if err := p.Restart(t.Context(), ""); err == nil || !strings.Contains(err.Error(), refusal) {
					t.Errorf("Restart: got %v, want %q", err, refusal)
				}
				if got := p.Status().Generation; got != 1 {
					t.Errorf("generation: got %d, want the first", got)
				}
				plans(t, b)
				return
			}
			kill(t, next(t, p, 0))
			if got := next(t, p, 1).number; got != 3 {
				t.Errorf("generation: got %d, want the third, since the second refuses", got)
			}
			plans(t, b)
			said := false
			for _, e := range hook.AllEntries() {
				err, _ := e.Data[logrus.ErrorKey].(error)
				said = said || e.Message == "plugin does not start" && strings.Contains(err.Error(), refusal)
			}
			if !said {
				t.Errorf("log: got nothing of %q, want why the second did not start", refusal)
			}
		})
	}
}

// TestKeep: what another process prepared is prepared by the one that is ready.
func TestKeep(t *testing.T) {
	cfg, _ := asPlugin(t, "plugin")
	p, _ := opened(t, cfg)
	w := wanted{kind: "loadbalancer", name: "first", with: `{"share":-1}`}
	if _, err := p.keep(t.Context(), w, 7, "", quiet()); !errors.Is(err, spi.ErrInvalid) {
		t.Errorf("of another process: got %v, want %v", err, spi.ErrInvalid)
	}
	if n := len(p.usages.open); n != 0 {
		t.Errorf("after a refusal: got %d in use, want none", n)
	}
	u, err := p.keep(t.Context(), w, 1, "", quiet())
	if err != nil {
		t.Errorf("of this process: got %v, want it not asked again", err)
	}
	p.usages.remove(u)
}
