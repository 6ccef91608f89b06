package spitest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// fake is a serializer made of functions; by default it conforms.
type fake struct {
	append func(dst []byte, v any) ([]byte, error)
	decode func(data []byte, v any) error
}

func (f fake) Append(dst []byte, v any) ([]byte, error) {
	if f.append != nil {
		return f.append(dst, v)
	}
	return good(dst, v)
}

func (f fake) Decode(data []byte, v any) error {
	if f.decode != nil {
		return f.decode(data, v)
	}
	return json.Unmarshal(data, v)
}

func good(dst []byte, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(dst, data...), nil
}

func TestSerializer(t *testing.T) {
	if os.Getenv(inChild) != "" {
		Serializer(t, fake{decode: func([]byte, any) error { return errors.New("torn") }})
		return
	}
	Serializer(t, fake{})
	failsInChild(t, "FAIL: TestSerializer/round-trip", "torn", "the rule: Decode of what Append wrote")
}

func TestSerializerFindsFaults(t *testing.T) {
	shared := make([]byte, 0, 1<<22)
	var busy atomic.Bool
	testBroken(t, serializerRules, []broken[spi.Serializer]{
		{"loses a field", fake{append: func(dst []byte, v any) ([]byte, error) {
			if o, ok := v.(order); ok {
				o.Took = 0
				v = o
			}
			return good(dst, v)
		}}, []string{"round-trip"}},
		{"changes the value", fake{append: func(dst []byte, v any) ([]byte, error) {
			out, err := good(dst, v)
			if list, ok := v.([]int); ok && len(list) > 0 {
				list[0]++
			}
			return out, err
		}}, []string{"round-trip"}},
		{"refuses a value", fake{append: func(dst []byte, v any) ([]byte, error) {
			if v == uint64(1<<64-1) {
				return nil, errors.New("too large")
			}
			return good(dst, v)
		}}, []string{"round-trip"}},
		{"decodes numbers as floats", fake{decode: func(data []byte, v any) error {
			if p, ok := v.(*int64); ok {
				var f float64
				err := json.Unmarshal(data, &f)
				*p = int64(f)
				return err
			}
			return json.Unmarshal(data, v)
		}}, []string{"round-trip"}},
		{"writes over dst", fake{append: func(dst []byte, v any) ([]byte, error) { return good(dst[:0], v) }}, []string{"append"}},
		{"ignores dst", fake{append: func(_ []byte, v any) ([]byte, error) { return good(nil, v) }}, []string{"append"}},
		{"returns a buffer of its own", fake{append: func(dst []byte, v any) ([]byte, error) {
			out, err := good(shared[:0], v)
			if len(dst) > 0 {
				return append(dst, out...), err
			}
			return out, err
		}}, []string{"results-stay"}},
		{"cannot encode pointers", fake{append: func(dst []byte, v any) ([]byte, error) {
			if reflect.TypeOf(v) != nil && reflect.TypeOf(v).Kind() == reflect.Pointer {
				v = []any{v}
			}
			return good(dst, v)
		}}, []string{"pointer"}},
		{"keeps data", fake{decode: func(data []byte, v any) error {
			if p, ok := v.(*[]byte); ok && len(data) > 4 {
				if err := json.Unmarshal(data, p); err != nil {
					return err
				}
				copy(data, *p) // pretend that the format holds the bytes as they are
				*p = data[:len(*p)]
				return nil
			}
			return json.Unmarshal(data, v)
		}}, []string{"data-not-kept", "data-unmodified"}},
		{"modifies data", fake{decode: func(data []byte, v any) error {
			err := json.Unmarshal(data, v)
			clear(data)
			return err
		}}, []string{"data-unmodified"}},
		{"modifies what stands after data", fake{decode: func(data []byte, v any) error {
			err := json.Unmarshal(data, v)
			_ = append(data, 0)
			return err
		}}, []string{"data-unmodified"}},
		{"reads the first of several values", fake{decode: func(data []byte, v any) error {
			return json.NewDecoder(bytes.NewReader(data)).Decode(v)
		}}, []string{"nothing-follows"}},
		{"takes a zero for the end", fake{decode: func(data []byte, v any) error {
			data, _, _ = bytes.Cut(data, []byte{0})
			return json.Unmarshal(data, v)
		}}, []string{"nothing-follows"}},
		{"panics at the end of data", fake{decode: func(data []byte, v any) error {
			if data[len(data)-1] == ',' {
				panic("index out of range")
			}
			return json.Unmarshal(data, v)
		}}, []string{"truncated", "no-value"}},
		{"panics on damage", fake{decode: func(data []byte, v any) error {
			if !json.Valid(data) {
				panic("not valid")
			}
			return json.Unmarshal(data, v)
		}}, []string{"truncated", "damaged"}},
		{"trusts a length", fake{
			append: func(dst []byte, v any) ([]byte, error) {
				data, err := json.Marshal(v)
				return append(binary.BigEndian.AppendUint32(dst, uint32(len(data))), data...), err
			},
			decode: func(data []byte, v any) error {
				if len(data) < 4 {
					return errors.New("short")
				}
				n := binary.BigEndian.Uint32(data)
				text := make([]byte, min(n, 16<<20))
				if copy(text, data[4:]) != int(n) || len(data) != int(n)+4 {
					return errors.New("short")
				}
				return json.Unmarshal(text, v)
			},
		}, []string{"damaged"}},
		{"panics on another type", fake{decode: func(data []byte, v any) error {
			err := json.Unmarshal(data, v)
			if wrong := new(json.UnmarshalTypeError); errors.As(err, &wrong) {
				panic(err)
			}
			return err
		}}, []string{"wrong-type"}},
		{"encodes channels", fake{append: func(dst []byte, v any) ([]byte, error) {
			if out, err := good(dst, v); err == nil {
				return out, nil
			}
			return append(dst, "null"...), nil
		}}, []string{"not-encodable"}},
		{"panics on channels", fake{append: func(dst []byte, v any) ([]byte, error) {
			out, err := good(dst, v)
			if err != nil {
				panic(err)
			}
			return out, nil
		}}, []string{"not-encodable"}},
		{"never recovers", new(grudge), []string{"not-encodable"}},
		{"panics on nil", fake{append: func(dst []byte, v any) ([]byte, error) {
			if v == nil || reflect.ValueOf(v).Kind() == reflect.Pointer && reflect.ValueOf(v).IsNil() {
				panic("nil")
			}
			return good(dst, v)
		}}, []string{"no-value"}},
		{"serves one at a time", fake{append: func(dst []byte, v any) ([]byte, error) {
			if !busy.CompareAndSwap(false, true) {
				return nil, errors.New("busy")
			}
			defer busy.Store(false)
			runtime.Gosched()
			return good(dst, v)
		}}, []string{"concurrent"}},
	})
}

// grudge is a serializer that fails for good after its first failure.
type grudge struct{ failed atomic.Bool }

func (g *grudge) Append(dst []byte, v any) ([]byte, error) {
	out, err := good(dst, v)
	if err != nil || g.failed.Load() {
		g.failed.Store(true)
		return nil, errors.New("never again")
	}
	return out, nil
}

func (g *grudge) Decode(data []byte, v any) error { return json.Unmarshal(data, v) }

func TestSame(t *testing.T) {
	for _, c := range samples() {
		for _, other := range samples() {
			a, b := reflect.ValueOf(c.value), reflect.ValueOf(other.value)
			if a.Type() != b.Type() {
				if same(a, b) {
					t.Errorf("same(%s, %s): got true, want false", c.name, other.name)
				}
				continue
			}
			nothing := (a.Kind() == reflect.Slice || a.Kind() == reflect.Map) && a.Len() == 0 && b.Len() == 0
			if want := c.name == other.name || nothing; same(a, b) != want {
				t.Errorf("same(%s, %s): got %v, want %v", c.name, other.name, !want, want)
			}
		}
	}
}
