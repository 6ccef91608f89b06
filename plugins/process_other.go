//go:build !linux

package plugins

import "os"

// awaitEnd cannot wait without collecting here.
func awaitEnd(*os.Process) {}

// restrict knows no limits for another process here.
func restrict(int, int) {}

const endsAreSeen = false
