package bhrpc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/extensions"
	"github.com/bhrpc/bhrpc/internal/config"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// Option adds extensions to the catalog of a program; the Register function of an
// extension's package is one.
type Option = func(*spi.Catalog) error

// Config is a configuration that the program may still add to. Get one from
// [Load], and make an [App] of it with [Config.Open]. It is for one goroutine.
type Config struct {
	c *config.Config

	// Log takes the place of the logger that the key log describes. nil: that one,
	// on standard error.
	Log logrus.FieldLogger

	// Interceptors are around every call that is made, the first outermost;
	// ServerInterceptors around every call that is served. Those that the keys
	// consumer.interceptors and provider.interceptors name are outside of them.
	Interceptors       []spi.Interceptor
	ServerInterceptors []spi.Interceptor

	// Observers are told what happens to connections, those of the consumer and those
	// of providers.
	Observers []*core.Observer
}

// Load reads a configuration file and the environment. path "" means no file. Every
// fault is reported, with its place; nothing is opened.
func Load(path string) (*Config, error) {
	c, err := config.Load(path, os.Environ())
	if err != nil {
		return nil, fmt.Errorf("bhrpc: %w", err)
	}
	return &Config{c: c}, nil
}

// Set gives a key a value from code, which beats the environment and the file:
//
//	cfg.Set("consumer.timeout", "2s")
//	cfg.Set("consumer.loadbalancer", map[string]any{"use": "weighted-random", "with": …})
//
// An error names the key, or says what is wrong with the value.
func (c *Config) Set(key string, value any) error {
	if err := c.c.Set(key, value); err != nil {
		return fmt.Errorf("bhrpc: %w", err)
	}
	return nil
}

// catalog returns the built-in extensions and those of options.
func catalog(options []Option) (*spi.Catalog, error) {
	cat := spi.NewCatalog()
	errs := []error{extensions.Register(cat)}
	for _, option := range options {
		errs = append(errs, option(cat))
	}
	return cat, errors.Join(errs...)
}

// Open makes an App of the configuration: it starts the plugins, resolves and opens every extension
// that is named, and begins to connect if there is somebody to connect to. ctx
// bounds Open only. With BHRPC_EXPLAIN=1 in the environment it prints
// [Config.Explain] on standard error first, with BHRPC_EXPLAIN=all every key.
func (c *Config) Open(ctx context.Context, options ...Option) (*App, error) {
	app, err := c.open(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("bhrpc: %w", err)
	}
	return app, nil
}

// logger returns what the App logs to.
func (c *Config) logger() (logrus.FieldLogger, error) {
	if c.Log != nil {
		return c.Log, nil
	}
	return newLogger(c.c.Log, os.Stderr)
}

func (c *Config) open(ctx context.Context, options []Option) (*App, error) {
	cat, err := catalog(options)
	if err != nil {
		return nil, err
	}
	app := &App{cfg: c, cat: cat}
	app.close = sync.OnceValue(app.shutDown)
	if app.log, err = c.logger(); err != nil {
		return nil, err
	}
	if app.plugins, err = c.resolve(ctx, app.log, cat); err != nil {
		return nil, err
	}
	switch os.Getenv("BHRPC_EXPLAIN") {
	case "", "0":
	case "all":
		err = errors.Join(app.Explain(os.Stderr), app.ExplainKeys(os.Stderr))
	default:
		err = app.Explain(os.Stderr)
	}
	if err == nil {
		err = app.connect(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, app.Close())
	}
	app.listenControl(os.Getenv("XDG_RUNTIME_DIR"))
	return app, nil
}
