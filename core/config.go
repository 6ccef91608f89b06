package core

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// Limits bound what one connection may cost, and Unpacked what all of them do. Those of
// messages are announced in the handshake; a sender fails its own call when the peer's
// limit would be exceeded.
type Limits struct {
	Message    spi.Size `json:"message" doc:"largest request or answer, metadata included"`
	Metadata   spi.Size `json:"metadata" doc:"largest metadata of a request or answer"`
	Methods    int      `json:"methods" doc:"methods that one connection may number; further ones travel by name in every request"`
	WriteQueue spi.Size `json:"write_queue" doc:"bytes that may wait to be written on one connection; senders then wait under their own deadline, and a peer that lets twice as much wait is disconnected; bodies above 64 KiB count by themselves, with the same bound"`
	Reassembly spi.Size `json:"reassembly" doc:"bytes of large bodies that may be under way to this side at once on one connection; a further one fails its own call; at least limits.message"`
	Unpacked   spi.Size `json:"unpacked" doc:"bytes that compressed bodies may be at once when they are decompressed and not decoded yet, on all connections together; further ones wait for their turn under their own deadline; one body always has room, and those of up to 64 KiB do not count"`
}

// DefaultLimits returns the limits of docs/protocol.md §9.
func DefaultLimits() Limits {
	return Limits{Message: 16 << 20, Metadata: 64 << 10, Methods: 4096, WriteQueue: 4 << 20, Reassembly: 64 << 20, Unpacked: 64 << 20}
}

func (l Limits) validate() error {
	return errors.Join(
		between("limits.message", l.Message, minMessage, mostMessage),
		between("limits.metadata", l.Metadata, minMetadata, min(l.Message, 16<<20)),
		between("limits.methods", l.Methods, 0, 1<<16),
		between("limits.write_queue", l.WriteQueue, 64<<10, 1<<30),
		between("limits.reassembly", l.Reassembly, minMessage, mostMessage),
		between("limits.unpacked", l.Unpacked, freeUnpacked, 1<<40),
	)
}

// Reconnect is the backoff between attempts to connect to one endpoint. After
// failure k, counted from 0, it waits uniform(0.2·d, d), d = min(cap, base·factor^k);
// the first attempt after the loss of a connection waits uniform(0, first). A
// connection that was lost before it was stable counts as a failure.
type Reconnect struct {
	First  spi.Duration `json:"first" doc:"longest delay before the first attempt after a loss"`
	Base   spi.Duration `json:"base" doc:"delay after the first failed attempt"`
	Factor float64      `json:"factor" doc:"growth of the delay with every failed attempt"`
	Cap    spi.Duration `json:"cap" doc:"longest delay"`
	Stable spi.Duration `json:"stable" doc:"a connection that lived this long starts the count anew"`
}

// DefaultReconnect returns first 200 ms, base 500 ms, factor 1.6, cap 30 s, stable 10 s.
func DefaultReconnect() Reconnect {
	return Reconnect{
		First: spi.Duration(200 * time.Millisecond), Base: spi.Duration(500 * time.Millisecond), Factor: 1.6,
		Cap: spi.Duration(30 * time.Second), Stable: spi.Duration(10 * time.Second),
	}
}

func (r Reconnect) validate() error {
	return errors.Join(
		between("reconnect.first", r.First, 0, spi.Duration(time.Minute)),
		between("reconnect.base", r.Base, spi.Duration(time.Millisecond), spi.Duration(time.Hour)),
		between("reconnect.factor", r.Factor, 1, 10),
		between("reconnect.cap", r.Cap, r.Base, spi.Duration(time.Hour)),
		between("reconnect.stable", r.Stable, 0, spi.Duration(time.Hour)),
	)
}

// Reference says how a consumer uses one service.
type Reference struct {
	Version string       `json:"version" doc:"version of the service"`
	Group   string       `json:"group" doc:"group of the service"`
	Timeout spi.Duration `json:"timeout" doc:"time allowed for a call of this service; 0s: the consumer's"`

	Idempotent []string             `json:"idempotent" doc:"methods that may run twice for one call, so that a lost one is sent again"`
	Methods    map[string]MethodUse `json:"methods" doc:"how single methods are called, by their name"` // may be nil
	Hedge      spi.Duration         `json:"hedge" doc:"an idempotent call without an answer for so long is sent to a second endpoint too; 0s: never"`
}

// MethodUse says how a consumer uses one method.
type MethodUse struct {
	Timeout spi.Duration `json:"timeout" doc:"time allowed for a call of this method; 0s: the service's"`
}

// Validate lists everything that is wrong with a reference of a consumer that retries
// like this. Whether there are such methods, only the provider knows.
func (r Reference) Validate(retry Retry) error {
	errs := []error{between("timeout", r.Timeout, 0, spi.Duration(24*time.Hour)), between("hedge", r.Hedge, 0, spi.Duration(24*time.Hour))}
	if r.Hedge > 0 && (retry.Attempts < 2 || retry.Budget.Burst < 1) {
		errs = append(errs, &RangeError{"hedge", "is without effect where consumer.retry.attempts is below 2 or consumer.retry.budget.burst below 1"})
	}
	seen := make(map[string]bool, len(r.Idempotent))
	for i, name := range r.Idempotent {
		key := fmt.Sprintf("idempotent.%d", i)
		errs = append(errs, methodName(key, name))
		if seen[name] {
			errs = append(errs, &RangeError{key, fmt.Sprintf("%q is listed twice; remove one", name)})
		}
		seen[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(r.Methods)) {
		key := "methods." + name
		errs = append(errs, methodName(key, name), between(key+".timeout", r.Methods[name].Timeout, 0, spi.Duration(24*time.Hour)))
	}
	return errors.Join(errs...)
}

// methodName reports a text that cannot be the name of a method.
func methodName(key, name string) error {
	if name != "" && len(name) <= maxName && !strings.Contains(name, ".") {
		return nil
	}
	return &RangeError{key, fmt.Sprintf("%.100q is no name of a method; write it without its service, as Say", name)}
}

// ConsumerConfig configures a [Consumer]. Start from [DefaultConsumerConfig]. The
// fields with json tags are what a configuration file can say; the others are what
// the program brings.
type ConsumerConfig struct {
	Timeout          spi.Duration         `json:"timeout" doc:"time allowed for a call whose context has no deadline"`
	DialTimeout      spi.Duration         `json:"dial_timeout" doc:"time allowed to connect"`
	HandshakeTimeout spi.Duration         `json:"handshake_timeout" doc:"time allowed from the connection to the provider's HELLO"`
	WriteTimeout     spi.Duration         `json:"write_timeout" doc:"a provider that takes no bytes for this long is disconnected; 0s: twice the heartbeat's interval, at least 1s, or 10s without a heartbeat"`
	Reconnect        Reconnect            `json:"reconnect"`
	Limits           Limits               `json:"limits"`
	Retry            Retry                `json:"retry"`
	DrainTimeout     spi.Duration         `json:"drain_timeout" doc:"time allowed at the end of the program for calls under way"`
	TLS              ConsumerTLS          `json:"tls"`
	FrameTimeout     spi.Duration         `json:"frame_timeout" doc:"a provider is disconnected whose frame, once begun, is not whole after this long and comes at less than 4 KiB/s, or who stops for this long in the middle of a body in chunks"`
	Checksum         bool                 `json:"checksum" doc:"whether requests carry a checksum of their arguments"`
	CompressAbove    spi.Size             `json:"compress_above" doc:"arguments up to this size are not compressed"`
	References       map[string]Reference `json:"-"` // by name of the service; may be nil

	// Exactly one of Endpoints and Registry is set.
	Endpoints []spi.Endpoint // fixed addresses, which serve every service
	Registry  spi.Registry   // where to look services up; closed by whoever opened it

	SerializerName string           // what the handshake calls it
	Serializer     spi.Serializer   // writes arguments and reads results
	LoadBalancer   spi.LoadBalancer // chooses endpoints; closed by whoever opened it

	CompressorName string         // what the handshake calls it; "" if Compressor is nil
	Compressor     spi.Compressor // of arguments, and of results; nil: none

	Heartbeat spi.Heartbeat // decides when a silent provider is dead; nil: nobody does, but the kernel
	Observers []*Observer   // told what happens to connections

	Interceptors []spi.Interceptor // around every call, the first outermost
	Log          logrus.FieldLogger
	Dial         func(ctx context.Context, address string) (net.Conn, error) // nil: by TCP, or to the unix socket of unix:///path
}

// DefaultConsumerConfig returns the defaults of everything that a file can say.
func DefaultConsumerConfig() ConsumerConfig {
	return ConsumerConfig{
		Timeout: spi.Duration(5 * time.Second), DialTimeout: spi.Duration(3 * time.Second),
		HandshakeTimeout: spi.Duration(3 * time.Second),
		Reconnect:        DefaultReconnect(), Limits: DefaultLimits(), Retry: DefaultRetry(), DrainTimeout: spi.Duration(5 * time.Second), TLS: ConsumerTLS{MinVersion: "1.2"},
		FrameTimeout: spi.Duration(30 * time.Second), CompressAbove: 1 << 10,
	}
}

// Validate lists everything that is wrong with what a file can say.
func (c ConsumerConfig) Validate() error {
	errs := []error{
		between("timeout", c.Timeout, spi.Duration(time.Millisecond), spi.Duration(24*time.Hour)),
		between("dial_timeout", c.DialTimeout, spi.Duration(time.Millisecond), spi.Duration(10*time.Minute)),
		between("handshake_timeout", c.HandshakeTimeout, spi.Duration(time.Millisecond), spi.Duration(10*time.Minute)),
		validWriteTimeout(c.WriteTimeout, c.Heartbeat),
		between("frame_timeout", c.FrameTimeout, spi.Duration(time.Millisecond), spi.Duration(time.Hour)),
		between("compress_above", c.CompressAbove, 0, mostMessage),
		c.Reconnect.validate(),
		c.Limits.validate(),
		c.Retry.validate(),
		between("drain_timeout", c.DrainTimeout, 0, spi.Duration(time.Hour)),
		c.TLS.validate(),
	}
	for _, name := range slices.Sorted(maps.Keys(c.References)) {
		if err := c.References[name].Validate(c.Retry); err != nil {
			errs = append(errs, fmt.Errorf("reference %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// ProviderConfig configures a [Provider]. Start from [DefaultProviderConfig].
type ProviderConfig struct {
	MaxRequests      int          `json:"max_requests" doc:"requests that may be queued and running at once; the next is answered RESOURCE_EXHAUSTED"`
	HandshakeTimeout spi.Duration `json:"handshake_timeout" doc:"time allowed from the connection to the consumer's HELLO"`
	WriteTimeout     spi.Duration `json:"write_timeout" doc:"a consumer that takes no bytes for this long is disconnected; 0s: twice the heartbeat's interval, at least 1s, or 10s without a heartbeat, and for HTTP"`
	DrainTimeout     spi.Duration `json:"drain_timeout" doc:"time allowed at shutdown for requests in flight"`
	Introspection    bool         `json:"introspection" doc:"whether bhrpc ls may list the services"`
	Weight           int          `json:"weight" doc:"share of calls that a registry is told, relative to other providers"`
	Limits           Limits       `json:"limits"`
	HTTP             HTTP         `json:"http"`
	MaxConns         int          `json:"max_conns" doc:"connections at once; beyond it the oldest that has said nothing is closed, or else the new one, unless it takes the place of another"`
	MaxHandshakes    int          `json:"max_handshakes" doc:"connections at once that have not said HELLO, or the header of an HTTP request; beyond it the oldest is closed"`
	TLS              ProviderTLS  `json:"tls"`
	FrameTimeout     spi.Duration `json:"frame_timeout" doc:"a consumer is disconnected whose frame, once begun, is not whole after this long and comes at less than 4 KiB/s, or who stops for this long in the middle of a body in chunks"`
	Checksum         bool         `json:"checksum" doc:"whether answers carry a checksum of their result"`
	CompressAbove    spi.Size     `json:"compress_above" doc:"results up to this size are not compressed"`

	Serializers map[string]spi.Serializer // what consumers may choose from, by name; not empty
	Compressors map[string]spi.Compressor // the same; may be nil

	Registry  spi.Registry // where to announce the services; nil: nowhere; closed by whoever opened it
	Advertise string       // the address that the registry is told; "": where the listener listens

	Heartbeat spi.Heartbeat // decides when a silent consumer is dead; nil: nobody does, but the kernel
	Observers []*Observer   // told what happens to connections

	Interceptors []spi.Interceptor // around every method, the first outermost
	Log          logrus.FieldLogger
}

// defaultWriteTimeout is the write timeout where there is no heartbeat.
const defaultWriteTimeout = spi.Duration(10 * time.Second)

// validWriteTimeout: below the interval, a peer that is merely slow would be given up
// before the heartbeat has even asked.
func validWriteTimeout(v spi.Duration, h spi.Heartbeat) error {
	if v == 0 {
		return nil
	}
	if h != nil && v.D() < h.Timing().Interval {
		return &RangeError{"write_timeout", fmt.Sprintf("%v is below the heartbeat's interval of %v; leave it out for twice that", v, h.Timing().Interval)}
	}
	return between("write_timeout", v, spi.Duration(time.Millisecond), spi.Duration(time.Hour))
}

// DefaultProviderConfig returns the defaults of everything that a file can say.
func DefaultProviderConfig() ProviderConfig {
	return ProviderConfig{
		MaxRequests: 10_000, HandshakeTimeout: spi.Duration(3 * time.Second),
		DrainTimeout: spi.Duration(30 * time.Second), Introspection: true, Weight: 1, Limits: DefaultLimits(),
		HTTP: HTTP{Enabled: true}, MaxConns: 20_000, MaxHandshakes: 1024,
		TLS: ProviderTLS{MinVersion: "1.2"}, FrameTimeout: spi.Duration(30 * time.Second), CompressAbove: 1 << 10,
	}
}

// Validate lists everything that is wrong with what a file can say.
func (c ProviderConfig) Validate() error {
	return errors.Join(
		between("max_requests", c.MaxRequests, 1, 1<<20),
		between("handshake_timeout", c.HandshakeTimeout, spi.Duration(time.Millisecond), spi.Duration(10*time.Minute)),
		validWriteTimeout(c.WriteTimeout, c.Heartbeat),
		between("drain_timeout", c.DrainTimeout, 0, spi.Duration(time.Hour)),
		between("frame_timeout", c.FrameTimeout, spi.Duration(time.Millisecond), spi.Duration(time.Hour)),
		between("compress_above", c.CompressAbove, 0, mostMessage),
		between("weight", c.Weight, 1, 1_000_000),
		c.Limits.validate(),
		c.HTTP.validate(),
		between("max_conns", c.MaxConns, 1, 1<<20),
		between("max_handshakes", c.MaxHandshakes, 1, 1<<20),
		c.TLS.validate(),
	)
}

// between reports a value outside [low, high], naming its key.
func between[T int | float64 | spi.Duration | spi.Size](key string, v, low, high T) error {
	if v >= low && v <= high { // what is not a number is neither
		return nil
	}
	return &RangeError{Key: key, Message: fmt.Sprintf("%v is not between %v and %v", v, low, high)}
}

// RangeError is a configuration value outside its range.
type RangeError struct {
	Key     string // relative to the struct, as "limits.message"
	Message string
}

func (e *RangeError) Error() string { return e.Key + ": " + e.Message }
