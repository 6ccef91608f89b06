package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// Validate lists everything that is wrong with the values: one *[spi.ConfigError]
// for each, with the place where the value was set, joined. Names of extensions are
// not looked up.
func (c *Config) Validate() error {
	f := &faults{}
	c.validate(f)
	return f.err()
}

// validate adds what is wrong to f, but for keys that are at fault already.
func (c *Config) validate(f *faults) {
	v := validator{c, f}
	v.address("provider.listen", c.Provider.Listen, listening)
	if c.Provider.Advertise != "" {
		v.address("provider.advertise", c.Provider.Advertise, connecting)
	}
	v.ranges("provider", c.Provider.ProviderConfig.Validate())
	v.addresses("consumer.addresses", c.Consumer.Addresses)
	if len(c.Consumer.Addresses) > 0 && c.Consumer.Registry.Use != None && c.Consumer.Registry.Use != "" {
		v.fault("consumer.registry", "excludes consumer.addresses%s; remove one of them, or say registry: %s", v.set("consumer.addresses"), None)
	}
	consumer := c.Consumer.ConsumerConfig
	consumer.References = nil
	v.ranges("consumer", consumer.Validate())
	for _, name := range slices.Sorted(maps.Keys(c.References)) {
		v.reference(name, c.References[name])
	}
	v.word("log.level", c.Log.Level, "debug", "info", "warn", "error")
	v.word("log.format", c.Log.Format, "text", "json")
	v.word("control", c.Control, On, "off")
	v.plugins()
}

// Place gives the errors of core about the section called key, "provider" or
// "consumer", the place where the value was set. Other errors are returned as they
// are.
func (c *Config) Place(section string, err error) error {
	f := &faults{}
	var others []error
	all := []error{err}
	for len(all) > 0 {
		next := all[0]
		all = all[1:]
		if joined, ok := next.(interface{ Unwrap() []error }); ok {
			all = append(all, joined.Unwrap()...)
		} else if _, ok := next.(*core.RangeError); ok {
			validator{c, f}.ranges(section, next)
		} else {
			others = append(others, next)
		}
	}
	return errors.Join(append(others, f.err())...)
}

// validator reports faults of values with where they were set.
type validator struct {
	c      *Config
	faults *faults
}

func (v validator) fault(key, format string, args ...any) {
	if !v.faults.has(key) {
		v.faults.add(v.c.Origin(key), key, spi.ErrInvalid, format, args...)
	}
}

// set returns where a key was set, in brackets, "" if nowhere.
func (v validator) set(key string) string {
	if at := v.c.Origin(key).String(); at != "" {
		return " (" + at + ")"
	}
	return ""
}

// ranges reports what core says of the section called key.
func (v validator) ranges(section string, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			v.ranges(section, err)
		}
		return
	}
	outside, ok := errors.AsType[*core.RangeError](err)
	switch {
	case err == nil:
	case !ok:
		v.fault(section, "%v", err)
	default:
		key, hint := join(section, outside.Key), ""
		if v.c.Origin(key) == (spi.Pos{}) {
			hint = "; it is not set, another key forbids its default: set both"
		}
		v.fault(key, "%s%s", outside.Message, hint)
	}
}

// reference reports what core says of one reference.
func (v validator) reference(name string, reference core.Reference) {
	v.ranges(join("references", name), reference.Validate(v.c.Consumer.Retry))
}

func (v validator) word(key, got string, known ...string) {
	if slices.Contains(known, got) {
		return
	}
	message := "unknown value " + strconv.Quote(clip(got))
	if near := spi.Nearest(got, known); near != "" {
		message += fmt.Sprintf("; did you mean %q?", near)
	}
	v.fault(key, "%s\n  known: %s", message, strings.Join(known, ", "))
}

func (v validator) addresses(key string, addresses []string) {
	seen := make(map[string]bool, len(addresses))
	for i, address := range addresses {
		full := join(key, strconv.Itoa(i))
		v.address(full, address, connecting)
		if seen[address] {
			v.fault(full, "%q is listed twice; remove one", clip(address))
		}
		seen[address] = true
	}
}

// use says what an address is for.
type use int

const (
	connecting use = iota // a host and a port that can be connected to
	listening             // any host, any port
)

// address reports a text that is neither host:port nor unix:///path.
func (v validator) address(key, address string, u use) {
	if strings.HasPrefix(address, "unix:/") {
		v.socket(key, address)
		return
	}
	host, port, err := net.SplitHostPort(address)
	number, notNumber := strconv.ParseUint(port, 10, 16)
	said := strconv.Quote(clip(address))
	switch {
	case err != nil:
		v.fault(key, "%s is not host:port; %s", said, repair(address))
	case notNumber != nil:
		v.fault(key, "%s has no port that is a number up to 65535; write one, as 127.0.0.1:7070", said)
	case u == connecting && number == 0:
		v.fault(key, "%s has port 0, which nobody can connect to; give the port that the provider listens on", said)
	case u == connecting && host == "":
		v.fault(key, "%s has no host; add one, as 127.0.0.1%s", said, clip(address))
	}
}

// maxSocket is the longest path of a unix socket that every system takes: macOS has
// 104 bytes for it, one of them a zero.
const maxSocket = 103

// socket reports a text that is no unix:///path.
func (v validator) socket(key, address string) {
	path, ok := strings.CutPrefix(address, "unix://")
	said := strconv.Quote(clip(address))
	switch {
	case !ok || !strings.HasPrefix(path, "/") || path == "/":
		v.fault(key, "%s has no absolute path; write it as unix:///run/orders.sock", said)
	case len(path) > maxSocket:
		v.fault(key, "%s has a path of %d bytes, and a socket's can have %d; choose a shorter one", said, len(path), maxSocket)
	}
}

// repair says how to make an address of a text that is none.
func repair(address string) string {
	_, rest, scheme := strings.Cut(address, "://")
	bare := strings.Trim(address, "[]")
	switch {
	case address == "":
		return "write one, as 127.0.0.1:7070"
	case scheme:
		return fmt.Sprintf("write %q", clip(strings.TrimRight(rest, "/")))
	case net.ParseIP(bare) != nil && strings.Contains(bare, ":"):
		return fmt.Sprintf("write [%s]:7070", bare)
	case strings.Contains(address, ":"):
		return "write an IPv6 host in brackets, as [::1]:7070"
	}
	return "add :7070"
}
