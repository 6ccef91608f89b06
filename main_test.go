package bhrpc_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Control sockets of tests, and of the programs that they start, are in a directory
// of their own.
func TestMain(m *testing.M) {
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
