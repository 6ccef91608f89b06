//go:build (fault || faultnet || faultlong) && linux

package fault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// The environment of a sub-process. The names do not begin with BHRPC_, or the
// framework would take them for keys.
const (
	roleVariable = "FAULT_ROLE"
	argsVariable = "FAULT_ARGS"
)

// role is what a sub-process does. It obeys one command at a time.
type role interface {
	obey(do string, args json.RawMessage) (any, error)
}

// roles start a role; what they return beside it is told to the test as the answer
// to the start.
var roles = map[string]func(args json.RawMessage) (role, any, error){
	"cycler":   newCyclerRole,
	"doors":    newDoorsRole,
	"provider": newProviderRole,
	"consumer": newConsumerRole,
	"crowd":    newCrowdRole,
	"emulator": newEmulatorRole,
}

// command is one line from the test to a sub-process, answer the line that comes
// back.
type (
	command struct {
		Do   string
		Args json.RawMessage `json:",omitempty"`
	}
	answer struct {
		Value any    `json:",omitempty"`
		Error string `json:",omitempty"`
	}
)

// play is the life of a sub-process. It ends with its standard input, so that no
// process outlives the test that started it.
func play(name, args string) (exit int) {
	out := json.NewEncoder(os.Stdout)
	r, ready, err := roles[name](json.RawMessage(args))
	if err != nil {
		_ = out.Encode(answer{Error: err.Error()})
		return 1
	}
	if err := out.Encode(answer{Value: ready}); err != nil {
		return 1
	}
	in := json.NewDecoder(os.Stdin)
	for {
		var c command
		if err := in.Decode(&c); errors.Is(err, io.EOF) {
			return 0
		} else if err != nil {
			fmt.Fprintln(os.Stderr, "read a command:", err)
			return 1
		}
		var a answer
		switch c.Do {
		case "figures":
			a.Value = ownFigures()
		case "events":
			a.Value = witnessed()
		default:
			if a.Value, err = r.obey(c.Do, c.Args); err != nil {
				a.Error = fmt.Sprintf("%s: %v", c.Do, err)
			}
		}
		if err := out.Encode(a); err != nil {
			return 1
		}
	}
}

// limitFiles bounds the descriptors of this process; 0 leaves them.
func limitFiles(n uint64) error {
	if n == 0 {
		return nil
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n})
}

// parse reads the arguments of a role or a command.
func parse[T any](args json.RawMessage) (T, error) {
	var v T
	err := json.Unmarshal(args, &v)
	return v, err
}
