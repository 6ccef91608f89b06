//go:build faultlong && linux

package fault_test

import (
	"testing"
	"time"
)

// TestStarvedLong: little of a core, for longer than any average remembers.
func TestStarvedLong(t *testing.T) { starved(t, 2*time.Minute) }
