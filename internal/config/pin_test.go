package config_test

import (
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/internal/config"
)

func TestPin(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	numeric := strings.Repeat("12", 32)
	for _, tt := range []struct {
		name, text, hash string
		want             string // the text with HASH, or, beginning with "bhrpc.yaml", the error
	}{
		{"block", "# mine\nplugins:\n  - name: acme # the name\n    path: bin/acme # the program\n    # on\n    required: true\n\nlog: {level: info}\n", hash,
			"# mine\nplugins:\n  - name: acme # the name\n    path: bin/acme # the program\n    sha256: HASH\n    # on\n    required: true\n\nlog: {level: info}\n"},
		{"path first", "plugins:\n- path: bin/acme\n  name: acme\n", hash, "plugins:\n- path: bin/acme\n  sha256: HASH\n  name: acme\n"},
		{"end of the file", "plugins:\n- name: acme\n  path: bin/acme", hash, "plugins:\n- name: acme\n  path: bin/acme\n  sha256: HASH"},
		{"lines as on Windows", "plugins:\r\n- name: acme\r\n  path: bin/acme\r\n", hash, "plugins:\r\n- name: acme\r\n  path: bin/acme\r\n  sha256: HASH\r\n"},
		{"flow", "plugins: [{name: b, path: b}, {name: acme, path: bin/acme, required: true}]", hash, "plugins: [{name: b, path: b}, {name: acme, path: bin/acme, sha256: HASH, required: true}]"},
		{"quoted", `plugins: [{name: 'acme', path: "bin/a c", mtls: off}]`, hash, `plugins: [{name: 'acme', path: "bin/a c", sha256: HASH, mtls: off}]`},
		{"single quotes", `plugins: [{name: acme, path: 'it''s'}] # é`, hash, `plugins: [{name: acme, path: 'it''s', sha256: HASH}] # é`},
		{"after letters of several bytes", "plugins: [{args: [é], name: acme, path: ü}]", hash, "plugins: [{args: [é], name: acme, path: ü, sha256: HASH}]"},
		{"replaced", "plugins:\n- name: acme\n  sha256: 9f0c… # old\n  path: bin/acme\n", hash, "plugins:\n- name: acme\n  sha256: HASH # old\n  path: bin/acme\n"},
		{"replaced in quotes", `plugins: [{name: acme, sha256: "00", path: x}]`, hash, `plugins: [{name: acme, sha256: HASH, path: x}]`},
		{"a hash that looks like a number", "plugins: [{name: acme, path: x}]", numeric, "plugins: [{name: acme, path: x, sha256: 'HASH'}]"},
		{"hash without a value", "plugins:\n- name: acme\n  path: x\n  sha256:\n", hash, "bhrpc.yaml:4:10: it is written in a way that only a person should change; write sha256: " + hash + " there"},
		{"path on two lines", "plugins:\n- name: acme\n  path: bin/acme\n    and more\n", hash, "bhrpc.yaml:3:9: it is written in a way that only a person should change; write sha256: " + hash + " there"},
		{"key with a question mark", "plugins:\n- name: acme\n  ? path\n  : bin/acme\n", hash, "bhrpc.yaml:2:3: it is written in a way"},
		{"escapes", `plugins: [{name: acme, path: "\x41"}]`, hash, "bhrpc.yaml:1:30: it is written in a way"},
		{"none", "log: {level: info}\n", hash, "bhrpc.yaml: it has no plugins with a name and a path"},
		{"another", "plugins: [{name: acne, path: x}]\n", hash, "bhrpc.yaml: no plugin is that one\n  plugins: acne"},
		{"two", "plugins: [{name: acme, path: x}, {name: acme, path: y}]\n", hash, "bhrpc.yaml: 2 plugins are that one; give the name of one\n  plugins: acme, acme"},
		{"no YAML", "plugins: [", hash, "bhrpc.yaml:1:1: not readable as YAML"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			after, err := config.Pin("bhrpc.yaml", []byte(tt.text), tt.hash, func(name, _ string) bool { return name == "acme" })
			got, want := string(after), strings.ReplaceAll(tt.want, "HASH", tt.hash)
			if err != nil {
				got = err.Error()
			}
			if err == nil && got != want || err != nil && (!strings.HasPrefix(want, "bhrpc.yaml") || !strings.HasPrefix(got, want)) {
				t.Errorf("%s\ngot  %s\nwant %s", tt.text, got, want)
			}
		})
	}
	for hash, want := range map[string]string{hash: "sha256: " + hash, numeric: "sha256: '" + numeric + "'"} {
		if got := config.Hash(hash); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// What is pinned once is the same when it is pinned again.
func FuzzPin(f *testing.F) {
	for _, seed := range []string{"plugins:\n- name: acme\n  path: bin/acme # x\n", "plugins: [{name: acme, path: 'x', sha256: \"\"}]", "plugins: [{7: x, name: acme, path: x}]", "{plugins: [[], {name: acme, path: {}}]}"} {
		f.Add(seed)
	}
	hash := strings.Repeat("ab", 32)
	acme := func(name, _ string) bool { return name == "acme" }
	f.Fuzz(func(t *testing.T, text string) {
		once, err := config.Pin("bhrpc.yaml", []byte(text), hash, acme)
		if err != nil {
			return
		}
		twice, err := config.Pin("bhrpc.yaml", once, hash, acme)
		if err != nil || string(twice) != string(once) {
			t.Errorf("%q: got %q, %v, want %q again", text, twice, err, once)
		}
	})
}
