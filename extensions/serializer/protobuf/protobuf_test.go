package protobuf_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/bhrpc/bhrpc/extensions/serializer/protobuf"
	"github.com/bhrpc/bhrpc/spi"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB) spi.Serializer {
	t.Helper()
	cat := spi.NewCatalog()
	if err := protobuf.Register(cat); err != nil {
		t.Fatal(err)
	}
	s, err := cat.Serializers.Open(t.Context(), spi.Env{}, spi.Ref{Use: "protobuf"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func document(t testing.TB) *structpb.Struct {
	t.Helper()
	m, err := structpb.NewStruct(map[string]any{"name": "tea", "price": 3.25, "tags": []any{"hot", nil, true}, "next": map[string]any{"name": strings.Repeat("x", 300)}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The conformance kit is for plain Go types; these are its rules for messages.

func TestRoundTrip(t *testing.T) {
	s, m := open(t), document(t)
	for name, v := range map[string]any{"a message": m, "a pointer to one": &m, "a pointer to an interface": new(proto.Message(m))} {
		t.Run(name, func(t *testing.T) {
			prefix := []byte("what was here before")
			for _, dst := range [][]byte{nil, bytes.Clone(prefix), append(make([]byte, 0, 4096), prefix...)} {
				out, err := s.Append(dst, v)
				if err != nil || !bytes.HasPrefix(out, dst) {
					t.Fatalf("Append: got %.30q, error %v, want it to begin with %q", out, err, dst)
				}
				data := out[len(dst):]
				want := bytes.Clone(data)
				var made *structpb.Struct
				old := proto.Message(&structpb.Struct{Fields: map[string]*structpb.Value{"old": nil}})
				for _, target := range []any{&made, new(structpb.Struct), &old} {
					if err := s.Decode(data, target); err != nil {
						t.Fatalf("Decode into %T: %v", target, err)
					}
					if !bytes.Equal(data, want) {
						t.Fatalf("data after Decode into %T: got %q, want %q", target, data, want)
					}
				}
				for i := range data { // it is used again
					data[i] = 'X'
				}
				if !proto.Equal(made, m) || !proto.Equal(old, m) {
					t.Errorf("Decode: got %v and %v, want %v", made, old, m)
				}
			}
		})
	}
}

func TestEmptyMessage(t *testing.T) {
	s := open(t)
	data, err := s.Append(nil, new(wrapperspb.StringValue))
	m := wrapperspb.String("old")
	if err != nil || s.Decode(data, &m) != nil || m.Value != "" {
		t.Errorf("got %q, error %v, then %v, want an empty message", data, err, m)
	}
}

type plain struct{ Name string }

func TestRefuses(t *testing.T) {
	s := open(t)
	var none *wrapperspb.StringValue
	for _, v := range []any{"text", 1, plain{}, &plain{}, new(*plain), []proto.Message{}, map[string]int{}, make(chan int), nil, none, &none, new(proto.Message), (*int)(nil)} {
		if out, err := s.Append(nil, v); err == nil || !strings.Contains(err.Error(), "as protobuf: ") || !strings.Contains(err.Error(), " message; ") {
			t.Errorf("Append(%T): got %q, error %v, want an error that says what it takes", v, out, err)
		}
	}
	for _, v := range []any{new(string), new(plain), new(*plain), new(proto.Message), new(any), []int{}, nil} {
		if err := s.Decode(nil, v); err == nil || !strings.Contains(err.Error(), "it is no protobuf message; ") {
			t.Errorf("Decode into %T: got error %v, want one that says what it takes", v, err)
		}
	}
	if _, err := s.Append(nil, new(descriptorpb.UninterpretedOption_NamePart)); err == nil || !strings.Contains(err.Error(), "required") {
		t.Errorf("Append without required fields: got error %v, want one", err)
	}
	if err := s.Decode(nil, new(descriptorpb.UninterpretedOption_NamePart)); err == nil || !strings.Contains(err.Error(), "required") {
		t.Errorf("Decode without required fields: got error %v, want one", err)
	}
}

func TestHostileData(t *testing.T) {
	s := open(t)
	deep := []byte{}
	for range 1100 { // a list in a value in a list …
		for _, tag := range []byte{0x0a, 0x32} {
			length := len(deep)
			head := []byte{tag}
			for ; length >= 0x80; length >>= 7 {
				head = append(head, byte(length)|0x80)
			}
			deep = append(append(head, byte(length)), deep...)
		}
	}
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"nested too deep", deep, "recursion"},
		{"text longer than the data", []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x07, 'x'}, "cannot parse"},
		{"field zero", []byte{0x00, 0x00}, "invalid"},
		{"a group without an end", []byte{0x0b}, "cannot parse"},
		{"text that is not UTF-8", []byte{0x1a, 0x01, 0xff}, "UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := s.Decode(tt.data, new(structpb.Value)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestConcurrent(t *testing.T) {
	s := open(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			m := document(t)
			var data []byte
			for range 100 {
				var err error
				var back *structpb.Struct
				if data, err = s.Append(data[:0], m); err == nil {
					err = s.Decode(data, &back)
				}
				if err != nil || !proto.Equal(m, back) {
					t.Errorf("got %v, error %v", back, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// FuzzDecode decodes whatever it is given: no panic, no memory that the data does
// not back, and what was read can be written and read again.
func FuzzDecode(f *testing.F) {
	s := open(f)
	data, err := s.Append(nil, document(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for range 50 {
		damaged := bytes.Clone(data)
		damaged[rand.IntN(len(damaged))] = byte(rand.Uint32())
		f.Add(damaged[:rand.IntN(len(damaged))])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		given := bytes.Clone(data)
		var m *structpb.Struct
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := s.Decode(given, &m)
		runtime.ReadMemStats(&after)
		if spent, most := after.TotalAlloc-before.TotalAlloc, uint64(4<<20+1000*len(data)); spent > most {
			t.Errorf("memory for %d bytes: got %d, want at most %d", len(data), spent, most)
		}
		if !bytes.Equal(given, data) {
			t.Errorf("data after Decode: got %x, want %x", given, data)
		}
		if err != nil {
			return
		}
		again, err := s.Append(nil, m)
		var back *structpb.Struct
		if err := errors.Join(err, s.Decode(again, &back)); err != nil {
			t.Errorf("round trip of what Decode(%x) made: %v", data, err)
		}
	})
}
