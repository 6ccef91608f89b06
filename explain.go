package bhrpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/bhrpc/bhrpc/internal/config"
	"github.com/bhrpc/bhrpc/spi"
)

// choice is one key that names an extension.
type choice struct {
	ref     spi.Ref
	role    spi.Role // "" where it makes no difference
	resolve func(spi.Ref) (spi.Resolved, error)
}

// choices lists the keys that name extensions, in the order of the file. Those that
// name none are left out.
func (c *Config) choices(cat *spi.Catalog) []choice {
	var all []choice
	add := func(ref spi.Ref, role spi.Role, resolve func(spi.Ref) (spi.Resolved, error)) {
		if ref.Use != config.None || role != "" { // a heartbeat called none is an extension
			all = append(all, choice{ref, role, resolve})
		}
	}
	add(c.c.Provider.Heartbeat, spi.RoleProvider, cat.Heartbeats.Resolve)
	add(c.c.Provider.Registry, "", cat.Registries.Resolve)
	for _, ref := range c.c.Provider.Interceptors {
		add(ref, "", cat.Interceptors.Resolve)
	}
	add(c.c.Consumer.Serializer, "", cat.Serializers.Resolve)
	add(c.c.Consumer.LoadBalancer, "", cat.LoadBalancers.Resolve)
	add(c.c.Consumer.Proxy, "", cat.Proxies.Resolve)
	add(c.c.Consumer.Heartbeat, spi.RoleConsumer, cat.Heartbeats.Resolve)
	add(c.c.Consumer.Registry, "", cat.Registries.Resolve)
	add(c.c.Consumer.Compressor, "", cat.Compressors.Resolve)
	for _, ref := range c.c.Consumer.Interceptors {
		add(ref, "", cat.Interceptors.Resolve)
	}
	return all
}

// check resolves every extension that is named, so that a misspelt one stops the
// start and not a call.
func (c *Config) check(cat *spi.Catalog) error {
	var errs []error
	for _, choice := range c.choices(cat) {
		_, err := choice.resolve(choice.ref)
		errs = append(errs, err)
	}
	for _, ref := range c.offered("provider.serializers", c.c.Provider.Serializers) {
		_, err := cat.Serializers.Resolve(ref)
		errs = append(errs, err)
	}
	for _, ref := range c.offered("provider.compressors", c.c.Provider.Compressors) {
		_, err := cat.Compressors.Resolve(ref)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// offered are the extensions that a list of the provider's names.
func (c *Config) offered(list string, names []string) []spi.Ref {
	var refs []spi.Ref
	for i, name := range names {
		key := fmt.Sprintf("%s.%d", list, i)
		refs = append(refs, spi.Ref{Use: name, Key: key, At: c.c.Origin(key)})
	}
	return refs
}

// Explain writes which extension every key chose, where the key was set, who
// provides the extension, and its configuration in force. It opens and dials
// nothing; plugins are started, since nobody else knows what they bring, and ended
// again. ctx bounds it. Errors are those of the configuration, and of w.
func (c *Config) Explain(ctx context.Context, w io.Writer, options ...Option) error {
	if err := c.explain(ctx, w, options); err != nil {
		return fmt.Errorf("bhrpc: %w", err)
	}
	return nil
}

func (c *Config) explain(ctx context.Context, w io.Writer, options []Option) (err error) {
	cat, err := catalog(options)
	if err != nil {
		return err
	}
	log, err := c.logger()
	if err != nil {
		return err
	}
	plugins, err := c.resolve(ctx, log, cat)
	if err != nil {
		return err
	}
	if plugins != nil {
		defer func() { err = errors.Join(err, plugins.Close()) }()
	}
	return c.writeChoices(w, cat)
}

// ExplainKeys writes every other key: its value and where it was set. Names of
// extensions are not looked up. Errors are those of the configuration, and of w.
func (c *Config) ExplainKeys(w io.Writer) error {
	err := c.c.Validate()
	if err == nil {
		err = c.writeKeys(w)
	}
	if err != nil {
		return fmt.Errorf("bhrpc: %w", err)
	}
	return nil
}

func (c *Config) writeChoices(w io.Writer, cat *spi.Catalog) error {
	rows := [][]string{{"KEY", "VALUE", "FROM", "PROVIDED BY"}}
	for _, choice := range c.choices(cat) {
		resolved, err := choice.resolve(choice.ref)
		if err != nil {
			return err
		}
		value := resolved.Info.Name
		if choice.ref.Use != value {
			value = choice.ref.Use + " = " + value // an alias
		}
		configured := inForce(resolved.Config)
		if choice.role != "" {
			if configured, err = pulseInForce(cat, choice); err != nil {
				return err
			}
		}
		rows = append(rows, []string{choice.ref.Key, value, from(choice.ref.At), resolved.Info.Source, configured})
	}
	return writeTable(w, rows)
}

func (c *Config) writeKeys(w io.Writer) error {
	rows := [][]string{{"KEY", "VALUE", "FROM"}}
	for _, e := range c.c.Entries() {
		rows = append(rows, []string{e.Key, e.Value, from(e.From)})
	}
	return writeTable(w, rows)
}

// writeTable aligns columns, three spaces apart, and leaves no space at the end of a
// line.
func writeTable(w io.Writer, rows [][]string) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// from says where a key was set, in a table: without the column.
func from(at spi.Pos) string {
	switch {
	case at == spi.Pos{}:
		return "default"
	case at.Line > 0:
		return fmt.Sprintf("%s:%d", at.Source, at.Line)
	}
	return at.Source
}

// pulseInForce shows the times of a heartbeat, which depend on the side, and what
// else was set. A strategy is pure: to open one starts nothing.
func pulseInForce(cat *spi.Catalog, c choice) (string, error) {
	strategy, err := cat.Heartbeats.Open(context.Background(), spi.Env{Role: c.role}, c.ref)
	if err != nil {
		return "", err
	}
	if closer, ok := strategy.(io.Closer); ok { // one of a plugin
		defer closer.Close()
	}
	timing := strategy.Timing()
	if timing.Interval == 0 {
		return "", nil
	}
	parts := []string{"interval=" + timing.Interval.String()}
	if timing.Strikes > 0 {
		parts = append(parts, fmt.Sprintf("strikes=%d", timing.Strikes))
	}
	for _, part := range strings.Fields(inForce(c.ref.With.JSON)) {
		if !strings.HasPrefix(part, "interval=") && !strings.HasPrefix(part, "strikes=") {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, " "), nil
}

// inForce shows the configuration of an extension as "a=1 b=2".
func inForce(cfg []byte) string {
	var values map[string]json.RawMessage
	if json.Unmarshal(cfg, &values) != nil {
		return ""
	}
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		text := string(values[key])
		if text == "null" {
			continue
		}
		var plain string
		if json.Unmarshal(values[key], &plain) == nil {
			text = plain
		}
		parts = append(parts, key+"="+text)
	}
	return strings.Join(parts, " ")
}
