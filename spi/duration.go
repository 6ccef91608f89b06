package spi

import (
	"encoding/json"
	"fmt"
	"time"
)

// Duration is a [time.Duration] that configuration writes with its unit, as
// "5s" or "250ms". A bare number is refused: 20 could be seconds to the reader
// and nanoseconds to the program (grpc/grpc-go#3093).
type Duration time.Duration

// D returns d as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String returns the form that configuration accepts.
func (d Duration) String() string { return time.Duration(d).String() }

// UnmarshalText parses the form accepted by [time.ParseDuration].
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration; write a number and a unit, such as 250ms, 5s or 2m", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalJSON accepts a JSON string only; null changes nothing.
func (d *Duration) UnmarshalJSON(data []byte) error {
	if isNull(data) {
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("%s has no unit; write a duration such as 250ms, 5s or 2m", data)
	}
	return d.UnmarshalText([]byte(text))
}
