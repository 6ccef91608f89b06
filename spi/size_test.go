package spi_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

func TestSize(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       spi.Size
		back       string
	}{
		{"bytes", `1000`, 1000, `"1000"`},
		{"bytes as text", `"1000"`, 1000, `"1000"`},
		{"bytes with unit", `"1000B"`, 1000, `"1000"`},
		{"zero", `0`, 0, `"0"`},
		{"zero with unit", `"0GiB"`, 0, `"0"`},
		{"KiB", `"64KiB"`, 64 << 10, `"64KiB"`},
		{"MiB", `"16MiB"`, 16 << 20, `"16MiB"`},
		{"GiB", `"1GiB"`, 1 << 30, `"1GiB"`},
		{"space before the unit", `"64 KiB"`, 64 << 10, `"64KiB"`},
		{"larger than its unit", `"2048KiB"`, 2 << 20, `"2MiB"`},
		{"no whole unit", `"1025"`, 1025, `"1025"`},
		{"largest", `9223372036854775807`, math.MaxInt64, `"9223372036854775807"`},
		{"largest with unit", `"8589934591GiB"`, 8589934591 << 30, `"8589934591GiB"`},
		{"null keeps it", `null`, 7, `"7"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := spi.Size(7)
			if err := json.Unmarshal([]byte(tt.text), &got); err != nil || got != tt.want {
				t.Fatalf("Unmarshal %s: got %v, %v, want %v", tt.text, got, err, tt.want)
			}
			back, err := json.Marshal(got)
			if err != nil || string(back) != tt.back || `"`+got.String()+`"` != tt.back {
				t.Errorf("Marshal %v: got %s, %v, want %s", got, back, err, tt.back)
			}
			var again spi.Size
			if err := json.Unmarshal(back, &again); err != nil || again != got {
				t.Errorf("Unmarshal %s: got %v, %v, want %v", back, again, err, got)
			}
		})
	}
}

func TestSizeErrors(t *testing.T) {
	for _, tt := range []struct{ name, text, quoted string }{
		{"negative", `-1`, `"-1"`},
		{"negative with unit", `"-1KiB"`, `"-1KiB"`},
		{"fraction", `1.5`, `"1.5"`},
		{"exponent", `1e3`, `"1e3"`},
		{"unit of another system", `"64KB"`, `"64KB"`},
		{"short unit", `"64K"`, `"64K"`},
		{"wrong case", `"64kib"`, `"64kib"`},
		{"unit only", `"KiB"`, `"KiB"`},
		{"nothing", `""`, `""`},
		{"too large", `9223372036854775808`, `"9223372036854775808"`},
		{"too large with unit", `"8589934592GiB"`, `"8589934592GiB"`},
		{"two units", `"1KiBB"`, `"1KiBB"`},
		{"bool", `true`, `"true"`},
		{"list", `[1]`, `"[1]"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := spi.Size(7)
			want := tt.quoted + ` is not a size; write bytes, or a number with KiB, MiB or GiB`
			if err := json.Unmarshal([]byte(tt.text), &got); fmt.Sprint(err) != want || got != 7 {
				t.Errorf("Unmarshal %s\ngot  %v, %v\nwant %s", tt.text, got, err, want)
			}
		})
	}
}
