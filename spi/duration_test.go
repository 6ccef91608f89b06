package spi_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

func TestDuration(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       time.Duration
		back       string
	}{
		{"seconds", `"5s"`, 5 * time.Second, `"5s"`},
		{"milliseconds", `"250ms"`, 250 * time.Millisecond, `"250ms"`},
		{"several units", `"1h2m3s"`, time.Hour + 2*time.Minute + 3*time.Second, `"1h2m3s"`},
		{"fraction", `"1.5s"`, 1500 * time.Millisecond, `"1.5s"`},
		{"negative", `"-2s"`, -2 * time.Second, `"-2s"`},
		{"zero needs no unit", `"0"`, 0, `"0s"`},
		{"longest", `"2562047h47m16.854775807s"`, math.MaxInt64, `"2562047h47m16.854775807s"`},
		{"null keeps it", `null`, time.Minute, `"1m0s"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := spi.Duration(time.Minute)
			if err := json.Unmarshal([]byte(tt.text), &got); err != nil || got.D() != tt.want {
				t.Errorf("Unmarshal %s: got %v, %v, want %v", tt.text, got, err, tt.want)
			}
			if back, err := json.Marshal(got); err != nil || string(back) != tt.back {
				t.Errorf("Marshal %v: got %s, %v, want %s", got, back, err, tt.back)
			}
			if got.String() != tt.want.String() {
				t.Errorf("String: got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestDurationErrors(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"number", `20`, `20 has no unit; write a duration such as 250ms, 5s or 2m`},
		{"zero as a number", `0`, `0 has no unit; write a duration such as 250ms, 5s or 2m`},
		{"number as text", `"20"`, `"20" is not a duration; write a number and a unit, such as 250ms, 5s or 2m`},
		{"word", `"soon"`, `"soon" is not a duration; write a number and a unit, such as 250ms, 5s or 2m`},
		{"nothing", `""`, `"" is not a duration; write a number and a unit, such as 250ms, 5s or 2m`},
		{"unknown unit", `"3d"`, `"3d" is not a duration; write a number and a unit, such as 250ms, 5s or 2m`},
		{"too long", `"9999999h"`, `"9999999h" is not a duration; write a number and a unit, such as 250ms, 5s or 2m`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := spi.Duration(time.Minute)
			if err := json.Unmarshal([]byte(tt.text), &got); fmt.Sprint(err) != tt.want || got.D() != time.Minute {
				t.Errorf("Unmarshal %s\ngot  %v, %v\nwant %s", tt.text, got, err, tt.want)
			}
		})
	}
}
