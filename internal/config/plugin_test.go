package config_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/internal/config"
	"github.com/bhrpc/bhrpc/spi"
)

const goodPlugin = "name: acme, path: /bin/acme, sha256: '" + "abababababababababababababababababababababababababababababababab'"

func TestPluginsValidate(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"good", "plugins: [{" + goodPlugin + "}]\n", ""},
		{"missing keys have the place of their plugin", "plugins:\n  - name: acme\n", "bhrpc.yaml:2:5: plugins.0.path: is missing; it is the program of the plugin\n" +
			"bhrpc.yaml:2:5: plugins.0.sha256: is missing; `bhrpc plugin pin PATH` prints it, or set allow_unverified"},
		{"unknown key", "plugins: [{" + goodPlugin + ", requierd: true}]\n", `did you mean "required"?`},
		{"unknown key in a section", "plugins: [{" + goodPlugin + ", limits: {nofiles: 7}}]\n", `unknown key plugins.0.limits.nofiles; did you mean "nofile"?`},
		{"not a plugin", "plugins: [acme]\n", "bhrpc.yaml:1:11: plugins.0: want keys and values, not the text \"acme\""},
		{"range", "plugins: [{" + goodPlugin + ", restart: {max_starts: -1}}]\n", "plugins.0.restart.max_starts: -1 is not between 1 and 1048576; 0 means the default"},
		{"kind", "plugins: [{" + goodPlugin + ", on_failure: {loadbalanser: p2c}}]\n",
			`plugins.0.on_failure.loadbalanser: "loadbalanser" is no kind of extension that a plugin can bring; did you mean "loadbalancer"?`},
		{"last-good of another kind", "plugins: [{" + goodPlugin + ", on_failure: {heartbeat: last-good}}]\n", "only a loadbalancer has a last plan; name a built-in heartbeat, or say fail"},
		{"kind that it provides", "plugins: [{" + goodPlugin + ", provides: {interceptor: [x]}}]\n", "kinds: loadbalancer, heartbeat, serializer, proxy, registry"},
		{"name that it provides", "plugins: [{" + goodPlugin + ", provides: {proxy: [x, X]}}]\n", `plugins.0.provides.proxy.1: "X" is no name of an extension`},
		{"two of a name", "plugins:\n- {" + goodPlugin + "}\n- {" + goodPlugin + "}\n",
			`bhrpc.yaml:3:10: plugins.1.name: "acme" is the name of plugins.0 too (bhrpc.yaml:2:10); plugins need names of their own`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			write(t, tt.file)
			_, err := config.Load("bhrpc.yaml", nil)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) || strings.Count(got, "bhrpc.yaml") != max(1, strings.Count(tt.want, "bhrpc.yaml")) && got != "" {
				t.Errorf("%s\ngot  %s\nwant %s", tt.file, got, tt.want)
			}
		})
	}
}

// A list that replaces another leaves nothing of its keys' places.
func TestPluginsReplaced(t *testing.T) {
	c := load(t, "plugins: [{"+goodPlugin+", required: true}, {name: b, path: /b, allow_unverified: true}]\n")
	if err := c.Set("plugins", []spi.PluginConfig{{Name: "c", Path: "/c", AllowUnverified: true}}); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"plugins": "code", "plugins.0": "code", "plugins.0.path": "code", "plugins.0.required": "", "plugins.0.sha256": "", "plugins.1": "", "plugins.1.name": ""} {
		if got := c.Origin(key).String(); got != want {
			t.Errorf("%s: got from %q, want from %q", key, got, want)
		}
	}
	if err := c.Set("plugins", []map[string]any{{"name": "c", "path": "/c"}}); err != nil {
		t.Fatal(err)
	}
	if err, want := c.Validate(), "plugins.0.sha256 (from code): is missing"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestPlacePlugins(t *testing.T) {
	c := load(t, "plugins:\n- {"+goodPlugin+", provides: {loadbalancer: [near]}, on_failure: {loadbalancer: p2c, heartbeat: fail}}\n")
	cause := errors.New("no such file")
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"nothing", nil, "<nil>"},
		{"another error", cause, "no such file"},
		{"another plugin", &spi.PluginError{Plugin: "b", Cause: cause}, "no such file"},
		{"plugin", &spi.PluginError{Plugin: "acme", Cause: cause}, "bhrpc.yaml:2:3: no such file"},
		{"key", &spi.PluginError{Plugin: "acme", Key: "provides.loadbalancer", Cause: cause}, "bhrpc.yaml:2:134: no such file"},
		{"key that is not set", &spi.PluginError{Plugin: "acme", Key: "mtls", Cause: cause}, "bhrpc.yaml:2:3: no such file"},
		{"joined", errors.Join(cause, &spi.PluginError{Plugin: "acme", Cause: cause}), "no such file\nbhrpc.yaml:2:3: no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := c.PlacePlugins(tt.err)
			if got := fmt.Sprint(err); got != tt.want || err != nil && !errors.Is(err, cause) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	if got := c.StandIns(); len(got) != 1 || len(got["loadbalancer"]) != 1 || got["loadbalancer"][0].Use != "p2c" || got["loadbalancer"][0].At.Line != 2 || got["loadbalancer"][0].Key != "plugins.0.on_failure.loadbalancer" {
		t.Errorf("StandIns: got %+v, want p2c with its place", got)
	}
	err := c.NoLoader()
	want := `bhrpc.yaml:2:1: plugins: this program cannot load them; import "github.com/bhrpc/bhrpc/plugins" and pass plugins.Loader to bhrpc.Open`
	if err.Error() != want || !errors.Is(err, spi.ErrNotLinked) {
		t.Errorf("got %v, want %s", err, want)
	}
}
