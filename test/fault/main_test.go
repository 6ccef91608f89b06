//go:build (fault || faultnet || faultlong) && linux

package fault_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(pluginVariable) != "" {
		if err := servePlugin(); err != nil {
			panic(err)
		}
		return
	}
	if name := os.Getenv(roleVariable); name != "" {
		os.Exit(play(name, os.Getenv(argsVariable)))
	}
	go watchLag()
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/bhrpc/bhrpc/test/fault_test.watchLag"))
}
