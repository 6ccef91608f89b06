package plugins

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// Config says which program a plugin is and how it is run. [Defaults] holds the
// values to begin with; a zero duration or count in a Config means the default.
type Config struct {
	Name            string            `json:"name" doc:"what errors and listings call the plugin: lower-case letters, digits and dashes"`
	Path            string            `json:"path" doc:"absolute path of its program"`
	Args            []string          `json:"args" doc:"arguments of the program"`
	Env             map[string]string `json:"env" doc:"its environment; nothing of the host's is passed on"`
	SHA256          string            `json:"sha256" doc:"hash of the program, 64 hexadecimal digits"`
	AllowUnverified bool              `json:"allow_unverified" doc:"run it without a hash; warned of at every start"`
	StartTimeout    spi.Duration      `json:"start_timeout" doc:"time allowed from its start to its description"`
	MaxFiles        int               `json:"max_files" doc:"files it may have open (Linux)"`
}

// Defaults returns the values that hold where a Config says nothing.
func Defaults() Config {
	return Config{
		StartTimeout: spi.Duration(5 * time.Second),
		MaxFiles:     1024,
	}
}

var names = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)

// Validate returns everything that is wrong, joined. It looks at no file.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !names.MatchString(c.Name) {
		fault("name: %q is not lower-case letters, digits and dashes, a letter first, 64 at most", c.Name)
	}
	if !filepath.IsAbs(c.Path) || filepath.Clean(c.Path) != c.Path {
		fault("path: %q is not an absolute path in its shortest form", c.Path)
	}
	switch hash, err := hex.DecodeString(c.SHA256); {
	case c.SHA256 == "" && !c.AllowUnverified:
		fault("sha256: missing; it is what `sha256sum %s` prints, or set allow_unverified", c.Path)
	case c.SHA256 != "" && (err != nil || len(hash) != 32):
		fault("sha256: %q is not 64 hexadecimal digits", c.SHA256)
	}
	for key := range c.Env {
		if !variable.MatchString(key) {
			fault("env: %q is no name of a variable", key)
		}
	}
	for _, n := range []struct {
		key   string
		value int64
	}{
		{"start_timeout", int64(c.StartTimeout)}, {"max_files", int64(c.MaxFiles)},
	} {
		if n.value < 0 {
			fault("%s: is negative; 0 means the default", n.key)
		}
	}
	return errors.Join(faults...)
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// filled returns c with defaults where it says nothing.
func (c Config) filled() Config {
	d := Defaults()
	fill(&c.StartTimeout, d.StartTimeout)
	fill(&c.MaxFiles, d.MaxFiles)
	return c
}

func fill[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}
