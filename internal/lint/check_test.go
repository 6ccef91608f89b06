package lint

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// graph builds an import graph from lines such as "./core: context ./spi x.org/y":
// what begins with a dot is in this module, what has no dot in it is standard. What is
// imported and has no line of its own imports nothing.
func graph(lines ...string) []pkg {
	full := func(name string) string {
		if name == "." {
			return module
		}
		if within, ok := strings.CutPrefix(name, "./"); ok {
			return module + "/" + within
		}
		return name
	}
	var list []pkg
	add := func(name string, imports []string) {
		p := pkg{ImportPath: full(name), Name: path.Base(full(name)), Standard: !strings.Contains(name, ".")}
		if strings.HasPrefix(name, "./cmd/") {
			p.Name = "main"
			p.Comment = "Command " + path.Base(name) + " does things."
		} else {
			p.Comment = "Package " + p.Name + " does things."
		}
		for _, imported := range imports {
			p.Imports = append(p.Imports, full(imported))
		}
		list = append(list, p)
	}
	var imported []string
	for _, line := range lines {
		name, rest, _ := strings.Cut(line, ":")
		add(name, strings.Fields(rest))
		imported = append(imported, strings.Fields(rest)...)
	}
	slices.Sort(imported)
	for _, name := range slices.Compact(imported) {
		if !slices.ContainsFunc(list, func(p pkg) bool { return p.ImportPath == full(name) }) {
			add(name, nil)
		}
	}
	return list
}

// TestRulesAllow: the packages as the architecture has them, those that do not exist
// yet included.
func TestRulesAllow(t *testing.T) {
	for _, tt := range []struct {
		name  string
		graph []pkg
	}{
		{"nothing but the beginning", graph("./spi: context "+logrus, logrus+": golang.org/x/sys/unix")},
		{"everything", graph(
			"./spi: context "+logrus,
			"./spi/spitest: testing ./spi",
			"./heartbeat: time ./spi "+logrus+" "+uuid,
			"./core/internal/wire: hash/crc32",
			"./core: net ./spi ./heartbeat ./core/internal/wire "+logrus+" "+uuid,
			"./core/coretest: net ./spi ./core/internal/wire",
			"./internal/config: os ./core ./spi go.yaml.in/yaml/v3",
			"./internal/control: net ./core",
			"./internal/lint: testing",
			"./extensions: ./spi ./extensions/serializer",
			"./extensions/serializer: ./spi github.com/json-iterator/go",
			"./extensions/registry/etcd: ./spi "+etcd+"/client/v3",
			"./extensions/serializer/protobuf: ./spi "+protobuf+"/proto",
			"./extensions/metrics/prometheus: ./core ./spi "+metrics+"/client_golang/prometheus",
			"./extensions/all: ./extensions ./extensions/registry/etcd ./extensions/serializer/protobuf",
			etcd+"/client/v3: "+grpc,
			"./plugins: ./spi ./plugins/internal/wire "+goPlugin+" "+grpc+"/codes",
			"./plugins/internal/wire: "+grpc,
			".: os ./core ./spi ./extensions ./internal/config ./internal/control "+logrus,
			"./cmd/bhrpc: . ./core ./internal/config ./plugins ./extensions/all github.com/spf13/cobra",
			"./examples/hello: . ./plugins ./extensions/registry/etcd",
			"./test/fault: . ./core ./plugins golang.org/x/sys/unix",
		)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if faults := check(tt.graph); faults != nil {
				t.Errorf("got  %s\nwant nothing", strings.Join(faults, "\n"))
			}
		})
	}
}

func TestRulesRefuse(t *testing.T) {
	for _, tt := range []struct {
		name  string
		graph []pkg
		want  []string
	}{
		{"spi imports another module", graph("./spi: " + uuid), []string{"spi imports github.com/google/uuid, which it may not"}},
		{"spi imports core", graph("./spi: ./core"), []string{"spi imports github.com/bhrpc/bhrpc/core, which it may not"}},
		{"a module whose name begins alike", graph("./spi: " + logrus + "x.org/y"), []string{"spi imports github.com/sirupsen/logrusx.org/y, which it may not"}},
		{"spitest imports logrus", graph("./spi/spitest: " + logrus), []string{"spi/spitest imports github.com/sirupsen/logrus, which it may not"}},
		{"wire imports spi", graph("./core/internal/wire: ./spi"), []string{"core/internal/wire imports github.com/bhrpc/bhrpc/spi, which it may not"}},
		{"wire imports another module", graph("./core/internal/wire: " + uuid), []string{"core/internal/wire imports github.com/google/uuid, which it may not"}},
		{"heartbeat imports core", graph("./heartbeat: ./core"), []string{"heartbeat imports github.com/bhrpc/bhrpc/core, which it may not"}},
		{"core imports C", graph("./core: C.x"), []string{"core imports C.x, which it may not"}},
		{"core imports extensions", graph("./core: ./extensions/serializer"), []string{
			"core imports github.com/bhrpc/bhrpc/extensions/serializer, which it may not",
			"core reaches github.com/bhrpc/bhrpc/extensions/serializer"}},
		{"core imports plugins", graph("./core: ./plugins"), []string{
			"core imports github.com/bhrpc/bhrpc/plugins, which it may not",
			"core reaches github.com/bhrpc/bhrpc/plugins"}},
		{"core imports its test kit", graph("./core: ./core/coretest"), []string{"core imports github.com/bhrpc/bhrpc/core/coretest, which it may not"}},
		{"core reaches YAML", graph("./core: "+logrus, logrus+": x.org/y", "x.org/y: go.yaml.in/yaml/v3"), []string{
			"core reaches github.com/sirupsen/logrus → x.org/y → go.yaml.in/yaml/v3"}},
		{"core reaches protobuf", graph("./core: "+uuid, uuid+": "+protobuf+"/proto"), []string{
			"core reaches github.com/google/uuid → google.golang.org/protobuf/proto"}},
		{"the facade reaches protobuf", graph(".: ./extensions", "./extensions: ./extensions/serializer/protobuf", "./extensions/serializer/protobuf: "+protobuf+"/proto"), []string{
			". reaches github.com/bhrpc/bhrpc/extensions → github.com/bhrpc/bhrpc/extensions/serializer/protobuf → google.golang.org/protobuf/proto",
			"extensions reaches github.com/bhrpc/bhrpc/extensions/serializer/protobuf → google.golang.org/protobuf/proto"}},
		{"the facade links everything in", graph(".: ./extensions/all"), []string{". reaches github.com/bhrpc/bhrpc/extensions/all"}},
		{"core reaches gRPC", graph("./core: "+uuid, uuid+": "+grpc+"/codes"), []string{
			"core reaches github.com/google/uuid → google.golang.org/grpc/codes"}},
		{"core reaches a metrics library", graph("./core: "+uuid, uuid+": "+metrics+"/client_golang"), []string{
			"core reaches github.com/google/uuid → github.com/prometheus/client_golang"}},
		{"the command imports a metrics library", graph("./cmd/bhrpc: " + metrics + "/client_golang"), []string{
			"cmd/bhrpc imports github.com/prometheus/client_golang, which is kept for extensions/metrics/..."}},
		{"built-ins link a metrics library", graph("./extensions: ./extensions/metrics/prometheus", "./extensions/metrics/prometheus: "+metrics+"/client_golang"), []string{
			"extensions reaches github.com/bhrpc/bhrpc/extensions/metrics/prometheus → github.com/prometheus/client_golang"}},
		{"core reaches extensions through heartbeat", graph("./core: ./heartbeat", "./heartbeat: ./extensions"), []string{
			"core reaches github.com/bhrpc/bhrpc/heartbeat → github.com/bhrpc/bhrpc/extensions",
			"heartbeat imports github.com/bhrpc/bhrpc/extensions, which it may not",
			"heartbeat reaches github.com/bhrpc/bhrpc/extensions"}},
		{"the test kit imports core", graph("./core/coretest: ./core"), []string{"core/coretest imports github.com/bhrpc/bhrpc/core, which it may not"}},
		{"configuration imports extensions", graph("./internal/config: ./extensions"), []string{
			"internal/config imports github.com/bhrpc/bhrpc/extensions, which it may not",
			"internal/config reaches github.com/bhrpc/bhrpc/extensions"}},
		{"an example imports configuration", graph("./examples/hello: ./internal/config"), []string{
			"examples/hello imports github.com/bhrpc/bhrpc/internal/config, which is kept for . and cmd/..."}},
		{"an extension imports configuration", graph("./extensions/proxy: ./internal/config"), []string{
			"extensions/proxy imports github.com/bhrpc/bhrpc/internal/config, which it may not",
			"extensions/proxy imports github.com/bhrpc/bhrpc/internal/config, which is kept for . and cmd/..."}},
		{"an extension imports core", graph("./extensions/proxy: ./core"), []string{"extensions/proxy imports github.com/bhrpc/bhrpc/core, which it may not"}},
		{"an extension imports the facade", graph("./extensions/proxy: ."), []string{"extensions/proxy imports github.com/bhrpc/bhrpc, which it may not"}},
		{"an extension imports gRPC", graph("./extensions/registry/etcd: " + grpc), []string{
			"extensions/registry/etcd imports google.golang.org/grpc, which is kept for plugins/..."}},
		{"the command imports go-plugin", graph("./cmd/bhrpc: " + goPlugin), []string{
			"cmd/bhrpc imports github.com/hashicorp/go-plugin, which is kept for plugins/..."}},
		{"built-ins link etcd", graph("./extensions: ./extensions/registry/etcd", "./extensions/registry/etcd: "+etcd+"/client/v3"), []string{
			"extensions reaches github.com/bhrpc/bhrpc/extensions/registry/etcd → go.etcd.io/etcd/client/v3"}},
		{"built-ins link everything", graph("./extensions: ./extensions/all"), []string{"extensions reaches github.com/bhrpc/bhrpc/extensions/all"}},
		{"the facade links plugins", graph(".: ./plugins"), []string{
			". imports github.com/bhrpc/bhrpc/plugins, which it may not",
			". reaches github.com/bhrpc/bhrpc/plugins"}},
		{"the facade links gRPC", graph(".: ./extensions/registry/etcd", "./extensions/registry/etcd: "+etcd, etcd+": "+grpc), []string{
			". reaches github.com/bhrpc/bhrpc/extensions/registry/etcd → go.etcd.io/etcd"}},
		{"the facade imports YAML", graph(".: go.yaml.in/yaml/v3"), []string{". imports go.yaml.in/yaml/v3, which it may not"}},
		{"plugins import core", graph("./plugins: ./core"), []string{"plugins imports github.com/bhrpc/bhrpc/core, which it may not"}},
		{"a package without a rule", graph("./tools/gen: fmt"), []string{"tools/gen has no rule: add one to internal/lint"}},
		{"a package beside one that has a rule", graph("./core/extra: fmt", "./corex: fmt"), []string{
			"core/extra has no rule: add one to internal/lint", "corex has no rule: add one to internal/lint"}},
		{"a name that says nothing", graph("./extensions/utils: fmt"), []string{"extensions/utils is called utils, which says nothing"}},
		{"below a name that says nothing", graph("./plugins/common/x: fmt"), []string{"plugins/common/x is called common, which says nothing"}},
		{"a package name that says nothing", []pkg{{ImportPath: module + "/plugins/x", Name: "helpers", Comment: "Package helpers helps."}},
			[]string{"plugins/x is called helpers, which says nothing"}},
		{"no comment", []pkg{{ImportPath: module + "/plugins", Name: "plugins"}},
			[]string{`plugins has no doc.go with a comment that begins with "Package plugins "`}},
		{"a comment about another package", []pkg{{ImportPath: module + "/plugins", Name: "plugins", Comment: "Package plugin runs."}},
			[]string{`plugins has no doc.go with a comment that begins with "Package plugins "`}},
		{"a command that calls itself a package", []pkg{{ImportPath: module + "/cmd/bhrpc", Name: "main", Comment: "Package main runs."}},
			[]string{`cmd/bhrpc has no doc.go with a comment that begins with "Command bhrpc "`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := check(tt.graph); !slices.Equal(got, tt.want) {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(tt.want, "\n     "))
			}
		})
	}
}

// TestEveryRuleHolds: each rule, as it stands in the table, stops what it does not
// name, what it names as never to be reached, and what is kept for others.
func TestEveryRuleHolds(t *testing.T) {
	stopped := func(t *testing.T, why string, lines ...string) {
		t.Helper()
		if faults := check(graph(lines...)); !slices.ContainsFunc(faults, func(fault string) bool { return strings.Contains(fault, why) }) {
			t.Errorf("%q: got %q, want one that says %q", lines, faults, why)
		}
	}
	for i, r := range rules {
		t.Run(r.packages, func(t *testing.T) {
			within := strings.TrimSuffix(r.packages, "/...")
			if first := slices.IndexFunc(rules, func(r rule) bool { return covers(r.packages, within) }); first != i && rules[first].packages != within {
				t.Fatalf("got the rule for %s first, want this one reached", rules[first].packages)
			}
			from := "./" + within
			if within == "." {
				from = within
			}
			if !slices.Contains(r.others, anything) {
				stopped(t, "imports x.org/y, which it may not", from+": x.org/y")
			}
			if !slices.Contains(r.own, "...") {
				stopped(t, "imports github.com/bhrpc/bhrpc/cmd/x, which it may not", from+": ./cmd/x")
			}
			for _, target := range r.never {
				stopped(t, "reaches x.org/y → ", from+": x.org/y", "x.org/y: "+strings.TrimSuffix(target, "/..."))
			}
			for _, kept := range reserved {
				if !slices.ContainsFunc(kept.by, func(pattern string) bool { return covers(pattern, within) }) {
					stopped(t, "which is kept for", from+": "+kept.what)
				}
			}
		})
	}
}
