package heartbeat

import (
	"fmt"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
)

// validateInterval reports a time between PINGs that no peer should be given.
func validateInterval(key string, v spi.Duration, hint string) error {
	switch d := v.D(); {
	case d < minInterval:
		return fmt.Errorf("%s: %v is too short to tell a slow peer from a dead one%s", key, v, hint)
	case d > maxInterval:
		return fmt.Errorf("%s: %v is too long to find a dead peer in time%s", key, v, hint)
	}
	return nil
}

// unknown reports a text that is none of known.
func unknown(key, v string, known ...string) error {
	hint := ""
	if near := spi.Nearest(v, known); near != "" {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	return fmt.Errorf("%s: unknown value %q%s\n  known: %s", key, v, hint, strings.Join(known, ", "))
}
