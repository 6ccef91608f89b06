//go:build fault

package scaffold_test

import (
	"testing"

	"github.com/bhrpc/bhrpc/internal/scaffold"
)

// Every kind compiles and passes its tests as it was written.
func TestWriteEveryKind(t *testing.T) {
	for _, kind := range scaffold.Kinds() {
		t.Run(kind, func(t *testing.T) { compiles(t, kind, "my-"+kind) })
	}
}
