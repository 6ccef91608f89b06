package plugins

import (
	"github.com/bhrpc/bhrpc/spi"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
)

// describe turns what a catalog lists into what is sent.
func describe(infos []spi.Info) []*pluginv1.Extension {
	out := make([]*pluginv1.Extension, len(infos))
	for i, in := range infos {
		out[i] = &pluginv1.Extension{Kind: in.Kind, Name: in.Name, Doc: in.Doc, Aliases: in.Aliases, Fields: describeFields(in.Fields)}
	}
	return out
}

func describeFields(fields []spi.Field) []*pluginv1.Field {
	var out []*pluginv1.Field
	for _, f := range fields {
		out = append(out, &pluginv1.Field{Key: f.Key, Type: f.Type, Default: f.Default, Doc: f.Doc, Fields: describeFields(f.Fields), Values: f.Values})
	}
	return out
}

// described turns what a plugin sent into Infos, whose source is the plugin.
func described(plugin string, extensions []*pluginv1.Extension) []spi.Info {
	out := make([]spi.Info, len(extensions))
	for i, e := range extensions {
		out[i] = spi.Info{Kind: e.GetKind(), Name: e.GetName(), Doc: e.GetDoc(), Source: "plugin " + plugin, Aliases: e.GetAliases(), Fields: describedFields(e.GetFields())}
	}
	return out
}

func describedFields(fields []*pluginv1.Field) []spi.Field {
	var out []spi.Field
	for _, f := range fields {
		out = append(out, spi.Field{Key: f.GetKey(), Type: f.GetType(), Default: f.GetDefault(), Doc: f.GetDoc(), Fields: describedFields(f.GetFields()), Values: f.GetValues()})
	}
	return out
}
