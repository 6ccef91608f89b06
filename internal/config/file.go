package config

import (
	"slices"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// None is what provider.registry, consumer.registry and consumer.compressor say for
// no extension.
const None = "none"

// On is what control says for a control socket.
const On = "on"

// File is everything that a configuration can say. Start from [Default] or [Load].
type File struct {
	Provider   Provider                  `json:"provider" doc:"what serves"`
	Consumer   Consumer                  `json:"consumer" doc:"what calls"`
	References map[string]core.Reference `json:"references" doc:"how services are called, by their name"` // may be nil
	Log        Log                       `json:"log" doc:"what is logged, and how"`
	Control    string                    `json:"control" doc:"on: bhrpc conns of the same user can look into this process, through a unix socket; off: nobody can" oneof:"on,off"`
	Plugins    []spi.PluginConfig        `json:"plugins" doc:"programs that bring extensions; the program that has them passes plugins.Loader to bhrpc.Open"`
}

// Provider is the section provider. The fields of core.ProviderConfig that have
// json tags are its keys too; the others are for the program to fill in.
type Provider struct {
	Listen       string    `json:"listen" doc:"host:port to accept connections on, or unix:///path; no host: every interface; port 0: any free one"`
	Advertise    string    `json:"advertise" doc:"host:port that a registry is told; empty: where it listens"`
	Serializers  []string  `json:"serializers" doc:"serializers that consumers may choose; empty: all that the program contains, and those of plugins with per_call"`
	Compressors  []string  `json:"compressors" doc:"compressors that consumers may choose; empty: all that the program contains"`
	Heartbeat    spi.Ref   `json:"heartbeat" doc:"decides when a silent consumer is dead"`
	Registry     spi.Ref   `json:"registry" doc:"where the services are announced; none: nowhere"`
	Interceptors []spi.Ref `json:"interceptors" doc:"around every call that is served, the first outermost: names, or {use: name, with: {…}}"`
	core.ProviderConfig
}

// Consumer is the section consumer. The fields of core.ConsumerConfig that have
// json tags are its keys too; the others are for the program to fill in.
type Consumer struct {
	Addresses    []string  `json:"addresses" doc:"host:port or unix:///path of each provider; excludes registry"`
	Serializer   spi.Ref   `json:"serializer" doc:"writes arguments and reads results"`
	Compressor   spi.Ref   `json:"compressor" doc:"makes arguments and results smaller, where the provider has it too; none: nothing"`
	LoadBalancer spi.Ref   `json:"loadbalancer" doc:"chooses the provider of each call"`
	Proxy        spi.Ref   `json:"proxy" doc:"makes a value of the program callable"`
	Heartbeat    spi.Ref   `json:"heartbeat" doc:"decides when a silent provider is dead"`
	Registry     spi.Ref   `json:"registry" doc:"where providers are looked up; none: nowhere"`
	Interceptors []spi.Ref `json:"interceptors" doc:"around every call that is made, the first outermost: names, or {use: name, with: {…}}"`
	core.ConsumerConfig
}

// Log is the section log.
type Log struct {
	Level  string `json:"level" doc:"least level that is logged: debug, info, warn or error" oneof:"debug,info,warn,error"`
	Format string `json:"format" doc:"text or json" oneof:"text,json"`
}

// Default returns the configuration that nothing was set in.
func Default() *Config {
	return &Config{File: File{
		Provider: Provider{
			Listen:         "127.0.0.1:7070",
			Heartbeat:      spi.Ref{Use: "three-strike", Key: "provider.heartbeat"},
			Registry:       spi.Ref{Use: None, Key: "provider.registry"},
			ProviderConfig: core.DefaultProviderConfig(),
		},
		Consumer: Consumer{
			Serializer:     spi.Ref{Use: "json", Key: "consumer.serializer"},
			LoadBalancer:   spi.Ref{Use: "p2c", Key: "consumer.loadbalancer"},
			Proxy:          spi.Ref{Use: "reflect", Key: "consumer.proxy"},
			Heartbeat:      spi.Ref{Use: "three-strike", Key: "consumer.heartbeat"},
			Registry:       spi.Ref{Use: None, Key: "consumer.registry"},
			ConsumerConfig: core.DefaultConsumerConfig(),
			Compressor:     spi.Ref{Use: None, Key: "consumer.compressor"},
		},
		Log:     Log{Level: "info", Format: "text"},
		Control: On,
	}}
}

// Fields describes the keys of [File] with their types, defaults and meanings, in
// declaration order, for a reference page or a schema.
func Fields() ([]spi.Field, error) {
	fields, err := spi.Fields(Default().File)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(fields, func(f spi.Field) bool { return f.Key == pluginsKey })
	fields[i].Fields, err = spi.Fields(spi.DefaultPluginConfig())
	return fields, err
}
