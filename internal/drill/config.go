package drill

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// Config says what to break. See [Config.Validate] for what is possible.
type Config struct {
	Kind      string        // one of Kinds
	Interval  time.Duration // between heartbeats, of the consumer; [Kind.Long] says what the provider has
	Strikes   int           // that the strategy is told; what is promised stays 3
	File      string        // configuration that both sides begin with; "": none
	Providers []string      // of the user's own, the first behind the link; none: two in this process
	Plugin    []string      // program and arguments that call [ServePlugin], for the drill kill-plugin

	PluginEnv map[string]string // of that program
}

// promised is how many unanswered heartbeats make a peer dead, whatever the build or
// the flags say.
const promised = 3

// The intervals with which a time can be told from a late one.
const (
	minInterval = 200 * time.Millisecond
	maxInterval = 5 * time.Second
)

// Kind is one way to break a connection.
type Kind struct {
	Name  string
	Short string // one line
	Long  string // what is done and what must hold

	plan func(Config) plan
	run  func(*drill)
}

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{freeze, drop, halfOpen, slowReader, corrupt, storm, killPlugin}
}

// Validate lists everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	if _, err := c.kind(); err != nil {
		errs = append(errs, err)
	}
	if c.Interval < minInterval || c.Interval > maxInterval {
		errs = append(errs, fmt.Errorf("--interval %v is not between %v and %v", c.Interval, minInterval, maxInterval))
	}
	if c.Strikes < 1 || c.Strikes > 20 {
		errs = append(errs, fmt.Errorf("--strikes %d is not between 1 and 20", c.Strikes))
	}
	for _, address := range c.Providers {
		if _, _, err := net.SplitHostPort(address); err != nil || strings.HasPrefix(address, "unix:") {
			errs = append(errs, fmt.Errorf("--provider %q is not an address of the form host:port, such as 127.0.0.1:7070", address))
		}
	}
	return errors.Join(errs...)
}

func (c Config) kind() (Kind, error) {
	var names []string
	for _, k := range Kinds() {
		if k.Name == c.Kind {
			return k, nil
		}
		names = append(names, k.Name)
	}
	slices.Sort(names)
	hint := ""
	if near := spi.Nearest(c.Kind, names); near != "" {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	return Kind{}, fmt.Errorf("no drill named %q%s\n  known: %s", c.Kind, hint, strings.Join(names, ", "))
}

// earliest and latest are the bounds of a promise: a peer is found dead so long after
// its last sign of life.
func (c Config) earliest() time.Duration { return promised * c.Interval }

func (c Config) latest() time.Duration {
	return (promised+1)*c.Interval + 100*time.Millisecond
}
