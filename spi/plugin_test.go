package spi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

func TestPluginConfigValidate(t *testing.T) {
	good := spi.PluginConfig{Name: "acme", Path: "bin/acme", SHA256: strings.Repeat("ab", 32), Env: map[string]string{"TZ": "UTC"}}
	type change = func(c *spi.PluginConfig)
	for _, tt := range []struct {
		name   string
		change change
		want   string
	}{
		{"good", func(*spi.PluginConfig) {}, ""},
		{"filled", func(c *spi.PluginConfig) { *c = c.Filled() }, ""},
		{"a base above the cap that holds by default", func(c *spi.PluginConfig) { c.Restart.Base = spi.Duration(time.Minute); *c = c.Filled() }, ""},
		{"unverified", func(c *spi.PluginConfig) { c.SHA256, c.AllowUnverified = "", true }, ""},
		{"name", func(c *spi.PluginConfig) { c.Name = "Acme" }, `name: "Acme" is not`},
		{"no path", func(c *spi.PluginConfig) { c.Path = "" }, "path: is missing"},
		{"no hash", func(c *spi.PluginConfig) { c.SHA256 = "" }, "sha256: is missing; `bhrpc plugin pin bin/acme`"},
		{"short hash", func(c *spi.PluginConfig) { c.SHA256 = "abcd" }, "64 hexadecimal digits"},
		{"variable", func(c *spi.PluginConfig) { c.Env = map[string]string{"A=B": ""} }, `env: "A=B" is no name`},
		{"mtls", func(c *spi.PluginConfig) { c.MTLS = "on" }, `mtls: unknown value "on"; known: auto, off`},
		{"negative", func(c *spi.PluginConfig) { c.Limits.NoFile = -1 }, "limits.nofile: -1 is not between 32 and 1048576"},
		{"too short", func(c *spi.PluginConfig) { c.CallTimeout = 1 }, "call_timeout: 1ns is not between 1ms and 1m0s"},
		{"failure of an unknown kind", func(c *spi.PluginConfig) { c.OnFailure = map[string]string{"loadbalanser": "p2c"} }, `did you mean "loadbalancer"?`},
		{"last plan of a serializer", func(c *spi.PluginConfig) { c.OnFailure = map[string]string{"serializer": spi.LastGood} }, "on_failure.serializer: only a loadbalancer has a last plan"},
		{"failure without a name", func(c *spi.PluginConfig) { c.OnFailure = map[string]string{"heartbeat": ""} }, "on_failure.heartbeat: names nothing"},
		{"failure", func(c *spi.PluginConfig) {
			c.OnFailure = map[string]string{"heartbeat": spi.Fail, "loadbalancer": spi.LastGood, "proxy": "reflect"}
		}, ""},
		{"provides an unknown kind", func(c *spi.PluginConfig) { c.Provides = map[string][]string{"cache": {"x"}} }, "provides.cache: \"cache\" is no kind"},
		{"provides a name twice", func(c *spi.PluginConfig) { c.Provides = map[string][]string{"proxy": {"x", "x"}} }, "provides.proxy.1: \"x\" is no name"},
		{"provides", func(c *spi.PluginConfig) { c.Provides = map[string][]string{"proxy": {"x"}} }, ""},
		{"cap below base", func(c *spi.PluginConfig) { c.Restart.Base, c.Restart.Cap = spi.Duration(2e9), spi.Duration(1e9) }, "restart.cap: 1s is below restart.base, 2s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.change(&c)
			err := c.Validate()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Validate: got %v, want %q", err, tt.want)
			}
		})
	}
}
