package config_test

import (
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/internal/config"
)

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		file string
		want string
	}{
		{
			name: "range",
			file: "consumer:\n  reconnect: {cap: 50ms}\n",
			want: "bhrpc.yaml:2:20: consumer.reconnect.cap: 50ms is not between 500ms and 1h0m0s",
		},
		{
			name: "several ranges",
			file: "provider: {max_requests: 0, limits: {methods: -1}}\nconsumer: {timeout: 0s}\n",
			want: "bhrpc.yaml:1:26: provider.max_requests: 0 is not between 1 and 1048576\n" +
				"bhrpc.yaml:1:47: provider.limits.methods: -1 is not between 0 and 65536\n" +
				"bhrpc.yaml:2:21: consumer.timeout: 0s is not between 1ms and 24h0m0s",
		},
		{
			name: "default that another key forbids",
			file: "consumer: {reconnect: {base: 1m}}\n",
			want: "consumer.reconnect.cap: 30s is not between 1m0s and 1h0m0s; it is not set, another key forbids its default: set both",
		},
		{
			name: "reference",
			file: "references:\n  acme.Greeter: {timeout: 25h}\n  B: {timeout: -1s}\n",
			want: "bhrpc.yaml:2:27: references.acme.Greeter.timeout: 25h0m0s is not between 0s and 24h0m0s\n" +
				"bhrpc.yaml:3:16: references.B.timeout: -1s is not between 0s and 24h0m0s",
		},
		{
			name: "hedges without retries",
			file: "references:\n  B: {hedge: 50ms}\nconsumer: {retry: {attempts: 1}}\n",
			want: "bhrpc.yaml:2:14: references.B.hedge: is without effect where consumer.retry.attempts is below 2 or consumer.retry.budget.burst below 1",
		},
		{
			name: "methods of references",
			file: "references:\n  B: {idempotent: [Say, B.Say, Say], methods: {Say: {timeout: 25h}, '': {}}}\n",
			want: `bhrpc.yaml:2:25: references.B.idempotent.1: "B.Say" is no name of a method; write it without its service, as Say` + "\n" +
				`bhrpc.yaml:2:32: references.B.idempotent.2: "Say" is listed twice; remove one` + "\n" +
				"bhrpc.yaml:2:63: references.B.methods.Say.timeout: 25h0m0s is not between 0s and 24h0m0s\n" +
				`bhrpc.yaml:2:69: references.B.methods.: "" is no name of a method; write it without its service, as Say`,
		},
		{
			name: "no second fault for one key",
			file: "log: {format: 1}\nconsumer: {reconnect: {cap: soon, base: 1m}}\n",
			want: "bhrpc.yaml:1:15: log.format: want text, not the number 1; write it in quotes, \"1\"\n" +
				"bhrpc.yaml:2:29: consumer.reconnect.cap: \"soon\" is not a duration; write a number and a unit, such as 250ms, 5s or 2m",
		},
		{
			name: "words",
			file: "log: {level: INFO, format: xml}\n",
			want: "bhrpc.yaml:1:14: log.level: unknown value \"INFO\"; did you mean \"info\"?\n  known: debug, info, warn, error\n" +
				"bhrpc.yaml:1:28: log.format: unknown value \"xml\"\n  known: text, json",
		},
		{
			name: "addresses and registry",
			file: "consumer:\n  addresses: [a:1]\n  registry: local\n",
			want: "bhrpc.yaml:3:13: consumer.registry: excludes consumer.addresses (bhrpc.yaml:2:14); remove one of them, or say registry: none",
		},
		{
			name: "address without a port",
			file: "consumer:\n  addresses:\n    - a:1\n    - localhost\n",
			want: "bhrpc.yaml:4:7: consumer.addresses.1: \"localhost\" is not host:port; add :7070",
		},
		{
			name: "addresses that are none",
			file: "consumer:\n  addresses:\n  - tcp://h:1/\n  - ::1\n  - '[::1]'\n  - a:b:c\n  - :80\n  - h:0\n  - h:http\n  - h:65536\n  - h:-1\n  - ''\n",
			want: `bhrpc.yaml:3:5: consumer.addresses.0: "tcp://h:1/" is not host:port; write "h:1"` + "\n" +
				`bhrpc.yaml:4:5: consumer.addresses.1: "::1" is not host:port; write [::1]:7070` + "\n" +
				`bhrpc.yaml:5:5: consumer.addresses.2: "[::1]" is not host:port; write [::1]:7070` + "\n" +
				`bhrpc.yaml:6:5: consumer.addresses.3: "a:b:c" is not host:port; write an IPv6 host in brackets, as [::1]:7070` + "\n" +
				`bhrpc.yaml:7:5: consumer.addresses.4: ":80" has no host; add one, as 127.0.0.1:80` + "\n" +
				`bhrpc.yaml:8:5: consumer.addresses.5: "h:0" has port 0, which nobody can connect to; give the port that the provider listens on` + "\n" +
				`bhrpc.yaml:9:5: consumer.addresses.6: "h:http" has no port that is a number up to 65535; write one, as 127.0.0.1:7070` + "\n" +
				`bhrpc.yaml:10:5: consumer.addresses.7: "h:65536" has no port that is a number up to 65535; write one, as 127.0.0.1:7070` + "\n" +
				`bhrpc.yaml:11:5: consumer.addresses.8: "h:-1" has no port that is a number up to 65535; write one, as 127.0.0.1:7070` + "\n" +
				`bhrpc.yaml:12:5: consumer.addresses.9: "" is not host:port; write one, as 127.0.0.1:7070`,
		},
		{
			name: "address listed twice",
			file: "consumer: {addresses: [a:1, b:1, a:1]}\n",
			want: "bhrpc.yaml:1:34: consumer.addresses.2: \"a:1\" is listed twice; remove one",
		},
		{
			name: "listen and advertise",
			file: "provider: {listen: localhost, advertise: ':7070'}\n",
			want: "bhrpc.yaml:1:20: provider.listen: \"localhost\" is not host:port; add :7070\n" +
				"bhrpc.yaml:1:42: provider.advertise: \":7070\" has no host; add one, as 127.0.0.1:7070",
		},
		{
			name: "nowhere to listen",
			file: "provider: {listen: ''}\n",
			want: "bhrpc.yaml:1:20: provider.listen: \"\" is not host:port; write one, as 127.0.0.1:7070",
		},
		{
			name: "unix sockets that have no path",
			file: "consumer: {addresses: ['unix:/run/a.sock', 'unix://run/a.sock', 'unix:///']}\n",
			want: `bhrpc.yaml:1:24: consumer.addresses.0: "unix:/run/a.sock" has no absolute path; write it as unix:///run/orders.sock` + "\n" +
				`bhrpc.yaml:1:44: consumer.addresses.1: "unix://run/a.sock" has no absolute path; write it as unix:///run/orders.sock` + "\n" +
				`bhrpc.yaml:1:65: consumer.addresses.2: "unix:///" has no absolute path; write it as unix:///run/orders.sock`,
		},
		{
			name: "a unix socket with a long path",
			file: "provider: {listen: 'unix:///" + strings.Repeat("d", 103) + "'}\n",
			want: `bhrpc.yaml:1:20: provider.listen: "unix:///` + strings.Repeat("d", 52) + `…" has a path of 104 bytes, and a socket's can have 103; choose a shorter one`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			write(t, tt.file)
			_, err := config.Load("bhrpc.yaml", nil)
			if err == nil || err.Error() != tt.want {
				t.Errorf("%s\ngot\n%v\nwant\n%s", tt.file, err, tt.want)
			}
		})
	}
}

// TestValidateAfterSet is what a program does that adds its own settings.
func TestValidateAfterSet(t *testing.T) {
	c := load(t, "consumer: {registry: local}\n", "BHRPC_LOG_LEVEL=warn")
	for key, value := range map[string]any{"consumer.addresses": []string{"a:1", "b"}, "consumer.reconnect.factor": 0.5, "references.S.timeout": "-1s"} {
		if err := c.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	c.Consumer.References = c.References // as a program does that makes a Consumer of it
	want := "bhrpc.yaml:1:22: consumer.registry: excludes consumer.addresses (code); remove one of them, or say registry: none\n" +
		"consumer.addresses.1 (from code): \"b\" is not host:port; add :7070\n" +
		"consumer.reconnect.factor (from code): 0.5 is not between 1 and 10\n" +
		"references.S.timeout (from code): -1s is not between 0s and 24h0m0s"
	if err := c.Validate(); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if err := c.Set("consumer.registry", config.None); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err == nil || strings.Contains(err.Error(), "excludes") {
		t.Errorf("got %v, want no conflict with registry none", err)
	}
}
