package spi_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// fixed is an open function that ignores its configuration.
func fixed(v string) func(context.Context, spi.Env, struct{}) (string, error) {
	return func(context.Context, spi.Env, struct{}) (string, error) { return v, nil }
}

// remote is an open function as a plugin loader has it: it opens as the
// configuration it is given.
func remote(_ context.Context, _ spi.Env, with []byte) (string, error) {
	return fmt.Sprintf("%s (nil: %t)", with, with == nil), nil
}

// point returns a point of kind loadbalancer with the named extensions, each of
// which opens as its own name.
func point(t testing.TB, names ...string) *spi.Point[string] {
	t.Helper()
	p := spi.NewPoint[string]("loadbalancer")
	for _, name := range names {
		if err := spi.Register(p, name, "Opens as "+name+".", struct{}{}, fixed(name)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// listing is what p holds, as "name[alias alias]".
func listing(p *spi.Point[string]) string {
	var b strings.Builder
	for _, info := range p.List() {
		fmt.Fprintf(&b, "%s%v ", info.Name, info.Aliases)
	}
	return strings.TrimSpace(b.String())
}

func TestRegister(t *testing.T) {
	p := spi.NewPoint[settings]("loadbalancer")
	open := func(_ context.Context, _ spi.Env, cfg settings) (settings, error) { return cfg, nil }
	if err := spi.Register(p, "probe", "Shows its configuration.", defaults(), open); err != nil {
		t.Fatal(err)
	}
	fields, err := spi.Fields(defaults())
	if err != nil {
		t.Fatal(err)
	}
	want := []spi.Info{{Kind: "loadbalancer", Name: "probe", Doc: "Shows its configuration.", Source: "package github.com/bhrpc/bhrpc/spi_test", Fields: fields}}
	if got := p.List(); !reflect.DeepEqual(got, want) {
		t.Errorf("List\ngot  %+v\nwant %+v", got, want)
	}
	if p.Kind() != "loadbalancer" {
		t.Errorf("Kind: got %s, want loadbalancer", p.Kind())
	}
}

func TestRegisterErrors(t *testing.T) {
	type hidden struct {
		Zone   string `json:"zone"`
		secret int
	}
	type dropped struct {
		Zone string `json:"-"`
	}
	type loop struct {
		Kids []tree `json:"kids"`
	}
	p := spi.NewPoint[string]("loadbalancer")
	for _, tt := range []struct {
		name     string
		register func() error
		want     string // after the place
	}{
		{"defaults that are no struct", func() error {
			return spi.Register(p, "x", "", 3, func(context.Context, spi.Env, int) (string, error) { return "", nil })
		}, "configuration int is not a struct"},
		{"type that cannot be configured", func() error {
			return spi.Register(p, "x", "", loop{}, func(context.Context, spi.Env, loop) (string, error) { return "", nil })
		}, "kids: kids: []spi_test.tree contains itself and cannot be described"},
		{"type that JSON cannot write", func() error {
			return spi.Register(p, "x", "", struct{ F func() }{}, func(context.Context, spi.Env, struct{ F func() }) (string, error) { return "", nil })
		}, "json: unsupported type: func()"},
		{"default in an unexported field", func() error {
			return spi.Register(p, "x", "", hidden{"eu1", 1}, func(context.Context, spi.Env, hidden) (string, error) { return "", nil })
		}, `the defaults do not survive JSON, which every configuration goes through: {Zone:eu1 secret:1} becomes {"zone":"eu1"}`},
		{"default that is left out", func() error {
			return spi.Register(p, "x", "", dropped{"eu1"}, func(context.Context, spi.Env, dropped) (string, error) { return "", nil })
		}, `the defaults do not survive JSON, which every configuration goes through: {Zone:eu1} becomes {}`},
		{"no open", func() error {
			return spi.Register[string, struct{}](p, "x", "", struct{}{}, nil)
		}, "nothing to open it with"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.register()
			if err == nil || !errors.Is(err, spi.ErrInvalid) {
				t.Fatalf("got %v, want ErrInvalid", err)
			}
			head, rest, _ := strings.Cut(err.Error(), "): ")
			if !strings.HasPrefix(head, `invalid: loadbalancer "x" from package github.com/bhrpc/bhrpc/spi_test (point_test.go:`) || rest != tt.want {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
		})
	}
	if got := listing(p); got != "" {
		t.Errorf("after errors only: got %s, want nothing", got)
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("x", 64)
	for _, tt := range []struct {
		name, text   string
		ok, okAsElse bool // as a name, as an alias
	}{
		{"word", "random", true, true},
		{"one letter", "a", true, true},
		{"dashes and digits", "p2c-v2-", true, true},
		{"64 characters", long, true, true},
		{"65 characters", long + "x", false, false},
		{"underscore", "enhanced_randomweight", false, true},
		{"nothing", "", false, false},
		{"capital", "Random", false, false},
		{"digit first", "2c", false, false},
		{"dash first", "-a", false, false},
		{"underscore first", "_a", false, false},
		{"dot", "a.b", false, false},
		{"space", "a b", false, false},
		{"line end", "a\n", false, false},
		{"not ASCII", "ä", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			errs := []error{
				spi.Register(point(t), tt.text, "", struct{}{}, fixed("")),
				point(t).Add(spi.Info{Name: tt.text, Source: "plugin acme"}, remote),
			}
			for _, err := range errs {
				if (err == nil) != tt.ok || err != nil && !errors.Is(err, spi.ErrInvalid) {
					t.Errorf("as a name: got %v, want ok %t or ErrInvalid", err, tt.ok)
				}
			}
			if err := point(t, "zzz").Alias("zzz", tt.text); (err == nil) != tt.okAsElse || err != nil && !errors.Is(err, spi.ErrInvalid) {
				t.Errorf("as an alias: got %v, want ok %t or ErrInvalid", err, tt.okAsElse)
			}
		})
	}
}

// here returns where the caller's caller stands, as duplicate errors say it.
func here(t *testing.T, back int) string {
	t.Helper()
	_, file, line, _ := runtime.Caller(1)
	return fmt.Sprintf("package github.com/bhrpc/bhrpc/spi_test (%s:%d)", filepath.Base(file), line-back)
}

// TestDuplicate: both places are named, and the first registration stays.
func TestDuplicate(t *testing.T) {
	p := spi.NewPoint[string]("loadbalancer")
	err := spi.Register(p, "random", "", struct{}{}, fixed("first"))
	first := here(t, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Alias("random", "any"); err != nil {
		t.Fatal(err)
	}
	again := spi.Register(p, "random", "", struct{}{}, fixed("second"))
	second := here(t, 1)
	shadow := spi.Register(p, "any", "", struct{}{}, fixed("third"))
	third := here(t, 1)
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"name", again, `registered twice: loadbalancer "random", by ` + first + " and by " + second},
		{"name that is an alias", shadow, `registered twice: loadbalancer "any", by ` + third + ` and as an alias of "random" by ` + first},
		{"plugin", p.Add(spi.Info{Name: "random", Source: "plugin acme"}, remote), `registered twice: loadbalancer "random", by ` + first + " and by plugin acme"},
		{"alias of a plugin", p.Add(spi.Info{Name: "new", Source: "plugin acme", Aliases: []string{"newer", "any"}}, remote),
			`registered twice: loadbalancer "any", by plugin acme and as an alias of "random" by ` + first},
		{"alias that is a name", p.Alias("random", "random"), `registered twice: loadbalancer "random", by ` + first + " and by " + first},
		{"alias of a plugin that is its name", p.Add(spi.Info{Name: "new", Source: "plugin acme", Aliases: []string{"new"}}, remote),
			`registered twice: loadbalancer "new", twice by plugin acme`},
		{"alias that is an alias", p.Alias("random", "other", "any"), `registered twice: loadbalancer "any", by ` + first + ` and as an alias of "random" by ` + first},
		{"alias given twice", p.Alias("random", "other", "other"), `registered twice: loadbalancer "other", twice by ` + first},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if fmt.Sprint(tt.err) != tt.want || !errors.Is(tt.err, spi.ErrDuplicate) {
				t.Errorf("got  %v\nwant %s", tt.err, tt.want)
			}
		})
	}
	if got, want := listing(p), "random[any]"; got != want {
		t.Errorf("after failed registrations: got %s, want %s", got, want)
	}
	for _, name := range []string{"random", "any"} {
		if got, err := p.Open(t.Context(), spi.Env{}, spi.Ref{Use: name}); err != nil || got != "first" {
			t.Errorf("Open %s: got %s, %v, want first", name, got, err)
		}
	}
	for _, name := range []string{"new", "newer", "other"} {
		if got, err := p.Open(t.Context(), spi.Env{}, spi.Ref{Use: name}); !errors.Is(err, spi.ErrUnknown) {
			t.Errorf("Open %s: got %s, %v, want ErrUnknown", name, got, err)
		}
	}
}

func TestAlias(t *testing.T) {
	p := point(t, "round-robin", "random")
	if err := errors.Join(p.Alias("round-robin", "robin", "enhanced_robin"), p.Alias("round-robin", "cyclic"), p.Alias("round-robin")); err != nil {
		t.Fatal(err)
	}
	if got, want := listing(p), "random[] round-robin[cyclic enhanced_robin robin]"; got != want {
		t.Errorf("List: got %s, want %s", got, want)
	}
	for _, name := range []string{"round-robin", "robin", "enhanced_robin", "cyclic"} {
		got, err := p.Open(t.Context(), spi.Env{}, spi.Ref{Use: name})
		resolved, resolveErr := p.Resolve(spi.Ref{Use: name})
		if err != nil || resolveErr != nil || got != "round-robin" || resolved.Info.Name != "round-robin" {
			t.Errorf("%s: got %s, %v and %s, %v, want round-robin", name, got, err, resolved.Info.Name, resolveErr)
		}
	}
	err := p.Alias("nobody", "a", "b")
	if want := `unknown: loadbalancer "nobody" cannot be given the names a, b`; fmt.Sprint(err) != want || !errors.Is(err, spi.ErrUnknown) {
		t.Errorf("got %v, want %s", err, want)
	}
	err = p.Alias("random", "fine", "Not Fine")
	if !errors.Is(err, spi.ErrInvalid) || !strings.Contains(err.Error(), `alias "Not Fine" of loadbalancer "random"`) {
		t.Errorf("got %v, want ErrInvalid that names the alias", err)
	}
	if _, err := p.Open(t.Context(), spi.Env{}, spi.Ref{Use: "fine"}); !errors.Is(err, spi.ErrUnknown) {
		t.Errorf("an alias of a failed Alias: got %v, want ErrUnknown", err)
	}
}

func TestRemove(t *testing.T) {
	p := point(t, "random", "round-robin")
	if err := p.Alias("random", "any"); err != nil {
		t.Fatal(err)
	}
	p.Elsewhere("random", "example.org/you/random")
	p.Remove("nobody")
	p.Remove("any") // an alias is no name
	if got, want := listing(p), "random[any] round-robin[]"; got != want {
		t.Fatalf("after removing what is no name: got %s, want %s", got, want)
	}
	p.Remove("random")
	p.Remove("random")
	if got, want := listing(p), "round-robin[]"; got != want {
		t.Errorf("after Remove: got %s, want %s", got, want)
	}
	if _, err := p.Resolve(spi.Ref{Use: "random"}); !errors.Is(err, spi.ErrNotLinked) {
		t.Errorf("a removed name that is known elsewhere: got %v, want ErrNotLinked", err)
	}
	if _, err := p.Resolve(spi.Ref{Use: "any"}); !errors.Is(err, spi.ErrUnknown) {
		t.Errorf("alias of a removed name: got %v, want ErrUnknown", err)
	}
	if err := p.Add(spi.Info{Name: "any", Source: "plugin acme", Aliases: []string{"random"}}, remote); err != nil {
		t.Errorf("names that were removed: got %v, want them free", err)
	}
}

func TestUnavailableNames(t *testing.T) {
	p := point(t, "random", "round-robin")
	if err := p.Alias("round-robin", "robin"); err != nil {
		t.Fatal(err)
	}
	p.Refuse("sticky", "needs a session; use consistent-hash.")
	p.Elsewhere("etcd-weights", "github.com/bhrpc/bhrpc/extensions/loadbalancer/etcd")
	p.Refuse("both", "is refused")
	p.Elsewhere("both", "example.org/both")
	p.Refuse("random", "would be refused")
	p.Elsewhere("round-robin", "example.org/round")
	const known = "\n  known: random, round-robin      plugins loaded: none"
	for _, tt := range []struct {
		name, use, want string
		is              error
	}{
		{"misspelt", "randon", `no loadbalancer named "randon"; did you mean "random"?` + known, spi.ErrUnknown},
		{"misspelt alias", "robbin", `no loadbalancer named "robbin"; did you mean "robin"?` + known, spi.ErrUnknown},
		{"misspelt, known elsewhere", "etcd-weight", `no loadbalancer named "etcd-weight"; did you mean "etcd-weights"?` + known, spi.ErrUnknown},
		{"wrong case", "Random", `no loadbalancer named "Random"; did you mean "random"?` + known, spi.ErrUnknown},
		{"nothing near", "zookeeper", `no loadbalancer named "zookeeper"` + known, spi.ErrUnknown},
		{"no name", "", `a loadbalancer needs a name` + known, spi.ErrUnknown},
		{"refused", "sticky", `loadbalancer "sticky" needs a session; use consistent-hash.`, spi.ErrRefused},
		{"elsewhere", "etcd-weights", `loadbalancer "etcd-weights" is not linked into this program; import "github.com/bhrpc/bhrpc/extensions/loadbalancer/etcd" and pass its Register to bhrpc.Open`, spi.ErrNotLinked},
		{"refused and elsewhere", "both", `loadbalancer "both" is refused`, spi.ErrRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := p.Open(t.Context(), spi.Env{}, spi.Ref{Use: tt.use})
			if fmt.Sprint(err) != tt.want || !errors.Is(err, tt.is) || got != "" {
				t.Errorf("got  %q, %v\nwant %s", got, err, tt.want)
			}
			for _, other := range []error{spi.ErrUnknown, spi.ErrRefused, spi.ErrNotLinked, spi.ErrDuplicate, spi.ErrInvalid} {
				if other != tt.is && errors.Is(err, other) {
					t.Errorf("errors.Is(%v, %v): got true, want false", err, other)
				}
			}
		})
	}
	for _, name := range []string{"random", "round-robin"} {
		if got, err := p.Open(t.Context(), spi.Env{}, spi.Ref{Use: name}); got != name || err != nil {
			t.Errorf("a registered name wins: got %s, %v, want %s", got, err, name)
		}
	}
	_, err := point(t).Resolve(spi.Ref{Use: "random"})
	if want := "no loadbalancer named \"random\"\n  known: none      plugins loaded: none"; fmt.Sprint(err) != want {
		t.Errorf("of an empty point\ngot  %v\nwant %s", err, want)
	}
}

// TestExperience holds the texts that a newcomer is promised, but for "bhrpc: ",
// which the program puts in front.
func TestExperience(t *testing.T) {
	balancers := point(t, "round-robin", "p2c", "weighted-random", "random")
	_, err := balancers.Resolve(spi.Ref{
		Use: "round-robbin", Key: "consumer.loadbalancer", At: spi.Pos{Source: "env BHRPC_CONSUMER_LOADBALANCER"},
	})
	const misspelt = `consumer.loadbalancer (from env BHRPC_CONSUMER_LOADBALANCER): no loadbalancer named "round-robbin"; did you mean "round-robin"?
  known: p2c, random, round-robin, weighted-random      plugins loaded: none`
	if fmt.Sprint(err) != misspelt {
		t.Errorf("got  %v\nwant %s", err, misspelt)
	}
	serializers := spi.NewCatalog().Serializers
	serializers.Refuse("jdk", "is Java's own object stream; Go cannot speak it. Use json, or hessian2 with Java peers.")
	_, err = serializers.Resolve(spi.Ref{Use: "jdk", Key: "consumer.serializer", At: spi.Pos{Source: "bhrpc.yaml", Line: 3}})
	const refused = `bhrpc.yaml:3: serializer "jdk" is Java's own object stream; Go cannot speak it. Use json, or hessian2 with Java peers.`
	if fmt.Sprint(err) != refused {
		t.Errorf("got  %v\nwant %s", err, refused)
	}
}

// TestAdd: an extension described by plain data is listed, checked and opened as
// any other.
func TestAdd(t *testing.T) {
	p := point(t, "random")
	info := spi.Info{
		Kind: "ignored", Name: "nearest", Doc: "Prefers a zone.", Source: "plugin acme", Aliases: []string{"near", "closest"},
		Fields: []spi.Field{{Key: "zone", Type: "string"}, {Key: "novel", Type: "of a later version"}},
	}
	if err := p.Add(info, remote); err != nil {
		t.Fatal(err)
	}
	if err := p.Add(spi.Info{Name: "further", Source: "plugin acme"}, remote); err != nil {
		t.Fatal(err)
	}
	if err := p.Add(spi.Info{Name: "aaa", Source: "plugin beta"}, remote); err != nil {
		t.Fatal(err)
	}
	want := info
	want.Kind, want.Aliases = "loadbalancer", []string{"closest", "near"}
	if got := p.List()[2]; !reflect.DeepEqual(got, want) {
		t.Errorf("List\ngot  %+v\nwant %+v", got, want)
	}
	for _, tt := range []struct{ name, use, with, want string }{
		{"no configuration", "nearest", ``, " (nil: true)"},
		{"null", "near", `null`, " (nil: true)"},
		{"configuration", "closest", `{"zone":"eu1","novel":[{"x":1}]}`, `{"zone":"eu1","novel":[{"x":1}]} (nil: false)`},
		{"no keys", "nearest", `{}`, `{} (nil: false)`},
		{"list", "nearest", `[]`, `configuration of loadbalancer "nearest": want keys and values, not a list`},
		{"unknown key", "nearest", `{"zome":"x"}`, "with.zome: unknown key; did you mean \"zone\"?\n  keys of loadbalancer \"nearest\": zone, novel"},
		{"wrong type", "near", `{"zone":1}`, "with.zone: want text, not the number 1"},
		{"takes nothing", "further", `{"zone":1}`, "with.zone: unknown key\n  loadbalancer \"further\" takes no configuration"},
		{"unknown name", "other", ``, "no loadbalancer named \"other\"\n  known: aaa, further, nearest, random      plugins loaded: acme, beta"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ref := spi.Ref{Use: tt.use, With: spi.Raw{JSON: []byte(tt.with)}}
			got, err := p.Open(t.Context(), spi.Env{}, ref)
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("Open %s with %s\ngot  %s\nwant %s", tt.use, tt.with, got, tt.want)
			}
			if resolved, resolveErr := p.Resolve(ref); err == nil && (resolveErr != nil || fmt.Sprintf("%s (nil: %t)", resolved.Config, resolved.Config == nil) != tt.want) {
				t.Errorf("Resolve %s with %s: got %s, %v, want what open is given", tt.use, tt.with, resolved.Config, resolveErr)
			}
		})
	}
	for _, name := range []string{"f", "b", "h", "d", "c", "g", "e"} {
		if err := p.Add(spi.Info{Name: name, Source: "plugin " + name}, remote); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Resolve(spi.Ref{Use: "other"}); !strings.HasSuffix(fmt.Sprint(err), "plugins loaded: acme, b, beta, c, d, e, f, g, h") {
		t.Errorf("got %v, want the plugins in order", err)
	}
	err := p.Add(spi.Info{Name: "x", Source: "plugin acme"}, nil)
	if want := `invalid: loadbalancer "x" from plugin acme: nothing to open it with`; fmt.Sprint(err) != want || !errors.Is(err, spi.ErrInvalid) {
		t.Errorf("without open: got %v, want %s", err, want)
	}
}

type hiddenKey struct{}

// TestOpenLends: the context reaches the extension, and a log that is never nil and
// says whose it is.
func TestOpenLends(t *testing.T) {
	var lines strings.Builder
	log := logrus.New()
	log.Out = &lines
	log.Formatter = &logrus.TextFormatter{DisableTimestamp: true, DisableColors: true}
	p := spi.NewPoint[string]("registry")
	err := spi.Register(p, "local", "", struct{}{}, func(ctx context.Context, env spi.Env, _ struct{}) (string, error) {
		env.Log.Info("here")
		v, _ := ctx.Value(hiddenKey{}).(string)
		return v, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithValue(t.Context(), hiddenKey{}, "mine")
	for _, env := range []spi.Env{{}, {Log: log}, {Log: log.WithField("app", "x")}} {
		if got, err := p.Open(ctx, env, spi.Ref{Use: "local"}); got != "mine" || err != nil {
			t.Errorf("Open: got %q, %v, want the context of the caller", got, err)
		}
	}
	const want = "level=info msg=here kind=registry name=local\nlevel=info msg=here app=x kind=registry name=local\n"
	if lines.String() != want {
		t.Errorf("log\ngot  %swant %s", lines.String(), want)
	}
}

// TestPointConcurrently has no expectation of its own but that of the race
// detector, and that every name is there at the end.
func TestPointConcurrently(t *testing.T) {
	p := point(t, "shared")
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			name, gone := fmt.Sprintf("ext-%d", i), fmt.Sprintf("gone-%d", i)
			for j := range 20 {
				_ = p.Add(spi.Info{Name: gone, Source: "plugin acme", Aliases: []string{gone + "_x"}}, remote)
				if err := p.Alias("shared", fmt.Sprintf("s%d_%d", i, j)); err != nil {
					t.Error(err)
				}
				for _, info := range p.List() {
					if !slices.IsSorted(info.Aliases) {
						t.Errorf("aliases of %s: got %v, want them sorted", info.Name, info.Aliases)
					}
				}
				if _, err := p.Open(t.Context(), spi.Env{}, spi.Ref{Use: "shared"}); err != nil {
					t.Error(err)
				}
				_, _ = p.Resolve(spi.Ref{Use: gone})
				p.Refuse(gone, "is gone")
				p.Elsewhere(gone, "example.org/gone")
				p.Remove(gone)
			}
			if err := spi.Register(p, name, "", struct{}{}, fixed(name)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	var got []string
	for _, info := range p.List() {
		got = append(got, fmt.Sprintf("%s:%d", info.Name, len(info.Aliases)))
	}
	if want := "ext-0:0 ext-1:0 ext-2:0 ext-3:0 ext-4:0 ext-5:0 ext-6:0 ext-7:0 shared:160"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
