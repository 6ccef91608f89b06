//go:build !unix

package plugins

import (
	"io/fs"
	"os"
)

const (
	executableBit = false
	openProgram   = os.O_RDONLY
)

// checkOwner knows nothing about owners here: docs/plugins.md says so.
func checkOwner(string, fs.FileInfo) error { return nil }
