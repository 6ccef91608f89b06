//go:build (fault || faultnet || faultlong) && linux

package fault_test

import (
	"errors"
	"os"
	"syscall"
)

// hoarded holds the descriptors that this process has taken for nothing.
var hoarded []*os.File

// hoard opens files until there are no descriptors left, and returns how many.
func hoard() (int, error) {
	for {
		f, err := os.Open(os.DevNull)
		if errors.Is(err, syscall.EMFILE) {
			return len(hoarded), nil
		}
		if err != nil {
			return 0, err
		}
		hoarded = append(hoarded, f)
	}
}

// dropHoard gives them back.
func dropHoard() {
	for _, f := range hoarded {
		_ = f.Close()
	}
	hoarded = nil
}
