package core

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// bound is one key with the ends of its range, as changes of a configuration.
type bound[C any] struct {
	key       string
	low, high func(c *C) // the last values that are allowed
	below     func(c *C) // the first that is not; nil: there is none
	above     func(c *C)
	text      string // what the error says
}

func durations[C any](key string, field func(c *C) *spi.Duration, low, high time.Duration, text string) bound[C] {
	set := func(d time.Duration) func(*C) { return func(c *C) { *field(c) = spi.Duration(d) } }
	return bound[C]{key, set(low), set(high), set(low - 1), set(high + 1), text}
}

func sizesOf[C any](key string, field func(c *C) *spi.Size, low, high spi.Size, text string) bound[C] {
	set := func(s spi.Size) func(*C) { return func(c *C) { *field(c) = s } }
	return bound[C]{key, set(low), set(high), set(low - 1), set(high + 1), text}
}

func numbers[C any, N int | float64](key string, field func(c *C) *N, low, high N, text string) bound[C] {
	set := func(n N) func(*C) { return func(c *C) { *field(c) = n } }
	return bound[C]{key, set(low), set(high), set(low - 1), set(high + 1), text}
}

// limitBounds are those of a part that both configurations have.
func limitBounds[C any](limits func(c *C) *Limits) []bound[C] {
	return []bound[C]{
		sizesOf("limits.message", func(c *C) *spi.Size { return &limits(c).Message }, 64<<10, 1<<30, "is not between 64KiB and 1GiB"),
		sizesOf("limits.metadata", func(c *C) *spi.Size { return &limits(c).Metadata }, 1<<10, 16<<20, "is not between 1KiB and 16MiB"),
		numbers("limits.methods", func(c *C) *int { return &limits(c).Methods }, 0, 1<<16, "is not between 0 and 65536"),
		sizesOf("limits.write_queue", func(c *C) *spi.Size { return &limits(c).WriteQueue }, 64<<10, 1<<30, "is not between 64KiB and 1GiB"),
	}
}

func checkBounds[C interface{ Validate() error }](t *testing.T, defaults func() C, bounds []bound[C]) {
	if err := defaults().Validate(); err != nil {
		t.Errorf("the defaults: got %v, want no error", err)
	}
	for _, b := range bounds {
		t.Run(b.key, func(t *testing.T) {
			for _, good := range []func(*C){b.low, b.high} {
				c := defaults()
				good(&c)
				if err := c.Validate(); strings.Contains(errorText(err), b.key+":") {
					t.Errorf("at the end of the range: got %v, want no error", err)
				}
			}
			for _, bad := range []func(*C){b.below, b.above} {
				c := defaults()
				bad(&c)
				err := c.Validate()
				var wrong *RangeError
				if !errors.As(err, &wrong) || wrong.Key != b.key || !strings.HasSuffix(wrong.Error(), b.text) {
					t.Errorf("beyond the range: got %v, want a RangeError of %s that %s", err, b.key, b.text)
				}
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestConsumerConfigValidate(t *testing.T) {
	type C = ConsumerConfig
	checkBounds(t, DefaultConsumerConfig, append(limitBounds(func(c *C) *Limits { return &c.Limits }),
		durations("timeout", func(c *C) *spi.Duration { return &c.Timeout }, time.Millisecond, 24*time.Hour, "is not between 1ms and 24h0m0s"),
		durations("dial_timeout", func(c *C) *spi.Duration { return &c.DialTimeout }, time.Millisecond, 10*time.Minute, "is not between 1ms and 10m0s"),
		durations("handshake_timeout", func(c *C) *spi.Duration { return &c.HandshakeTimeout }, time.Millisecond, 10*time.Minute, "is not between 1ms and 10m0s"),
		durations("write_timeout", func(c *C) *spi.Duration { return &c.WriteTimeout }, time.Millisecond, time.Hour, "is not between 1ms and 1h0m0s"),
		durations("drain_timeout", func(c *C) *spi.Duration { return &c.DrainTimeout }, 0, time.Hour, "is not between 0s and 1h0m0s"),
		durations("reconnect.first", func(c *C) *spi.Duration { return &c.Reconnect.First }, 0, time.Minute, "is not between 0s and 1m0s"),
		durations("reconnect.base", func(c *C) *spi.Duration { return &c.Reconnect.Base }, time.Millisecond, time.Hour, "is not between 1ms and 1h0m0s"),
		numbers("reconnect.factor", func(c *C) *float64 { return &c.Reconnect.Factor }, 1, 10, "is not between 1 and 10"),
		durations("reconnect.cap", func(c *C) *spi.Duration { return &c.Reconnect.Cap }, 500*time.Millisecond, time.Hour, "is not between 500ms and 1h0m0s"),
		numbers("retry.attempts", func(c *C) *int { return &c.Retry.Attempts }, 1, 10, "is not between 1 and 10"),
		durations("retry.backoff.base", func(c *C) *spi.Duration { return &c.Retry.Backoff.Base }, 0, time.Minute, "is not between 0s and 1m0s"),
		durations("retry.backoff.cap", func(c *C) *spi.Duration { return &c.Retry.Backoff.Cap }, 0, time.Hour, "is not between 0s and 1h0m0s"),
		numbers("retry.budget.ratio", func(c *C) *float64 { return &c.Retry.Budget.Ratio }, 0, 1, "is not between 0 and 1"),
		numbers("retry.budget.burst", func(c *C) *int { return &c.Retry.Budget.Burst }, 0, 10_000, "is not between 0 and 10000"),
		durations("reconnect.stable", func(c *C) *spi.Duration { return &c.Reconnect.Stable }, 0, time.Hour, "is not between 0s and 1h0m0s"),
	))
}

func TestProviderConfigValidate(t *testing.T) {
	type C = ProviderConfig
	checkBounds(t, DefaultProviderConfig, append(limitBounds(func(c *C) *Limits { return &c.Limits }),
		numbers("max_requests", func(c *C) *int { return &c.MaxRequests }, 1, 1<<20, "is not between 1 and 1048576"),
		durations("handshake_timeout", func(c *C) *spi.Duration { return &c.HandshakeTimeout }, time.Millisecond, 10*time.Minute, "is not between 1ms and 10m0s"),
		durations("write_timeout", func(c *C) *spi.Duration { return &c.WriteTimeout }, time.Millisecond, time.Hour, "is not between 1ms and 1h0m0s"),
		durations("drain_timeout", func(c *C) *spi.Duration { return &c.DrainTimeout }, 0, time.Hour, "is not between 0s and 1h0m0s"),
		numbers("weight", func(c *C) *int { return &c.Weight }, 1, 1_000_000, "is not between 1 and 1000000"),
	))
}

func TestConfigValidateListsEverything(t *testing.T) {
	c := DefaultConsumerConfig()
	c.Timeout, c.Limits.Methods, c.Reconnect.Factor = 0, -1, math.NaN()
	c.References = map[string]Reference{
		"Greeter": {Timeout: -1, Hedge: -1, Idempotent: []string{"Say", "", "Say"}, Methods: map[string]MethodUse{"Greeter.Say": {}, "Say": {Timeout: -1}}},
		"Fine":    {Timeout: spi.Duration(time.Second), Idempotent: []string{"Say", "Wave"}, Methods: map[string]MethodUse{"Say": {}}},
	}
	text := errorText(c.Validate())
	for _, want := range []string{
		"timeout: 0s is not between 1ms and 24h0m0s", "limits.methods: -1 is not between 0 and 65536", "reconnect.factor: NaN is not between 1 and 10",
		"reference Greeter: timeout: -1ns is not between 0s and 24h0m0s",
		"hedge: -1ns is not between 0s and 24h0m0s", `idempotent.1: "" is no name of a method`, `idempotent.2: "Say" is listed twice`,
		`methods.Greeter.Say: "Greeter.Say" is no name of a method; write it without its service, as Say`, "methods.Say.timeout: -1ns is not between 0s and 24h0m0s",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("got %q, want also %q", text, want)
		}
	}
	if strings.Contains(text, "Fine") {
		t.Errorf("got %q, want nothing about Fine", text)
	}
}

// A key that does nothing is a mistake.
func TestConfigValidateHedge(t *testing.T) {
	for _, tt := range []struct {
		name  string
		retry Retry
		want  string
	}{
		{"the default", DefaultRetry(), ""},
		{"one attempt", Retry{Attempts: 1, Budget: RetryBudget{Burst: 1}}, "hedge: is without effect"},
		{"no budget", Retry{Attempts: 2}, "hedge: is without effect"},
	} {
		got := errorText(Reference{Hedge: 1}.Validate(tt.retry))
		if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if err := (Reference{}).Validate(tt.retry); err != nil {
			t.Errorf("%s, no hedge: got %v, want no error", tt.name, err)
		}
	}
}

// Metadata is a part of a message, and what is said of it makes sense even where
// the message is wrong itself.
func TestConfigValidateMetadataWithinMessage(t *testing.T) {
	c := DefaultConsumerConfig()
	c.Limits.Message, c.Limits.Metadata = 64<<10, 64<<10+1
	if got := errorText(c.Validate()); got != "limits.metadata: 65537 is not between 1KiB and 64KiB" {
		t.Errorf("got %q", got)
	}
}

func TestNewConsumerRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(c *ConsumerConfig)
		want   string
	}{
		{"a value out of range", func(c *ConsumerConfig) { c.Timeout = 0 }, "timeout: 0s is not between 1ms and 24h0m0s"},
		{"no serializer", func(c *ConsumerConfig) { c.Serializer = nil }, "a consumer needs a serializer and its name"},
		{"no name of it", func(c *ConsumerConfig) { c.SerializerName = "" }, "a consumer needs a serializer and its name"},
		{"no load balancer", func(c *ConsumerConfig) { c.LoadBalancer = nil }, "a consumer needs a load balancer"},
		{"nowhere to go", func(c *ConsumerConfig) { c.Endpoints = nil }, "a consumer needs either endpoints or a registry"},
		{"a balancer that fails", func(c *ConsumerConfig) { c.LoadBalancer = &chooser{err: errors.New("no")} }, "build the load balancer for 1 endpoints: no"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := DefaultConsumerConfig()
			cfg.Endpoints, cfg.SerializerName, cfg.Serializer, cfg.LoadBalancer = []spi.Endpoint{{Address: "127.0.0.1:1"}}, "sealed", sealed{}, &chooser{}
			test.change(&cfg)
			if c, err := NewConsumer(cfg); c != nil || errorText(err) != test.want {
				t.Errorf("got %v, %q, want %q", c, errorText(err), test.want)
			}
		})
	}
}

func TestNewProviderRefuses(t *testing.T) {
	many := make(map[string]spi.Serializer)
	for i := range 256 {
		many[string(rune('a'+i))] = sealed{}
	}
	for _, test := range []struct {
		name   string
		change func(c *ProviderConfig)
		want   string
	}{
		{"a value out of range", func(c *ProviderConfig) { c.Weight = 0 }, "weight: 0 is not between 1 and 1000000"},
		{"no serializer", func(c *ProviderConfig) { c.Serializers = nil }, "a provider offers 1 to 255 serializers, not 0"},
		{"more than have numbers", func(c *ProviderConfig) { c.Serializers = many }, "a provider offers 1 to 255 serializers, not 256"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := DefaultProviderConfig()
			cfg.Serializers = map[string]spi.Serializer{"sealed": sealed{}}
			test.change(&cfg)
			if p, err := NewProvider(cfg); p != nil || errorText(err) != test.want {
				t.Errorf("got %v, %q, want %q", p, errorText(err), test.want)
			}
		})
	}
}

func TestHTTPValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		http HTTP
		want string // "": valid
	}{
		{"defaults", DefaultProviderConfig().HTTP, ""},
		{"an origin", HTTP{Origins: []string{"https://shop.example", "http://localhost:3000"}}, ""},
		{"a name for an origin", HTTP{Origins: []string{"shop.example"}}, `http.origins.0: "shop.example" is no origin; write scheme and host, as https://shop.example`},
		{"a page for an origin", HTTP{Origins: []string{"https://a", "https://b/"}}, `http.origins.1: "https://b/" is no origin; write scheme and host, as https://shop.example`},
		{"a host", HTTP{Hosts: []string{"orders.internal"}}, ""},
		{"a host with a port", HTTP{Hosts: []string{"orders:80"}}, `http.hosts.0: "orders:80" is no name of a host; write it without port, as orders.internal`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := DefaultProviderConfig()
			cfg.HTTP = tt.http
			got := ""
			if err := cfg.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTLSValidate(t *testing.T) {
	for _, tt := range []struct {
		name     string
		provider ProviderTLS
		consumer ConsumerTLS
		want     string // "": valid
	}{
		{name: "none"},
		{name: "all", provider: ProviderTLS{Cert: "c", Key: "k", ClientCA: "a", MinVersion: "1.3"}, consumer: ConsumerTLS{Enabled: true, CA: "a", Cert: "c", Key: "k", ServerName: "s", MinVersion: "1.2"}},
		{name: "a certificate alone", provider: ProviderTLS{Cert: "c"}, want: "tls.key: tls.cert needs it; name the file with its private key"},
		{name: "a key alone", provider: ProviderTLS{Key: "k"}, want: "tls.cert: tls.key needs it; name the file with its certificate"},
		{name: "authorities alone", provider: ProviderTLS{ClientCA: "a"}, want: "tls.client_ca: it has no effect without tls.cert; set that too"},
		{name: "an old version", provider: ProviderTLS{MinVersion: "1.1"}, want: `tls.min_version: "1.1" is not 1.2 or 1.3`},
		{name: "not enabled", consumer: ConsumerTLS{CA: "a"}, want: "tls.enabled: it is false, and other keys of tls are set; say enabled: true, or remove them"},
		{name: "a key alone at a consumer", consumer: ConsumerTLS{Enabled: true, Key: "k"}, want: "tls.cert: tls.key needs it; name the file with its certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			provider, consumer := DefaultProviderConfig(), DefaultConsumerConfig()
			provider.TLS, consumer.TLS = tt.provider, tt.consumer
			got := ""
			if err := errors.Join(provider.Validate(), consumer.Validate()); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
