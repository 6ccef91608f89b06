package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc/spi"
	"go.yaml.in/yaml/v3"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

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
// os.Environ, and validates the result. An empty path means no file. Relative
// paths are relative to the working directory.
//
// The error joins one *[spi.ConfigError] for every fault, those of the file by
// position; [errors.Is] finds [fs.ErrNotExist] in it if there is no such file.
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
	data, err := json.Marshal(value)
	if err != nil {
		f.add(code.pos(0, 0), key, fmt.Errorf("%w: %w", spi.ErrInvalid, err), "a %T cannot be a value of the configuration", value)
		return f.err()
	}
	src := code
	src.key = key
	next := Config{File: c.File, from: maps.Clone(c.from)}
	if n := parse(src, data, f); n != nil { // JSON is YAML
		next.lay(src, wrap(reflect.TypeFor[File](), key, n), f)
	}
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
	}
}

var (
	errDirectory = errors.New("is a directory")
	errTooLarge  = errors.New("too large")
)

func readAll(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return nil, errDirectory
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errTooLarge
	}
	return data, err
}

// explain says why a file cannot be read and what to do.
func explain(path string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		message := "no such file"
		if other := sibling(path); other != "" {
			message += "; there is " + other + ": rename it, or give its name"
		} else if dir, err := os.Getwd(); err == nil && !filepath.IsAbs(path) {
			message += "; the working directory is " + dir
		}
		return message
	case errors.Is(err, errDirectory):
		return "it is a directory; give the file in it, such as " + filepath.Join(path, "bhrpc.yaml")
	case errors.Is(err, errTooLarge):
		return fmt.Sprintf("more than %v; a configuration is smaller", spi.Size(maxFile))
	}
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return failed.Err.Error()
	}
	return err.Error()
}

// sibling returns the file that is called as path but for the other spelling of
// its extension, "" if there is none.
func sibling(path string) string {
	extension := filepath.Ext(path)
	other, ok := map[string]string{".yaml": ".yml", ".yml": ".yaml"}[extension]
	if !ok {
		return ""
	}
	other = strings.TrimSuffix(path, extension) + other
	if _, err := os.Stat(other); err != nil {
		return ""
	}
	return other
}
