package spi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// settings is the configuration of the extension "probe": a key of every type.
type settings struct {
	common

	Skip     int                 `json:"skip" doc:"endpoints to leave out"`
	Small    int8                `json:"small"`
	Burst    uint8               `json:"burst"`
	Rate     float64             `json:"rate"`
	Sticky   bool                `json:"sticky"`
	Interval spi.Duration        `json:"interval" doc:"between two looks"`
	Buffer   spi.Size            `json:"buffer"`
	Next     spi.Ref             `json:"next"`
	TLS      files               `json:"tls"`
	Weights  map[string]int      `json:"weights" doc:"by address"`
	Tags     []string            `json:"tags"`
	Servers  []server            `json:"servers"`
	Groups   map[string][]server `json:"groups"`
}

type common struct {
	Zone string `json:"zone" doc:"endpoints of this zone come first"`
}

type files struct {
	CA   string `json:"ca" doc:"authority"`
	Cert string `json:"cert"`
}

type server struct {
	Host string `json:"host"`
	Port int    `json:"port"`
}

// Validate finds a negative skip only.
func (s *settings) Validate() error {
	if s.Skip < 0 {
		return fmt.Errorf("skip %d is negative", s.Skip)
	}
	return nil
}

func defaults() settings {
	return settings{
		common:   common{Zone: "eu1"},
		Skip:     1,
		Interval: spi.Duration(5 * time.Second),
		Buffer:   64 << 10,
		Next:     spi.Ref{Use: "random"},
		TLS:      files{CA: "ca.pem", Cert: "cert.pem"},
		Weights:  map[string]int{"a:1": 1, "b:1": 2},
		Tags:     []string{"x", "y"},
		Servers:  []server{{"one", 1}, {"two", 2}},
		Groups:   map[string][]server{"g": {{"one", 1}}},
	}
}

// probes returns a point with one extension, "probe", which opens as its own
// configuration.
func probes(t testing.TB) *spi.Point[settings] {
	t.Helper()
	p := spi.NewPoint[settings]("loadbalancer")
	open := func(_ context.Context, _ spi.Env, cfg settings) (settings, error) { return cfg, nil }
	if err := spi.Register(p, "probe", "Shows its configuration.", defaults(), open); err != nil {
		t.Fatal(err)
	}
	return p
}

// placed is a Ref to "probe" as a configuration file has it, with some positions.
func placed(with string) spi.Ref {
	at := func(line, column int) spi.Pos { return spi.Pos{Source: "bhrpc.yaml", Line: line, Column: column} }
	return spi.Ref{
		Use: "probe", Key: "consumer.loadbalancer", At: at(4, 17),
		With: spi.Raw{JSON: []byte(with), At: map[string]spi.Pos{
			"skip": at(5, 7), "weights": at(6, 7), "weights.10.0.0.7:7070": at(7, 9), "tls.ca": at(9, 9), "tls": at(8, 7),
			"servers": at(10, 7), "servers.1.port": at(12, 11), "groups.g.0": at(14, 11), "zone": at(15, 7),
		}},
	}
}

// TestConfigurationFaults pins what a user reads: place, key, what is wrong, what
// would be right.
func TestConfigurationFaults(t *testing.T) {
	const keys = "zone, skip, small, burst, rate, sticky, interval, buffer, next, tls, weights, tags, servers, groups"
	const here = "bhrpc.yaml:4:17: consumer.loadbalancer.with."
	for _, tt := range []struct {
		name, with string
		want       []string // lines
		is         error
	}{
		{"unknown key", `{"skipp":1}`, []string{
			`bhrpc.yaml:4:17: unknown key consumer.loadbalancer.with.skipp; did you mean "skip"?`,
			`  keys of loadbalancer "probe": ` + keys}, spi.ErrUnknown},
		{"unknown key, nothing near", `{"completely-else":1}`, []string{
			`bhrpc.yaml:4:17: unknown key consumer.loadbalancer.with.completely-else`,
			`  keys of loadbalancer "probe": ` + keys}, spi.ErrUnknown},
		{"wrong case", `{"Skip":1}`, []string{
			`bhrpc.yaml:4:17: unknown key consumer.loadbalancer.with.Skip; did you mean "skip"?`,
			`  keys of loadbalancer "probe": ` + keys}, spi.ErrUnknown},
		{"embedded struct is no key", `{"common":{}}`, []string{
			`bhrpc.yaml:4:17: unknown key consumer.loadbalancer.with.common`,
			`  keys of loadbalancer "probe": ` + keys}, spi.ErrUnknown},
		{"empty key", `{"":1}`, []string{
			`bhrpc.yaml:4:17: unknown key consumer.loadbalancer.with.`,
			`  keys of loadbalancer "probe": ` + keys}, spi.ErrUnknown},
		{"unknown nested key", `{"tls":{"cer":"x"}}`, []string{
			`bhrpc.yaml:8:7: unknown key consumer.loadbalancer.with.tls.cer; did you mean "cert"?`,
			`  keys of consumer.loadbalancer.with.tls: ca, cert`}, spi.ErrUnknown},
		{"unknown key in a list", `{"servers":[{"host":"a"},{"hots":"b"}]}`, []string{
			`bhrpc.yaml:10:7: unknown key consumer.loadbalancer.with.servers.1.hots; did you mean "host"?`,
			`  keys of consumer.loadbalancer.with.servers.1: host, port`}, spi.ErrUnknown},
		{"unknown key in a list in a map", `{"groups":{"g":[{"Port":1}]}}`, []string{
			`bhrpc.yaml:14:11: unknown key consumer.loadbalancer.with.groups.g.0.Port; did you mean "port"?`,
			`  keys of consumer.loadbalancer.with.groups.g.0: host, port`}, spi.ErrUnknown},
		{"unknown key of a Ref", `{"next":{"use":"p2c","wiht":{}}}`, []string{
			`bhrpc.yaml:4:17: unknown key consumer.loadbalancer.with.next.wiht; did you mean "with"?`,
			`  keys of consumer.loadbalancer.with.next: use, with`}, spi.ErrUnknown},
		{"duplicate key", `{"skip":1,"skip":2}`, []string{
			`bhrpc.yaml:5:7: consumer.loadbalancer.with.skip: given twice; remove one`}, spi.ErrInvalid},
		{"duplicate nested key", `{"tls":{"ca":"x","cert":"y","ca":"x"}}`, []string{
			`bhrpc.yaml:9:9: consumer.loadbalancer.with.tls.ca: given twice; remove one`}, spi.ErrInvalid},
		{"duplicate key of a map", `{"weights":{"10.0.0.7:7070":1,"10.0.0.7:7070":1}}`, []string{
			`bhrpc.yaml:7:9: consumer.loadbalancer.with.weights.10.0.0.7:7070: given twice; remove one`}, spi.ErrInvalid},
		{"duplicate inside what is unknown", `{"zone":"x","what":{"a":1,"a":2}}`, []string{
			`bhrpc.yaml:4:17: unknown key consumer.loadbalancer.with.what`,
			`  keys of loadbalancer "probe": ` + keys,
			`bhrpc.yaml:4:17: consumer.loadbalancer.with.what.a: given twice; remove one`}, spi.ErrInvalid},
		{"two faults", `{"skip":"x","zone":3}`, []string{
			`bhrpc.yaml:5:7: consumer.loadbalancer.with.skip: want a whole number, not text`,
			`bhrpc.yaml:15:7: consumer.loadbalancer.with.zone: want text, not the number 3`}, spi.ErrInvalid},

		{"int as text", `{"skip":"3"}`, []string{`bhrpc.yaml:5:7: consumer.loadbalancer.with.skip: want a whole number, not text`}, spi.ErrInvalid},
		{"int with a fraction", `{"skip":1.5}`, []string{`bhrpc.yaml:5:7: consumer.loadbalancer.with.skip: want a whole number, not the number 1.5`}, spi.ErrInvalid},
		{"int with an exponent", `{"skip":1e3}`, []string{`bhrpc.yaml:5:7: consumer.loadbalancer.with.skip: want a whole number, not the number 1e3`}, spi.ErrInvalid},
		{"int too large", `{"skip":9223372036854775808}`, []string{`bhrpc.yaml:5:7: consumer.loadbalancer.with.skip: want a whole number, not the number 9223372036854775808`}, spi.ErrInvalid},
		{"int8 too large", `{"small":128}`, []string{here + `small: want a whole number (int8), not the number 128`}, spi.ErrInvalid},
		{"uint8 negative", `{"burst":-1}`, []string{here + `burst: want a whole number (uint8), not the number -1`}, spi.ErrInvalid},
		{"uint8 too large", `{"burst":256}`, []string{here + `burst: want a whole number (uint8), not the number 256`}, spi.ErrInvalid},
		{"float as text", `{"rate":"1"}`, []string{here + `rate: want a number, not text`}, spi.ErrInvalid},
		{"float too large", `{"rate":1e999}`, []string{here + `rate: want a number, not the number 1e999`}, spi.ErrInvalid},
		{"bool as text", `{"sticky":"yes"}`, []string{here + `sticky: want true or false, not text`}, spi.ErrInvalid},
		{"string as bool", `{"zone":true}`, []string{`bhrpc.yaml:15:7: consumer.loadbalancer.with.zone: want text, not true`}, spi.ErrInvalid},
		{"duration without unit", `{"interval":20}`, []string{here + `interval: 20 has no unit; write a duration such as 250ms, 5s or 2m`}, spi.ErrInvalid},
		{"duration that is none", `{"interval":"soon"}`, []string{here + `interval: "soon" is not a duration; write a number and a unit, such as 250ms, 5s or 2m`}, spi.ErrInvalid},
		{"duration as bool", `{"interval":true}`, []string{here + `interval: want a duration, as 250ms, 5s or 2m, not true`}, spi.ErrInvalid},
		{"duration as object", `{"interval":{}}`, []string{here + `interval: want a duration, as 250ms, 5s or 2m, not keys and values`}, spi.ErrInvalid},
		{"size that is none", `{"buffer":"64K"}`, []string{here + `buffer: "64K" is not a size; write bytes, or a number with KiB, MiB or GiB`}, spi.ErrInvalid},
		{"size as list", `{"buffer":[]}`, []string{here + `buffer: want a size, as 64KiB or 16MiB, not a list`}, spi.ErrInvalid},
		{"extension as number", `{"next":3}`, []string{here + `next: want the name of an extension, or {use: name, with: {…}}, not the number 3`}, spi.ErrInvalid},
		{"name of an extension as number", `{"next":{"use":3}}`, []string{here + `next.use: want text, not the number 3`}, spi.ErrInvalid},
		{"object as text", `{"tls":"x"}`, []string{`bhrpc.yaml:8:7: consumer.loadbalancer.with.tls: want keys and values, not text`}, spi.ErrInvalid},
		{"object as list", `{"tls":[{"ca":"x"}]}`, []string{`bhrpc.yaml:8:7: consumer.loadbalancer.with.tls: want keys and values, not a list`}, spi.ErrInvalid},
		{"map as list", `{"weights":[1]}`, []string{`bhrpc.yaml:6:7: consumer.loadbalancer.with.weights: want keys and values, not a list`}, spi.ErrInvalid},
		{"map as list of what it does not hold", `{"weights":["x"]}`, []string{`bhrpc.yaml:6:7: consumer.loadbalancer.with.weights: want keys and values, not a list`}, spi.ErrInvalid},
		{"element of a map", `{"weights":{"10.0.0.7:7070":"3"}}`, []string{`bhrpc.yaml:7:9: consumer.loadbalancer.with.weights.10.0.0.7:7070: want a whole number, not text`}, spi.ErrInvalid},
		{"element of a map without place", `{"weights":{"10.0.0.8:7070":"3"}}`, []string{`bhrpc.yaml:6:7: consumer.loadbalancer.with.weights.10.0.0.8:7070: want a whole number, not text`}, spi.ErrInvalid},
		{"list as object", `{"tags":{"a":"b"}}`, []string{here + `tags: want a list, not keys and values`}, spi.ErrInvalid},
		{"element of a list", `{"tags":["a",1]}`, []string{here + `tags.1: want text, not the number 1`}, spi.ErrInvalid},
		{"in an object in a list", `{"servers":[{"port":1},{"port":"x"}]}`, []string{`bhrpc.yaml:12:11: consumer.loadbalancer.with.servers.1.port: want a whole number, not text`}, spi.ErrInvalid},
		{"object in a list as number", `{"servers":[1]}`, []string{`bhrpc.yaml:10:7: consumer.loadbalancer.with.servers.0: want keys and values, not the number 1`}, spi.ErrInvalid},

		{"validate", `{"skip":-1}`, []string{`bhrpc.yaml:4:17: loadbalancer "probe": skip -1 is negative`}, spi.ErrInvalid},
		{"trailing data", `{} {}`, []string{`bhrpc.yaml:4:17: configuration of loadbalancer "probe": invalid character '{' after top-level value`}, spi.ErrInvalid},
		{"trailing comma", `{"skip":1,}`, []string{`bhrpc.yaml:4:17: configuration of loadbalancer "probe": invalid character '}' looking for beginning of object key string`}, spi.ErrInvalid},
		{"cut off", `{"skip":`, []string{`bhrpc.yaml:4:17: configuration of loadbalancer "probe": unexpected end of JSON input`}, spi.ErrInvalid},
		{"blank", ` `, []string{`bhrpc.yaml:4:17: configuration of loadbalancer "probe": unexpected end of JSON input`}, spi.ErrInvalid},
		{"a list", `[]`, []string{`bhrpc.yaml:4:17: configuration of loadbalancer "probe": want keys and values, not a list`}, spi.ErrInvalid},
		{"a list of objects", `[{"skip":1}]`, []string{`bhrpc.yaml:4:17: configuration of loadbalancer "probe": want keys and values, not a list`}, spi.ErrInvalid},
		{"a string", `"skip"`, []string{`bhrpc.yaml:4:17: configuration of loadbalancer "probe": want keys and values, not text`}, spi.ErrInvalid},
		{"a number", `3`, []string{`bhrpc.yaml:4:17: configuration of loadbalancer "probe": want keys and values, not the number 3`}, spi.ErrInvalid},
		{"false", `false`, []string{`bhrpc.yaml:4:17: configuration of loadbalancer "probe": want keys and values, not false`}, spi.ErrInvalid},
		{"too deep", strings.Repeat(`{"zone":`, 1<<14), []string{`bhrpc.yaml:4:17: configuration of loadbalancer "probe": invalid character '{' exceeded max depth`}, spi.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ref := placed(tt.with)
			_, err := probes(t).Open(t.Context(), spi.Env{}, ref)
			if err == nil {
				t.Fatalf("Open with %.80s: got no error, want %s", tt.with, tt.want)
			}
			want := strings.Join(tt.want, "\n")
			if err.Error() != want {
				t.Errorf("Open with %.80s\ngot  %s\nwant %s", tt.with, err, want)
			}
			if !errors.Is(err, tt.is) {
				t.Errorf("errors.Is(%v, %v): got false, want true", err, tt.is)
			}
			if _, resolved := probes(t).Resolve(ref); fmt.Sprint(resolved) != fmt.Sprint(err) {
				t.Errorf("Resolve with %.80s: got %v, want what Open says: %v", tt.with, resolved, err)
			}
			var place *spi.ConfigError
			if !errors.As(err, &place) || place.At.Source != "bhrpc.yaml" || !strings.HasPrefix(place.Key, "consumer.loadbalancer") {
				t.Errorf("errors.As(%v, *ConfigError): got %+v, want one with place and key", err, place)
			}
		})
	}
}

// TestConfigurationPlaces shows one fault as it reads wherever it was written.
func TestConfigurationPlaces(t *testing.T) {
	for _, tt := range []struct {
		name string
		ref  spi.Ref
		want string
	}{
		{"environment", spi.Ref{Key: "consumer.loadbalancer", At: spi.Pos{Source: "env BHRPC_CONSUMER_LOADBALANCER"}},
			"consumer.loadbalancer.with.skip (from env BHRPC_CONSUMER_LOADBALANCER): want a whole number, not true"},
		{"code", spi.Ref{Key: "consumer.loadbalancer", At: spi.Pos{Source: "code"}}, "consumer.loadbalancer.with.skip (from code): want a whole number, not true"},
		{"key only", spi.Ref{Key: "consumer.loadbalancer"}, "consumer.loadbalancer.with.skip: want a whole number, not true"},
		{"nothing known", spi.Ref{}, "with.skip: want a whole number, not true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.ref.Use = "probe"
			tt.ref.With.JSON = []byte(`{"skip":true}`)
			_, err := probes(t).Resolve(tt.ref)
			if got := fmt.Sprint(err); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestConfigurationOverDefaults is about what is in force when the configuration
// is good.
func TestConfigurationOverDefaults(t *testing.T) {
	for _, tt := range []struct {
		name, with string
		want       func(*settings) // changes to the defaults
	}{
		{"nothing", ``, func(*settings) {}},
		{"null", `null`, func(*settings) {}},
		{"null with space around", "\n null ", func(*settings) {}},
		{"no keys", `{}`, func(*settings) {}},
		{"numbers", `{"skip":3,"small":-128,"burst":255,"rate":0.5,"sticky":true}`, func(s *settings) {
			s.Skip, s.Small, s.Burst, s.Rate, s.Sticky = 3, -128, 255, 0.5, true
		}},
		{"zero is a value", `{"skip":0,"zone":"","interval":"0s","buffer":0}`, func(s *settings) {
			s.Skip, s.Zone, s.Interval, s.Buffer = 0, "", 0, 0
		}},
		{"texts", `{"zone":"us2","interval":"1m30s","buffer":"1MiB","next":"p2c"}`, func(s *settings) {
			s.Zone, s.Interval, s.Buffer, s.Next = "us2", spi.Duration(90*time.Second), 1<<20, spi.Ref{Use: "p2c"}
		}},
		{"long form of a Ref", `{"next":{"use":"p2c","with":{"any":["thing"]}}}`, func(s *settings) {
			s.Next = spi.Ref{Use: "p2c", With: spi.Raw{JSON: []byte(`{"any":["thing"]}`)}}
		}},
		{"object is laid over key by key", `{"tls":{"cert":"new.pem"}}`, func(s *settings) { s.TLS.Cert = "new.pem" }},
		{"map is laid over key by key", `{"weights":{"b:1":7,"c:1":9}}`, func(s *settings) {
			s.Weights = map[string]int{"a:1": 1, "b:1": 7, "c:1": 9}
		}},
		{"list replaces", `{"tags":["z"]}`, func(s *settings) { s.Tags = []string{"z"} }},
		{"empty list replaces", `{"tags":[]}`, func(s *settings) { s.Tags = []string{} }},
		{"element of a list inherits nothing", `{"servers":[{"host":"new"}]}`, func(s *settings) { s.Servers = []server{{Host: "new"}} }},
		{"element of a map inherits nothing", `{"groups":{"g":[{"port":9}]}}`, func(s *settings) {
			s.Groups = map[string][]server{"g": {{Port: 9}}}
		}},
		{"null keeps the default", `{"skip":null,"zone":null,"interval":null,"buffer":null,"next":null,"tls":null,"weights":null,"tags":null,"servers":null}`,
			func(*settings) {}},
		{"null inside keeps the default", `{"tls":{"ca":null},"weights":{"a:1":null,"d:1":null}}`, func(*settings) {}},
		{"dots and odd names in a map", `{"weights":{"":1,"a.b":2,"Skip":3}}`, func(s *settings) {
			s.Weights = map[string]int{"a:1": 1, "b:1": 2, "": 1, "a.b": 2, "Skip": 3}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := defaults()
			tt.want(&want)
			p := probes(t)
			ref := spi.Ref{Use: "probe", With: spi.Raw{JSON: []byte(tt.with)}}
			got, err := p.Open(t.Context(), spi.Env{}, ref)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("Open with %s\ngot  %+v, %v\nwant %+v", tt.with, got, err, want)
			}
			inForce, err := p.Resolve(ref)
			if text, _ := json.Marshal(want); err != nil || string(inForce.Config) != string(text) {
				t.Errorf("Resolve with %s\ngot  %s, %v\nwant %s", tt.with, inForce.Config, err, text)
			}
		})
	}
}

// TestOpensShareNothing: what one opened extension does to its configuration is
// its own affair.
func TestOpensShareNothing(t *testing.T) {
	given := defaults()
	p := spi.NewPoint[settings]("loadbalancer")
	open := func(_ context.Context, _ spi.Env, cfg settings) (settings, error) { return cfg, nil }
	if err := spi.Register(p, "probe", "", given, open); err != nil {
		t.Fatal(err)
	}
	spoil := func(s settings) {
		s.Weights["a:1"] = 99
		s.Tags[0] = "spoilt"
		s.Servers[0].Port = 99
		s.Groups["g"][0].Port = 99
	}
	spoil(given)
	for range 2 {
		got, err := p.Open(t.Context(), spi.Env{}, spi.Ref{Use: "probe"})
		if err != nil || !reflect.DeepEqual(got, defaults()) {
			t.Fatalf("got  %+v, %v\nwant %+v", got, err, defaults())
		}
		spoil(got)
	}
}

// TestConfigurationOfOwnTypes: a type that reads itself decides what it accepts.
func TestConfigurationOfOwnTypes(t *testing.T) {
	type config struct {
		Address netip.Addr      `json:"address"`
		Free    json.RawMessage `json:"free"`
	}
	p := spi.NewPoint[config]("loadbalancer")
	open := func(_ context.Context, _ spi.Env, cfg config) (config, error) { return cfg, nil }
	start := config{netip.MustParseAddr("10.0.0.1"), json.RawMessage(`{}`)}
	if err := spi.Register(p, "own", "", start, open); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, with, want string }{
		{"defaults", ``, "10.0.0.1 {}"},
		{"text", `{"address":"10.0.0.2"}`, "10.0.0.2 {}"},
		{"anything", `{"free":[1,{"a":null}]}`, `10.0.0.1 [1,{"a":null}]`},
		{"not even text", `{"address":3}`, "with.address: want text, not the number 3"},
		{"refused by the type", `{"address":"x"}`, `configuration of loadbalancer "own": ParseAddr("x"): unable to parse IP`},
		{"twice inside anything", `{"free":[{"a":1,"a":2}]}`, "with.free.0.a: given twice; remove one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := p.Open(t.Context(), spi.Env{}, spi.Ref{Use: "own", With: spi.Raw{JSON: []byte(tt.with)}})
			got := fmt.Sprintf("%s %s", cfg.Address, cfg.Free)
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("Open with %s: got %s, want %s", tt.with, got, tt.want)
			}
		})
	}
}
