package spi_test

import (
	"errors"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

func TestPosString(t *testing.T) {
	for _, tt := range []struct {
		name string
		pos  spi.Pos
		want string
	}{
		{"unknown", spi.Pos{}, ""},
		{"file", spi.Pos{Source: "conf/bhrpc.yaml", Line: 3, Column: 15}, "conf/bhrpc.yaml:3:15"},
		{"line only", spi.Pos{Source: "bhrpc.yaml", Line: 3}, "bhrpc.yaml:3"},
		{"environment", spi.Pos{Source: "env BHRPC_CONSUMER_PROXY"}, "env BHRPC_CONSUMER_PROXY"},
		{"code", spi.Pos{Source: "code"}, "code"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.pos.String(); got != tt.want {
				t.Errorf("String of %#v: got %q, want %q", tt.pos, got, tt.want)
			}
		})
	}
}

func TestConfigErrorText(t *testing.T) {
	file := spi.Pos{Source: "bhrpc.yaml", Line: 3, Column: 15}
	env := spi.Pos{Source: "env BHRPC_CONSUMER_PROXY"}
	code := spi.Pos{Source: "code"}
	const key, message, naming = "consumer.proxy", "no such thing", "unknown key consumer.proxy"
	for _, tt := range []struct {
		name, key, message string
		at                 spi.Pos
		want               string
	}{
		{"file", key, message, file, "bhrpc.yaml:3:15: no such thing"},
		{"file, line only", key, message, spi.Pos{Source: "bhrpc.yaml", Line: 3}, "bhrpc.yaml:3: no such thing"},
		{"file without key", "", message, file, "bhrpc.yaml:3:15: no such thing"},
		{"file, message names the key", key, naming, file, "bhrpc.yaml:3:15: unknown key consumer.proxy"},
		{"environment", key, message, env, "consumer.proxy (from env BHRPC_CONSUMER_PROXY): no such thing"},
		{"environment without key", "", message, env, "env BHRPC_CONSUMER_PROXY: no such thing"},
		{"environment, message names the key", key, naming, env, "env BHRPC_CONSUMER_PROXY: unknown key consumer.proxy"},
		{"code", key, message, code, "consumer.proxy (from code): no such thing"},
		{"code without key", "", message, code, "code: no such thing"},
		{"nowhere", key, message, spi.Pos{}, "consumer.proxy: no such thing"},
		{"nowhere, message names the key", key, naming, spi.Pos{}, "unknown key consumer.proxy"},
		{"nothing known", "", message, spi.Pos{}, "no such thing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := &spi.ConfigError{At: tt.at, Key: tt.key, Message: tt.message, Cause: spi.ErrUnknown}
			if got := err.Error(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if !errors.Is(err, spi.ErrUnknown) {
				t.Errorf("errors.Is(%v, ErrUnknown): got false, want true", err)
			}
		})
	}
}
