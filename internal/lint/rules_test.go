package lint

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

const (
	module = "github.com/bhrpc/bhrpc"

	logrus   = "github.com/sirupsen/logrus"
	uuid     = "github.com/google/uuid"
	goPlugin = "github.com/hashicorp/go-plugin"
	grpc     = "google.golang.org/grpc"
	etcd     = "go.etcd.io/etcd"
	protobuf = "google.golang.org/protobuf"
	metrics  = "github.com/prometheus"
	anything = "..."
)

// yaml holds the YAML libraries that one could think of.
var yaml = []string{"go.yaml.in/yaml", "gopkg.in/yaml.v2", "gopkg.in/yaml.v3", "github.com/goccy/go-yaml", "sigs.k8s.io/yaml"}

// rule says what the packages that match one pattern may import. A pattern of this
// module is a path within it, "." the module's root, and covers what is below it if
// it ends in "/...". Another module stands for all of its packages.
type rule struct {
	packages string   // pattern
	own      []string // patterns of this module that they may import
	others   []string // modules that they may import, beside the standard library
	never    []string // what they must not reach even through others: patterns of this module beginning with "./", other modules
}

// small is what spi, heartbeat and core never reach: they stay free of everything
// that a program can do without.
var small = slices.Concat([]string{"./extensions/...", "./plugins/...", "./internal/config", goPlugin, grpc, etcd, protobuf, metrics}, yaml)

// rules is the import graph as it is meant to be. The first rule that matches a
// package holds for it.
var rules = []rule{
	{packages: "spi", others: []string{logrus}, never: small},
	{packages: "spi/spitest", own: []string{"spi"}, never: small},
	{packages: "heartbeat", own: []string{"spi"}, others: []string{logrus, uuid}, never: small},
	{packages: "core", own: []string{"spi", "heartbeat", "core/internal/..."}, others: []string{logrus, uuid}, never: small},
	{packages: "core/internal/wire"},
	{packages: "core/coretest", own: []string{"spi", "core/internal/wire"}, never: small},
	{packages: "internal/config", own: []string{"spi", "core"}, others: yaml, never: []string{"./extensions/...", "./plugins/...", goPlugin, grpc, etcd, protobuf, metrics}},
	{packages: "internal/control", own: []string{"core", "spi"}, never: []string{"./extensions/...", "./plugins/...", goPlugin, grpc, etcd, protobuf, metrics}},
	{packages: "internal/drill", own: []string{".", "core", "spi", "internal/link", "plugins"}, others: []string{logrus}, never: []string{etcd, metrics}},
	{packages: "internal/link"},
	{packages: "internal/lint"},
	{packages: "internal/scaffold", own: []string{"spi"}, never: []string{"./plugins/...", goPlugin, grpc, etcd, protobuf, metrics}},
	{packages: ".", own: []string{"spi", "heartbeat", "core", "extensions/...", "internal/config", "internal/control"}, others: []string{logrus, uuid},
		never: []string{"./extensions/all", "./plugins/...", goPlugin, grpc, etcd, protobuf, metrics}},
	{packages: "extensions", own: []string{"spi", "heartbeat", "extensions/..."}, never: []string{"./extensions/all", goPlugin, grpc, etcd, protobuf, metrics}},
	{packages: "extensions/metrics/...", own: []string{"spi", "core"}, others: []string{anything}},
	{packages: "extensions/...", own: []string{"spi", "heartbeat", "extensions/..."}, others: []string{anything}},
	{packages: "plugins/conform", own: []string{"spi", "spi/spitest", "plugins/..."}, others: []string{anything}},
	{packages: "plugins/...", own: []string{"spi", "heartbeat", "plugins/..."}, others: []string{anything}},
	{packages: "cmd/...", own: []string{"..."}, others: []string{anything}},
	{packages: "examples/...", own: []string{"..."}, others: []string{anything}},
	{packages: "test/...", own: []string{"..."}, others: []string{anything}},
}

// reserved holds what only some packages may import, whatever their rule says.
var reserved = []struct {
	what string   // as in rule.never
	by   []string // patterns
}{
	{"./internal/config", []string{".", "cmd/..."}},
	{"./internal/control", []string{".", "cmd/..."}},
	{goPlugin, []string{"plugins/..."}},
	{grpc, []string{"plugins/..."}},
	{metrics, []string{"extensions/metrics/..."}},
}

// vague holds the names that say nothing about what is inside.
var vague = []string{"utils", "util", "common", "helpers", "helper", "constants", "types", "manager"}

// pkg is one package of the import graph.
type pkg struct {
	ImportPath string
	Name       string
	Standard   bool
	Imports    []string
	Comment    string // package comment in doc.go; only of packages of this module
}

// covers reports whether a pattern matches the path of a package within the module.
func covers(pattern, within string) bool {
	stem, ok := strings.CutSuffix(pattern, "...")
	if !ok {
		return pattern == within
	}
	stem = strings.TrimSuffix(stem, "/")
	return stem == "" || within == stem || strings.HasPrefix(within, stem+"/")
}

// belongs reports whether an import path lies within what one of targets names, as
// in rule.never.
func belongs(importPath string, targets []string) bool {
	within, own := inModule(importPath)
	return slices.ContainsFunc(targets, func(target string) bool {
		if pattern, ok := strings.CutPrefix(target, "./"); ok {
			return own && covers(pattern, within)
		}
		return !own && (target == anything || importPath == target || strings.HasPrefix(importPath, target+"/"))
	})
}

// inModule returns the path of a package within this module, "." for its root.
func inModule(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// check returns what is wrong with a graph, in the order of its packages.
func check(graph []pkg) []string {
	known := make(map[string]pkg)
	for _, p := range graph {
		known[p.ImportPath] = p
	}
	var faults []string
	for _, p := range graph {
		within, own := inModule(p.ImportPath)
		if !own {
			continue
		}
		report := func(format string, args ...any) {
			faults = append(faults, within+" "+fmt.Sprintf(format, args...))
		}
		checkName(p, within, report)
		at := slices.IndexFunc(rules, func(r rule) bool { return covers(r.packages, within) })
		if at < 0 {
			report("has no rule: add one to internal/lint")
			continue
		}
		checkImports(p, within, rules[at], known, report)
	}
	return faults
}

func checkName(p pkg, within string, report func(string, ...any)) {
	for _, name := range append(strings.Split(within, "/"), p.Name) {
		if slices.Contains(vague, name) {
			report("is called %s, which says nothing", name)
			break
		}
	}
	want := "Package " + p.Name + " "
	if p.Name == "main" {
		want = "Command " + path.Base(within) + " "
	}
	if !strings.HasPrefix(p.Comment, want) {
		report("has no doc.go with a comment that begins with %q", want)
	}
}

func checkImports(p pkg, within string, r rule, known map[string]pkg, report func(string, ...any)) {
	for _, imported := range p.Imports {
		to, own := inModule(imported)
		allowed := known[imported].Standard || belongs(imported, r.others)
		if own {
			allowed = slices.ContainsFunc(r.own, func(pattern string) bool { return covers(pattern, to) })
		}
		if !allowed {
			report("imports %s, which it may not", imported)
		}
		for _, kept := range reserved {
			if belongs(imported, []string{kept.what}) && !slices.ContainsFunc(kept.by, func(pattern string) bool { return covers(pattern, within) }) {
				report("imports %s, which is kept for %s", imported, strings.Join(kept.by, " and "))
			}
		}
	}
	if chain := reach(p, r.never, known); chain != nil {
		report("reaches %s", strings.Join(chain, " → "))
	}
}

// reach returns the shortest chain of imports from p to one of targets, without p.
func reach(p pkg, targets []string, known map[string]pkg) []string {
	chains := map[string][]string{p.ImportPath: nil}
	for queue := []string{p.ImportPath}; len(queue) > 0; queue = queue[1:] {
		from := known[queue[0]]
		for _, to := range from.Imports {
			if _, seen := chains[to]; seen || known[to].Standard {
				continue
			}
			chain := append(slices.Clone(chains[from.ImportPath]), to)
			if belongs(to, targets) {
				return chain
			}
			chains[to] = chain
			queue = append(queue, to)
		}
	}
	return nil
}
