package plugins

import (
	"context"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// What an exchange with a plugin costs, with mutual TLS and without:
//
//	go test ./plugins -run '^$' -bench 'Cost' -count 5
//
// docs/writing-a-plugin.md has the figures.

var costModes = []string{"auto", "off"} // of mtls

func BenchmarkCostSerializer(b *testing.B) {
	for _, mode := range costModes {
		_, cat, _ := withPerCall(b, func(c *spi.PluginConfig) { c.MTLS = mode })
		s := openSerializer(b, cat, "")
		for _, size := range []int{1 << 10, 16 << 10, 64 << 10} {
			text := strings.Repeat("x", size)
			b.Run("mtls "+mode+"/"+spi.Size(size).String(), func(b *testing.B) {
				for b.Loop() {
					if _, err := s.Append(nil, text); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkCostProxy(b *testing.B) {
	for _, mode := range costModes {
		_, cat, _ := withPerCall(b, func(c *spi.PluginConfig) { c.MTLS = mode })
		w := openProxy(b, cat, "")
		b.Run("mtls "+mode, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := invoke(context.Background(), w, "Pass", nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		closeIt(b, w)
	}
}

func BenchmarkCostPlan(b *testing.B) {
	for _, mode := range costModes {
		cfg, _ := asPlugin(b, "plugin")
		cfg.MTLS = mode
		p, err := Open(b.Context(), cfg, quiet())
		if err != nil {
			b.Fatal(err)
		}
		cat := spi.NewCatalog()
		if err := p.Register(cat); err != nil {
			b.Fatal(err)
		}
		lb, err := cat.LoadBalancers.Open(b.Context(), spi.Env{}, spi.Ref{Use: "first"})
		if err != nil {
			b.Fatal(err)
		}
		stats := spi.Stats{Endpoints: make([]spi.EndpointStats, 100)}
		for i := range stats.Endpoints {
			stats.Endpoints[i] = spi.EndpointStats{Address: "host-" + strings.Repeat("0", i) + ":1", Weight: 1}
		}
		b.Run("mtls "+mode, func(b *testing.B) {
			for b.Loop() {
				if _, err := lb.(*balancer).remote.Plan(context.Background(), stats); err != nil {
					b.Fatal(err)
				}
			}
		})
		closeIt(b, lb)
		_ = p.Close()
	}
}

func BenchmarkCostStart(b *testing.B) {
	for _, mode := range costModes {
		cfg, _ := asPlugin(b, "plugin")
		cfg.MTLS = mode
		b.Run("mtls "+mode, func(b *testing.B) {
			for b.Loop() {
				p, err := Open(b.Context(), cfg, quiet())
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := p.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
