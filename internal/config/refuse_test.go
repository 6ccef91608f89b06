package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/internal/config"
	"github.com/bhrpc/bhrpc/spi"
)

const (
	consumerKeys = "addresses, serializer, compressor, loadbalancer, proxy, heartbeat, registry, interceptors, timeout, dial_timeout, handshake_timeout, write_timeout, reconnect, limits, retry, drain_timeout, tls, frame_timeout, checksum, compress_above"
	inPlace      = "; every value stands where it is used, so that its place can be told: write it out"
)

var refused = []struct {
	name string
	file string
	want string
}{
	{
		name: "unknown key",
		file: "consumer:\n  addresses: [127.0.0.1:7070]\n  serialiser: gob\n",
		want: `bhrpc.yaml:3:3: unknown key consumer.serialiser; did you mean "serializer"?` + "\n  keys of consumer: " + consumerKeys,
	},
	{
		name: "unknown section",
		file: "server: {}\n",
		want: "bhrpc.yaml:1:1: unknown key server\n  keys of the configuration: provider, consumer, references, log, control, plugins",
	},
	{
		name: "unknown key in a nested object",
		file: "consumer: {reconnect: {caps: 1s}}\n",
		want: `bhrpc.yaml:1:24: unknown key consumer.reconnect.caps; did you mean "cap"?` + "\n  keys of consumer.reconnect: first, base, factor, cap, stable",
	},
	{
		name: "unknown key of a reference",
		file: "references:\n  acme.Greeter: {tiemout: 1s}\n",
		want: `bhrpc.yaml:2:18: unknown key references.acme.Greeter.tiemout; did you mean "timeout"?` + "\n  keys of references.acme.Greeter: version, group, timeout, idempotent, methods, hedge",
	},
	{
		name: "wrong case",
		file: "log: {Level: info}\n",
		want: `bhrpc.yaml:1:7: unknown key log.Level; did you mean "level"?` + "\n  keys of log: level, format",
	},
	{
		name: "field that is no key",
		file: "provider: {Weight: 1}\n",
		want: `bhrpc.yaml:1:12: unknown key provider.Weight; did you mean "weight"?` + "\n  keys of provider: listen, advertise, serializers, compressors, heartbeat, registry, interceptors, max_requests, handshake_timeout, write_timeout, drain_timeout, introspection, weight, limits, http, max_conns, max_handshakes, tls, frame_timeout, checksum, compress_above",
	},
	{
		name: "key that would break the line",
		file: "log: {\"a\\nb\": 1}\n",
		want: `bhrpc.yaml:1:7: unknown key "log.a\nb"` + "\n  keys of log: level, format",
	},
	{
		name: "duplicate key",
		file: "consumer:\n  timeout: 1s\n  proxy: reflect\n  timeout: 2s\n",
		want: "bhrpc.yaml:4:3: consumer.timeout: given twice, on lines 2 and 4; remove one",
	},
	{
		name: "duplicate section",
		file: "log: {level: info}\nlog: {format: json}\n",
		want: "bhrpc.yaml:2:1: log: given twice, on lines 1 and 2; remove one",
	},
	{
		name: "duplicate key inside with",
		file: "consumer:\n  proxy:\n    use: x\n    with:\n      a: 1\n      'a': 2\n",
		want: "bhrpc.yaml:6:7: consumer.proxy.with.a: given twice, on lines 5 and 6; remove one",
	},
	{
		name: "duration without a unit",
		file: "consumer: {timeout: 20}\n",
		want: "bhrpc.yaml:1:21: consumer.timeout: 20 has no unit; write a duration such as 250ms, 5s or 2m",
	},
	{
		name: "duration that is none",
		file: "consumer: {timeout: soon}\n",
		want: `bhrpc.yaml:1:21: consumer.timeout: "soon" is not a duration; write a number and a unit, such as 250ms, 5s or 2m`,
	},
	{
		name: "list for a duration",
		file: "consumer: {timeout: [5s]}\n",
		want: "bhrpc.yaml:1:21: consumer.timeout: want a duration, as 250ms, 5s or 2m, not a list",
	},
	{
		name: "bool for a size",
		file: "consumer: {limits: {message: true}}\n",
		want: "bhrpc.yaml:1:30: consumer.limits.message: want a size, as 64KiB or 16MiB, not true",
	},
	{
		name: "size that is none",
		file: "consumer: {limits: {message: 1.5}}\n",
		want: `bhrpc.yaml:1:30: consumer.limits.message: "1.5" is not a size; write bytes, or a number with KiB, MiB or GiB`,
	},
	{
		name: "text for a number",
		file: "provider: {max_requests: 10_000}\n",
		want: `bhrpc.yaml:1:26: provider.max_requests: want a whole number, not the text "10_000"`,
	},
	{
		name: "fraction for a whole number",
		file: "provider: {max_requests: 1e3}\n",
		want: "bhrpc.yaml:1:26: provider.max_requests: want a whole number, not the number 1e3",
	},
	{
		name: "number that does not fit",
		file: "provider: {max_requests: 99999999999999999999}\n",
		want: "bhrpc.yaml:1:26: provider.max_requests: 99999999999999999999 is out of range",
	},
	{
		name: "no number",
		file: "consumer: {reconnect: {factor: .nan}}\n",
		want: "bhrpc.yaml:1:32: consumer.reconnect.factor: want a number, not .nan",
	},
	{
		name: "yes for a bool",
		file: "provider: {introspection: yes}\n",
		want: `bhrpc.yaml:1:27: provider.introspection: want true or false, not the text "yes"`,
	},
	{
		name: "number for text",
		file: "references: {Greeter: {version: 1.0}}\n",
		want: `bhrpc.yaml:1:33: references.Greeter.version: want text, not the number 1.0; write it in quotes, "1.0"`,
	},
	{
		name: "text for a list",
		file: "consumer: {addresses: localhost}\n",
		want: `bhrpc.yaml:1:23: consumer.addresses: want a list, as [a, b], not the text "localhost"`,
	},
	{
		name: "keys for an element of a list",
		file: "consumer:\n  addresses:\n    - a:1\n    - {b: 2}\n",
		want: "bhrpc.yaml:4:7: consumer.addresses.1: want text, not keys and values",
	},
	{
		name: "text for a section",
		file: "consumer: gob\n",
		want: `bhrpc.yaml:1:11: consumer: want keys and values, not the text "gob"`,
	},
	{
		name: "list for references",
		file: "references: [Greeter]\n",
		want: "bhrpc.yaml:1:13: references: want keys and values, not a list",
	},
	{
		name: "no value",
		file: "consumer:\n  timeout:\n",
		want: "bhrpc.yaml:2:11: consumer.timeout: has no value; want a duration, as 250ms, 5s or 2m, or remove the key",
	},
	{
		name: "no list",
		file: "consumer:\n  addresses: ~\n",
		want: "bhrpc.yaml:2:14: consumer.addresses: has no value; want a list, as [a, b], or remove the key",
	},
	{
		name: "no extension",
		file: "consumer:\n  proxy:\n",
		want: "bhrpc.yaml:2:9: consumer.proxy: has no value; want a name or {use: name, with: {…}}, or remove the key",
	},
	{
		name: "extension with an empty name",
		file: "consumer: {proxy: ''}\n",
		want: `bhrpc.yaml:1:19: consumer.proxy: want a name or {use: name, with: {…}}, not the text ""`,
	},
	{
		name: "extension that is a list",
		file: "consumer: {proxy: [reflect]}\n",
		want: "bhrpc.yaml:1:19: consumer.proxy: want a name or {use: name, with: {…}}, not a list",
	},
	{
		name: "extension without use",
		file: "consumer: {proxy: {with: {a: 1}}}\n",
		want: "bhrpc.yaml:1:19: consumer.proxy: names no extension; write {use: name, with: {…}}",
	},
	{
		name: "list of extensions with a number",
		file: "consumer:\n  interceptors:\n    - access-log\n    - 7\n    - {with: {}}\n    - {use: x, wiht: {}}\n",
		want: "bhrpc.yaml:4:7: consumer.interceptors.1: want a name or {use: name, with: {…}}, not the number 7\n" +
			"bhrpc.yaml:5:7: consumer.interceptors.2: names no extension; write {use: name, with: {…}}\n" +
			`bhrpc.yaml:6:16: unknown key consumer.interceptors.3.wiht; did you mean "with"?` + "\n  keys of consumer.interceptors.3: use, with",
	},
	{
		name: "name for a list of extensions",
		file: "provider: {interceptors: access-log}\n",
		want: `bhrpc.yaml:1:26: provider.interceptors: want a list, as [a, b], not the text "access-log"`,
	},
	{
		name: "use that is a number",
		file: "consumer: {proxy: {use: 1}}\n",
		want: "bhrpc.yaml:1:25: consumer.proxy.use: want a name, not the number 1",
	},
	{
		name: "key beside use and with",
		file: "consumer: {loadbalancer: {use: x, weights: {a: 1}}}\n",
		want: "bhrpc.yaml:1:35: unknown key consumer.loadbalancer.weights\n  keys of consumer.loadbalancer: use, with",
	},
	{
		name: "with that is a list",
		file: "consumer: {loadbalancer: {use: x, with: [1]}}\n",
		want: "bhrpc.yaml:1:41: consumer.loadbalancer.with: want keys and values, not a list",
	},
	{
		name: "infinity inside with",
		file: "consumer: {loadbalancer: {use: x, with: {a: [.inf]}}}\n",
		want: "bhrpc.yaml:1:46: consumer.loadbalancer.with.a.0: .inf is no number that an extension can be told",
	},
	{
		name: "anchor and alias",
		file: "consumer: {timeout: &t 1s, dial_timeout: *t, addresses: [*t]}\n",
		want: "bhrpc.yaml:1:21: consumer.timeout: anchor &t is not accepted" + inPlace + "\n" +
			"bhrpc.yaml:1:42: consumer.dial_timeout: alias *t is not accepted" + inPlace + "\n" +
			"bhrpc.yaml:1:58: consumer.addresses.0: alias *t is not accepted" + inPlace,
	},
	{
		name: "alias as a key",
		file: "log: {level: &level info, *level : x}\n",
		want: "bhrpc.yaml:1:14: log.level: anchor &level is not accepted" + inPlace + "\n" +
			"bhrpc.yaml:1:27: log: alias *level is not accepted" + inPlace,
	},
	{
		name: "anchor and tag on keys",
		file: "&a log: {!!str level : info}\n",
		want: "bhrpc.yaml:1:1: log: anchor &a is not accepted" + inPlace + "\n" +
			"bhrpc.yaml:1:10: log.level: tag !!str is not accepted; the key decides the type: leave the tag out",
	},
	{
		name: "merge key",
		file: "log:\n  <<: {level: info}\n",
		want: "bhrpc.yaml:2:3: log: merge key << is not accepted" + inPlace,
	},
	{
		name: "tag",
		file: "log: {level: !!str info}\n",
		want: "bhrpc.yaml:1:14: log.level: tag !!str is not accepted; the key decides the type: leave the tag out",
	},
	{
		name: "key that is a list",
		file: "? [log]\n: {}\n",
		want: "bhrpc.yaml:1:3: a key is a word, not a list",
	},
	{
		name: "key that is too long",
		file: "? " + strings.Repeat("k", 1025) + "\n: 1\n",
		want: "bhrpc.yaml:1:3: a key of 1025 bytes; 1024 at most",
	},
	{
		name: "too deep",
		file: "consumer: {proxy: {use: x, with: {a: " + strings.Repeat("[", 61) + strings.Repeat("]", 61) + "}}}\n",
		want: "bhrpc.yaml:1:98: consumer.proxy.with.a" + strings.Repeat(".0", 19) + ".…: nested deeper than 64 levels",
	},
	{
		name: "two documents",
		file: "log: {level: debug}\n---\nlog: {}\n",
		want: "bhrpc.yaml:2:1: a second document begins here; a configuration is one document",
	},
	{
		name: "second document that cannot be read",
		file: "log: {level: loud}\n---\nlog: {\n",
		want: `bhrpc.yaml:1:14: log.level: unknown value "loud"` + "\n  known: debug, info, warn, error\n" +
			"bhrpc.yaml:3:1: not readable as YAML here or below: did not find expected node content",
	},
	{
		name: "list",
		file: "- consumer\n",
		want: "bhrpc.yaml:1:1: want keys and values, not a list",
	},
	{
		name: "text",
		file: "consumer\n",
		want: `bhrpc.yaml:1:1: want keys and values, not the text "consumer"`,
	},
	{
		name: "tab in an indentation",
		file: "log:\n\tlevel: info\n\tformat: text\n",
		want: "bhrpc.yaml:2:1: not readable as YAML here or below: found character that cannot start any token; this line begins with a tab, YAML is indented with spaces",
	},
	{
		name: "syntax error in the first line",
		file: "log: level: info\n",
		want: "bhrpc.yaml:1:1: not readable as YAML here or below: mapping values are not allowed in this context",
	},
	{
		name: "syntax error in a later line",
		file: "log:\n  level: info\n  format: a: b\nconsumer:\n",
		want: "bhrpc.yaml:3:1: not readable as YAML here or below: mapping values are not allowed in this context",
	},
	{
		name: "wrong indentation",
		file: "consumer:\n  addresses:\n    - a:1\n   timeout: 1s\n",
		want: "bhrpc.yaml:2:1: not readable as YAML here or below: did not find expected key",
	},
	{
		name: "wrong indentation in the first block",
		file: "log:\n  level: info\n format: text\n",
		want: "bhrpc.yaml:3:1: not readable as YAML here or below: did not find expected key",
	},
	{
		name: "open bracket",
		file: "log:\n  level: [info\n  format: text\n",
		want: "bhrpc.yaml:2:1: not readable as YAML here or below: did not find expected ',' or ']'",
	},
	{
		name: "open bracket at the end",
		file: "log: {level: info\r\n\r\n",
		want: "bhrpc.yaml:1:1: not readable as YAML here or below: did not find expected ',' or '}'",
	},
	{
		name: "alias of nothing",
		file: "log: *log\n",
		want: "bhrpc.yaml:1:1: not readable as YAML here or below: unknown anchor 'log' referenced",
	},
	{
		name: "fault after a byte order mark",
		file: "\ufefflog: {level: 1}\n",
		want: "bhrpc.yaml:1:14: log.level: want text, not the number 1; write it in quotes, \"1\"",
	},
	{
		name: "no UTF-8",
		file: "log:\n  # é\n  level: é\xe9\n",
		want: "bhrpc.yaml:3:11: byte 0xe9 is not UTF-8 text; write UTF-8",
	},
	{
		name: "UTF-16",
		file: "\xff\xfel\x00o\x00g\x00:\x00",
		want: "bhrpc.yaml:1:1: byte 0xff is not UTF-8 text; write UTF-8",
	},
	{
		name: "long value",
		file: "consumer: x" + strings.Repeat("é", 100) + "\n",
		want: `bhrpc.yaml:1:11: consumer: want keys and values, not the text "x` + strings.Repeat("é", 29) + `…"`,
	},
	{
		name: "faults of one line, by column",
		file: "log: {level: 1, format: &f text}\n",
		want: "bhrpc.yaml:1:14: log.level: want text, not the number 1; write it in quotes, \"1\"\n" +
			"bhrpc.yaml:1:25: log.format: anchor &f is not accepted" + inPlace,
	},
	{
		name: "all faults, by position",
		file: "consumer:\n  timeout: 20\n  Proxy: x\nlog:\n  level: INFO\n  level: info\n",
		want: "bhrpc.yaml:2:12: consumer.timeout: 20 has no unit; write a duration such as 250ms, 5s or 2m\n" +
			`bhrpc.yaml:3:3: unknown key consumer.Proxy; did you mean "proxy"?` + "\n  keys of consumer: " + consumerKeys + "\n" +
			`bhrpc.yaml:6:3: log.level: given twice, on lines 5 and 6; remove one`,
	},
}

func TestLoadRefuses(t *testing.T) {
	for _, tt := range refused {
		t.Run(tt.name, func(t *testing.T) {
			write(t, tt.file)
			c, err := config.Load("bhrpc.yaml", nil)
			if err == nil || c != nil {
				t.Fatalf("%s\ngot configuration %v, error %v, want error\n%s", tt.file, c, err, tt.want)
			}
			if got := err.Error(); got != tt.want {
				t.Errorf("%s\ngot\n%s\nwant\n%s", tt.file, got, tt.want)
			}
			for _, err := range flatten(err) {
				var fault *spi.ConfigError
				if !errors.As(err, &fault) || fault.Cause == nil || fault.At.Source != "bhrpc.yaml" {
					t.Errorf("%s\ngot %#v, want a ConfigError with cause and place", tt.file, err)
				}
			}
		})
	}
}
