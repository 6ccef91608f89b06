package conform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
)

// resolvers returns how a host checks a configuration, by kind. Its keys are the
// kinds that there are.
func resolvers(cat *spi.Catalog) map[string]func(spi.Ref) (spi.Resolved, error) {
	return map[string]func(spi.Ref) (spi.Resolved, error){
		cat.Serializers.Kind(): cat.Serializers.Resolve, cat.LoadBalancers.Kind(): cat.LoadBalancers.Resolve, cat.Proxies.Kind(): cat.Proxies.Resolve,
		cat.Heartbeats.Kind(): cat.Heartbeats.Resolve, cat.Registries.Kind(): cat.Registries.Resolve,
	}
}

// describe looks at what the plugin says of itself, and adds its extensions to a
// catalog as a host does.
func (r *runner) describe(f found) {
	r.report.Extensions = r.plugin.Extensions()
	r.cat = spi.NewCatalog()
	if err := r.cfg.Register(r.cat); err != nil {
		f.faultf("register what hosts have linked in: %v", err)
		return
	}
	if len(r.report.Extensions) == 0 {
		f.faultf("it brings no extensions; register them in the catalog that is given to plugins.Serve")
	}
	kinds := resolvers(r.cat)
	for _, e := range r.report.Extensions {
		what := e.Kind + " " + e.Name
		if _, ok := kinds[e.Kind]; !ok {
			f.faultf("%s: extensions of this kind cannot live in a plugin; link it in", what)
			continue
		}
		if strings.TrimSpace(e.Doc) == "" {
			f.faultf("%s: it has no doc; listings and documentation show one sentence", what)
		}
		describeFields(f, what, e.Fields)
	}
	if err := r.plugin.Register(r.cat); err != nil {
		f.faultf("%v", err)
		return
	}
	for _, e := range r.report.Extensions {
		if !slices.ContainsFunc(r.cat.List(), func(in spi.Info) bool { return in.Kind == e.Kind && in.Name == e.Name && in.Source == e.Source }) {
			f.faultf("%s %s: this version of bhrpc cannot use extensions of this kind from a plugin; link it in", e.Kind, e.Name)
		}
	}
}

func describeFields(f found, what string, fields []spi.Field) {
	var keys []string
	for _, field := range fields {
		key := what + ", key " + field.Key
		switch {
		case field.Key == "" || slices.Contains(keys, field.Key):
			f.faultf("%s: the key is empty or described twice", key)
		case field.Type == "":
			f.faultf("%s: it has no type, so the host cannot check it", key)
		case field.Default != "" && !json.Valid([]byte(field.Default)):
			f.faultf("%s: its default, %.100q, is not JSON", key, field.Default)
		case strings.TrimSpace(field.Doc) == "":
			f.faultf("%s: it has no doc; write the struct tag `doc`", key)
		}
		keys = append(keys, field.Key)
		describeFields(f, key, field.Fields)
	}
}

// configure looks at what is said to configurations, by the host and by the plugin,
// which is asked by hosts that know it less well, too.
func (r *runner) configure(ctx context.Context, f found) {
	for name := range r.cfg.With {
		if !slices.ContainsFunc(r.report.Extensions, func(e spi.Info) bool { return e.Name == name }) {
			f.faultf("a configuration was given for %q, which it does not bring", name)
		}
	}
	kinds := resolvers(r.cat)
	for _, e := range r.report.Extensions {
		what := e.Kind + " " + e.Name
		effective, err := r.plugin.Configure(ctx, e.Kind, e.Name, r.cfg.With[e.Name])
		switch {
		case errors.Is(err, spi.ErrInvalid) && r.cfg.With[e.Name] == nil:
			r.refused[what] = true
			f.faultf("%s: its defaults are refused: %v; if it needs keys, give them: --with '%s={…}'", what, err, e.Name)
			continue
		case err != nil:
			r.refused[what] = true
			f.faultf("%s: its configuration is refused: %v", what, err)
			continue
		case len(effective) > 0 && !json.Valid(effective):
			f.faultf("%s: the configuration in force, %.100q, is not JSON", what, effective)
		}
		misspelt := "no-such-key"
		if len(e.Fields) > 0 {
			misspelt = e.Fields[0].Key + "x"
		}
		wrong := fmt.Appendf(nil, `{%q: 1}`, misspelt)
		if _, err := r.plugin.Configure(ctx, e.Kind, e.Name, wrong); !errors.Is(err, spi.ErrInvalid) {
			f.faultf("%s: asked about the unknown key %q, the plugin says %v; want INVALID_ARGUMENT", what, misspelt, err)
		}
		_, err = kinds[e.Kind](spi.Ref{Use: e.Name, With: spi.Raw{JSON: wrong}})
		var keys []string
		for _, field := range e.Fields {
			keys = append(keys, field.Key)
		}
		if near := spi.Nearest(misspelt, keys); err == nil || !strings.Contains(err.Error(), misspelt) || !strings.Contains(err.Error(), near) {
			f.faultf("%s: the unknown key %q gives %v; want an error that names it and %q", what, misspelt, err, near)
		}
		if _, err := r.plugin.Configure(ctx, e.Kind, e.Name+"-x", nil); !errors.Is(err, spi.ErrInvalid) {
			f.faultf("%s: asked about the unknown name %q, the plugin says %v; want INVALID_ARGUMENT", what, e.Name+"-x", err)
		}
	}
}
