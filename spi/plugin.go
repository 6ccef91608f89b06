package spi

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// PluginLoader starts plugin processes and adds what they bring to a catalog. The
// framework's own is plugins.Loader, which an import links in.
type PluginLoader interface {
	// Load starts every plugin and adds its extensions to cat. A plugin that is
	// required and does not start fails it, and then nothing is left running; one that
	// is not goes on being started. ctx bounds Load only. The error joins a
	// *[PluginError] for every fault.
	Load(ctx context.Context, env Env, cat *Catalog, plugins []PluginConfig) (Plugins, error)
}

// Plugins is the plugin processes of one program. It is safe for concurrent use.
type Plugins interface {
	// Status describes every plugin, in the order of the configuration.
	Status() []PluginStatus

	// Restart replaces the process of a plugin by a new one and lets the calls of the
	// old one finish. sha256 is the hash of the new program; "": the configured one. If
	// the new one does not start the old one stays. Errors: [ErrUnknown] for a name
	// that is no plugin.
	Restart(ctx context.Context, name, sha256 string) error

	// Close ends every process and waits. It is safe to call twice.
	Close() error
}

// PluginConfig says which program a plugin is and how it is run. A zero duration or
// count means the default of [DefaultPluginConfig].
type PluginConfig struct {
	Name            string              `json:"name" doc:"what errors, logs and listings call the plugin"`
	Path            string              `json:"path" doc:"its program; relative to the file"`
	Args            []string            `json:"args,omitzero" doc:"arguments of the program"`
	Env             map[string]string   `json:"env,omitzero" doc:"its environment; nothing of the host's is passed on"`
	SHA256          string              `json:"sha256,omitzero" doc:"hash of the program, 64 hexadecimal digits; bhrpc plugin pin prints it"`
	AllowUnverified bool                `json:"allow_unverified,omitzero" doc:"run it without a hash; warned of at every start"`
	Required        bool                `json:"required,omitzero" doc:"the program does not start without it"`
	Provides        map[string][]string `json:"provides,omitzero" doc:"names of its extensions by kind; lets the fallbacks stand in for a plugin that does not start"`
	PerCall         bool                `json:"per_call,omitzero" doc:"allow its serializers and proxies, which cost an exchange with the plugin per call"`
	MTLS            string              `json:"mtls,omitzero" doc:"auto; off for a plugin that is not written in Go: its socket is in a directory of the host's user alone" oneof:"auto,off"`
	StartTimeout    Duration            `json:"start_timeout,omitzero" doc:"time allowed from its start to its description; 0s: 5s"`
	CallTimeout     Duration            `json:"call_timeout,omitzero" doc:"time allowed for an exchange; 0s: 200ms"`
	MaxInflight     int                 `json:"max_inflight,omitzero" doc:"exchanges at a time; others wait for their turn; 0: 64"`
	Limits          PluginLimits        `json:"limits,omitzero"`
	Restart         PluginRestart       `json:"restart,omitzero"`
	OnFailure       map[string]string   `json:"on_failure,omitzero" doc:"what stands in while it does not run, by kind: the name of a built-in, last-good (a loadbalancer, and then p2c), pass (a proxy: calls go on without its hooks, and a refusal or an audit may be missed) or fail; by default last-good, three-strike for a heartbeat, fail for the others"`
}

// PluginLimits bounds what a plugin process may use. Only Linux has them.
type PluginLimits struct {
	NoFile int  `json:"nofile,omitzero" doc:"files it may have open; 0: 1024"`
	Memory Size `json:"memory,omitzero" doc:"bytes of private memory that it may map, of which a Go program needs 256MiB to begin with; 0: no limit"`
}

// PluginRestart says when a plugin that ended is started again: after a random time
// of up to Base, doubled with every start up to Cap, and from the beginning again
// when it has run for Window. After MaxStarts within Window the next start is a Window
// later.
type PluginRestart struct {
	Base      Duration `json:"base,omitzero" doc:"longest time before the first new start; 0s: 100ms"`
	Cap       Duration `json:"cap,omitzero" doc:"longest time before any; 0s: 30s"`
	MaxStarts int      `json:"max_starts,omitzero" doc:"starts within window after which it is left alone for a window; 0: 5"`
	Window    Duration `json:"window,omitzero" doc:"time within which starts count; when it has run for so long, the times begin with base again; 0s: 60s"`
}

// DefaultPluginConfig returns the values that hold where a PluginConfig says nothing.
func DefaultPluginConfig() PluginConfig {
	return PluginConfig{
		MTLS:         "auto",
		StartTimeout: Duration(5 * time.Second), CallTimeout: Duration(200 * time.Millisecond), MaxInflight: 64,
		Limits:  PluginLimits{NoFile: 1024},
		Restart: PluginRestart{Base: Duration(100 * time.Millisecond), Cap: Duration(30 * time.Second), MaxStarts: 5, Window: Duration(time.Minute)},
	}
}

// Filled returns c with the defaults where it says nothing.
func (c PluginConfig) Filled() PluginConfig {
	d := DefaultPluginConfig()
	fill(&c.MTLS, d.MTLS)
	fill(&c.StartTimeout, d.StartTimeout)
	fill(&c.CallTimeout, d.CallTimeout)
	fill(&c.MaxInflight, d.MaxInflight)
	fill(&c.Limits.NoFile, d.Limits.NoFile)
	fill(&c.Restart.Base, d.Restart.Base)
	fill(&c.Restart.Cap, max(d.Restart.Cap, c.Restart.Base))
	fill(&c.Restart.MaxStarts, d.Restart.MaxStarts)
	fill(&c.Restart.Window, d.Restart.Window)
	return c
}

func fill[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// What PluginConfig.OnFailure can say beside the name of a built-in.
const (
	LastGood = "last-good" // the last plan, and before the first the built-in
	Fail     = "fail"      // UNAVAILABLE
	Pass     = "pass"      // of a proxy: calls go on without its hooks
)

// PluginFault is one thing that is wrong with a [PluginConfig].
type PluginFault struct {
	Key     string // below the plugin, as "restart.cap"
	Message string
}

// Error names the key.
func (f *PluginFault) Error() string { return f.Key + ": " + f.Message }

// PluginError is what is wrong with one plugin at its start.
type PluginError struct {
	Plugin string // its name
	Key    string // of its configuration, as "provides.loadbalancer"; "": none is to blame
	Cause  error
}

// Error is that of the cause, which names the plugin.
func (e *PluginError) Error() string { return e.Cause.Error() }

// Unwrap returns the cause.
func (e *PluginError) Unwrap() error { return e.Cause }

// Validate returns everything that is wrong, one [PluginFault] each, joined. It
// looks at no file.
func (c PluginConfig) Validate() error {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, &PluginFault{key, fmt.Sprintf(format, args...)})
	}
	if !names.MatchString(c.Name) {
		fault("name", "%.100q is not lower-case letters, digits and dashes, a letter first, 64 at most", c.Name)
	}
	if c.Path == "" {
		fault("path", "is missing; it is the program of the plugin")
	}
	switch hash, err := hex.DecodeString(c.SHA256); {
	case c.SHA256 == "" && !c.AllowUnverified:
		fault("sha256", "is missing; `bhrpc plugin pin %s` prints it, or set allow_unverified", cmp.Or(c.Path, "PATH"))
	case c.SHA256 != "" && (err != nil || len(hash) != 32):
		fault("sha256", "%.100q is not 64 hexadecimal digits", c.SHA256)
	}
	if c.MTLS != "" && c.MTLS != "auto" && c.MTLS != "off" {
		fault("mtls", "unknown value %.100q; known: auto, off", c.MTLS)
	}
	for _, kind := range slices.Sorted(maps.Keys(c.OnFailure)) {
		switch key := "on_failure." + kind; {
		case !slices.Contains(pluginKinds, kind):
			fault(key, "%s", unknownKind(kind))
		case c.OnFailure[kind] == LastGood && kind != "loadbalancer":
			fault(key, "only a loadbalancer has a last plan; name a built-in %s, or say %s", kind, Fail)
		case c.OnFailure[kind] == "":
			fault(key, "names nothing; name a built-in %s, or say %s", kind, Fail)
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(c.Provides)) {
		key := "provides." + kind
		if !slices.Contains(pluginKinds, kind) {
			fault(key, "%s", unknownKind(kind))
		}
		for i, name := range c.Provides[kind] {
			if !names.MatchString(name) || slices.Contains(c.Provides[kind][:i], name) {
				fault(fmt.Sprintf("%s.%d", key, i), "%.100q is no name of an extension, or it is listed twice", name)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.Env)) {
		if !variable.MatchString(key) {
			fault("env", "%.100q is no name of a variable", key)
		}
	}
	faults = append(faults,
		within("start_timeout", c.StartTimeout, Duration(10*time.Millisecond), Duration(10*time.Minute)),
		within("call_timeout", c.CallTimeout, Duration(time.Millisecond), Duration(time.Minute)),
		within("max_inflight", c.MaxInflight, 1, 1<<16),
		within("limits.nofile", c.Limits.NoFile, 32, 1<<20),
		within("limits.memory", c.Limits.Memory, 64<<20, math.MaxInt64),
		within("restart.base", c.Restart.Base, Duration(time.Millisecond), Duration(time.Hour)),
		within("restart.cap", c.Restart.Cap, Duration(time.Millisecond), Duration(time.Hour)),
		within("restart.max_starts", c.Restart.MaxStarts, 1, 1<<20),
		within("restart.window", c.Restart.Window, Duration(time.Millisecond), Duration(24*time.Hour)))
	if r := c.Restart; r.Cap != 0 && r.Base > r.Cap {
		fault("restart.cap", "%v is below restart.base, %v", r.Cap, r.Base)
	}
	return errors.Join(faults...)
}

// within reports a value that is neither 0 nor between low and high.
func within[T int | Duration | Size](key string, v, low, high T) error {
	if v == 0 || v >= low && v <= high {
		return nil
	}
	return &PluginFault{key, fmt.Sprintf("%v is not between %v and %v; 0 means the default", v, low, high)}
}

// pluginKinds are those of the extensions that a plugin can bring.
var pluginKinds = []string{"loadbalancer", "heartbeat", "serializer", "proxy", "registry"}

// unknownKind says that a plugin brings none of that kind.
func unknownKind(kind string) string {
	message := fmt.Sprintf("%.100q is no kind of extension that a plugin can bring", kind)
	if near := Nearest(kind, pluginKinds); near != "" {
		message += fmt.Sprintf("; did you mean %q?", near)
	}
	return message + "\n  kinds: " + strings.Join(pluginKinds, ", ")
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
