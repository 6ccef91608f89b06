package spi

import "testing"

func TestSourceOfFunction(t *testing.T) {
	for _, tt := range []struct{ name, function, want string }{
		{"function", "example.org/you/nearest.Register", "package example.org/you/nearest"},
		{"closure", "example.org/you/nearest.Register.func1", "package example.org/you/nearest"},
		{"method", "example.org/you/nearest.(*plugin).Register", "package example.org/you/nearest"},
		{"generic function", "example.org/you/nearest.Register[...]", "package example.org/you/nearest"},
		{"main", "main.main", "package main"},
		{"version in the path", "gopkg.in/nearest%2ev3.Register", "package gopkg.in/nearest.v3"},
		{"built-in", "github.com/bhrpc/bhrpc/extensions.Register", "built-in"},
		{"built-in, one kind", "github.com/bhrpc/bhrpc/extensions/loadbalancer.Register", "built-in"},
		{"not quite built-in", "github.com/bhrpc/bhrpc/extensionsplus.Register", "package github.com/bhrpc/bhrpc/extensionsplus"},
		{"elsewhere in this module", "github.com/bhrpc/bhrpc/examples/lb.Register", "package github.com/bhrpc/bhrpc/examples/lb"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := sourceOf(packageOf(tt.function)); got != tt.want {
				t.Errorf("source of %s: got %s, want %s", tt.function, got, tt.want)
			}
		})
	}
}
