package bhrpc_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/bhrpc/bhrpc"
	"go.uber.org/goleak"
)

// stuck is a service whose handler never returns and does not look at its context.
type stuck struct{}

func (stuck) Hang(string) (string, error) {
	fmt.Fprintln(os.Stderr, "hanging")
	select {}
}

// Control sockets of tests, and of the programs that they start, are in a directory
// of their own.
func TestMain(m *testing.M) {
	if os.Getenv("SERVE_STUCK") != "" { // this is the program of a test
		fmt.Fprintln(os.Stderr, bhrpc.Serve(stuck{}))
		os.Exit(3)
	}
	if role := os.Getenv(pluginRole); role != "" { // this is the plugin of a test
		playPlugin(role)
	}
	dir, err := os.MkdirTemp("", "bhrpc-test")
	if err == nil {
		err = os.Setenv("XDG_RUNTIME_DIR", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		_ = os.RemoveAll(dir)
		os.Exit(status)
	}))
}
