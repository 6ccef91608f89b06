package serializer_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/extensions/serializer"
	"github.com/bhrpc/bhrpc/spi"
)

func catalog(t testing.TB) *spi.Catalog {
	t.Helper()
	cat := spi.NewCatalog()
	if err := serializer.Register(cat); err != nil {
		t.Fatal(err)
	}
	return cat
}

func TestRefusedNames(t *testing.T) {
	const (
		java  = ` is a Java library's format without a specification; Go cannot speak it. Use json, or hessian2 with Java peers.`
		later = ` is not part of this version yet. Use json, which Java peers speak too.`
	)
	for _, tt := range []struct{ name, want string }{
		{"jdk", `serializer "jdk" is Java's own object stream; Go cannot speak it. Use json, or hessian2 with Java peers.`},
		{"kryo", `serializer "kryo"` + java},
		{"fst", `serializer "fst"` + java},
		{"hessian2", `serializer "hessian2"` + later},
		{"protostuff", `serializer "protostuff"` + later},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := catalog(t).Serializers.Open(t.Context(), spi.Env{}, spi.Ref{Use: tt.name})
			if !errors.Is(err, spi.ErrRefused) || err.Error() != tt.want {
				t.Errorf("Open: got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestNotLinked(t *testing.T) {
	_, err := catalog(t).Serializers.Open(t.Context(), spi.Env{}, spi.Ref{Use: "protobuf"})
	want := `serializer "protobuf" is not linked into this program; import "github.com/bhrpc/bhrpc/extensions/serializer/protobuf" and pass its Register to bhrpc.Open`
	if !errors.Is(err, spi.ErrNotLinked) || err.Error() != want {
		t.Errorf("Open: got %v, want %s", err, want)
	}
}

// Two names would be two encodings to the other side.
func TestNoAliases(t *testing.T) {
	for _, in := range catalog(t).Serializers.List() {
		if len(in.Aliases) > 0 {
			t.Errorf("aliases of %s: got %q, want none", in.Name, in.Aliases)
		}
	}
}

func TestMisspeltName(t *testing.T) {
	_, err := catalog(t).Serializers.Open(t.Context(), spi.Env{}, spi.Ref{Use: "json-sdt"})
	if !errors.Is(err, spi.ErrUnknown) || !strings.Contains(err.Error(), `did you mean "json-std"?`) || !strings.Contains(err.Error(), "known: cbor, gob, json, json-std, msgpack") {
		t.Errorf("Open(json-sdt): got %v", err)
	}
}

func ExampleRegister() {
	cat := spi.NewCatalog()
	if err := serializer.Register(cat); err != nil {
		fmt.Println(err)
		return
	}
	for _, in := range cat.Serializers.List() {
		fmt.Println(in.Name)
	}
	// Output:
	// cbor
	// gob
	// json
	// json-std
	// msgpack
}
