package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"time"

	"github.com/bhrpc/bhrpc/spi"
	"go.yaml.in/yaml/v3"
)

// code is the source of what [Config.Set] sets.
var code = source{name: "code"}

// Config is a configuration and where each of its values came from. The zero Config
// sets nothing, not even the defaults; start from [Default] or [Load]. It is not
// safe for concurrent use while it is being set.
type Config struct {
	File

	from map[string]spi.Pos // by full key; no entry: the default holds
}

// Load reads the file at path, then the environment, which has the form of
// os.Environ, and validates the result. An empty path means no file. Paths in the
// file are relative to the file, others to the working directory.
//
// The error joins one *[spi.ConfigError] for every fault, those of the file by
// position; [errors.Is] finds [io/fs.ErrNotExist] in it if there is no such file.
func Load(path string, environ []string) (*Config, error) {
	c, f := Default(), &faults{}
	if path != "" {
		c.readFile(path, f)
	}
	c.readEnviron(environ, f)
	c.validate(f)
	if err := f.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// Set sets a key in code, which is stronger than every other source. The value is
// what the file would say, as Go values: a name or [spi.Ref] for an extension, a
// text, [spi.Duration] or [time.Duration] for a duration, a map for a section.
// Maps are laid over what is there key by key. The value is copied.
//
// The error joins one *[spi.ConfigError] for every fault; the configuration is
// then unchanged. Whether the value is in its range, [Config.Validate] says.
func (c *Config) Set(key string, value any) error {
	if d, ok := value.(time.Duration); ok {
		value = spi.Duration(d)
	}
	f := &faults{}
	n, err := fromGo(value)
	if err != nil {
		f.add(spi.Pos{Source: code.name}, key, fmt.Errorf("%w: %w", spi.ErrInvalid, err), "a %T cannot be a value of the configuration", value)
		return f.err()
	}
	cleaner{code, f}.clean(n, key, 1)
	next := Config{File: c.File, from: maps.Clone(c.from)}
	next.lay(code, wrap(reflect.TypeFor[File](), key, n), f)
	if err := f.err(); err != nil {
		return err
	}
	*c = next
	return nil
}

// Origin returns where the value of a key came from, by its full key, such as
// "consumer.reconnect.cap", "references.Greeter.timeout" or, for an element of a
// list, "consumer.addresses.0". It is zero where the default holds, and for an
// unknown key.
func (c *Config) Origin(key string) spi.Pos { return c.from[key] }

// lay lays the tree of a whole configuration over c. Nothing that c shares with a
// copy of it is modified but c.from.
func (c *Config) lay(src source, tree *yaml.Node, f *faults) {
	if c.from == nil {
		c.from = make(map[string]spi.Pos)
	}
	reader{src, c.from, f}.read(tree, "", reflect.ValueOf(&c.File).Elem())
}

func (c *Config) readFile(path string, f *faults) {
	data, err := readAll(path)
	if err != nil {
		f.add(spi.Pos{}, "", err, "read %s: %s", path, explain(path, err))
		return
	}
	src := source{name: path, lined: true}
	if tree := parse(src, data, f); tree != nil {
		c.lay(src, tree, f)
		c.locate(filepath.Dir(path))
	}
}

// locate makes the paths that a file in dir has set lead from there.
func (c *Config) locate(dir string) {
	provider, consumer := &c.Provider.TLS, &c.Consumer.TLS
	for _, path := range []*string{&provider.Cert, &provider.Key, &provider.ClientCA, &consumer.CA, &consumer.Cert, &consumer.Key} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	for i := range c.Plugins {
		if p := &c.Plugins[i]; p.Path != "" && !filepath.IsAbs(p.Path) {
			p.Path = filepath.Join(dir, p.Path)
		}
	}
}
