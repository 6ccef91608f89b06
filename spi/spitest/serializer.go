package spitest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime/metrics"
	"slices"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// Serializer tests that s keeps the contract of [spi.Serializer], with values of
// plain Go types: numbers, text, bytes, slices, maps and structs of these.
func Serializer(t *testing.T, s spi.Serializer) {
	t.Helper()
	run(t, serializerRules, s)
}

var serializerRules = []rule[spi.Serializer]{
	{"round-trip", "Decode of what Append wrote gives the same value, and Append leaves the value alone.", checkRoundTrip},
	{"append", "Append appends: what dst holds stays, whether dst is nil, full or has room.", checkAppend},
	{"results-stay", "What Append returned belongs to the caller: a later Append must not change it.", checkResultsStay},
	{"pointer", "A pointer encodes as what it points to.", checkPointer},
	{"data-not-kept", "Decode must not keep data: its bytes are reused as soon as it returns.", checkNotKept},
	{"data-unmodified", "Decode must not modify data.", checkDataUnmodified},
	{"nothing-follows", "Decode reads exactly one value and refuses what is left over.", checkLeftOver},
	{"truncated", "Data that is cut off is an error or another value, never a panic, and never costs memory out of proportion to it.", checkTruncated},
	{"damaged", "Damaged data is an error or another value, never a panic, and never costs memory out of proportion to it.", checkDamaged},
	{"wrong-type", "Data of another type is an error or a value, never a panic.", checkWrongType},
	{"not-encodable", "A value that cannot be encoded, such as a channel, is an error, not a panic, and leaves dst and the serializer as they were.", checkNotEncodable},
	{"no-value", "Nil and nil pointers are an error or an encoding, never a panic.", checkNoValue},
	{"concurrent", "A serializer is used by many goroutines at once.", checkConcurrentUse},
}

// show renders a value for a message, the beginning of a long one.
func show(v any) string {
	text := fmt.Sprintf("%#v", v)
	if len(text) > 200 {
		return text[:200] + "…"
	}
	return text
}

// encode appends v to dst and reports an error.
func encode(r *report, s spi.Serializer, dst []byte, name string, v any) ([]byte, bool) {
	out, err := s.Append(dst, v)
	if err != nil {
		r.faultf("%s: Append(%s): got error %v", name, show(v), err)
	}
	return out, err == nil
}

// decode reads data into a new value of want's type and compares.
func decode(r *report, s spi.Serializer, name string, data []byte, want any) reflect.Value {
	target := reflect.New(reflect.TypeOf(want))
	if err := s.Decode(data, target.Interface()); err != nil {
		r.faultf("%s: Decode of what Append wrote for %s: got error %v", name, show(want), err)
		return target
	}
	compare(r, name, target, want)
	return target
}

// compare reports that what target points to is not want.
func compare(r *report, name string, target reflect.Value, want any) {
	if got := target.Elem(); !same(got, reflect.ValueOf(want)) {
		r.faultf("%s: got %s, want %s", name, show(got.Interface()), show(want))
	}
}

func checkRoundTrip(r *report, s spi.Serializer) {
	for i, c := range samples() {
		r.guard(func() {
			data, ok := encode(r, s, nil, c.name, c.value)
			if !ok {
				return
			}
			if untouched := samples()[i].value; !same(reflect.ValueOf(c.value), reflect.ValueOf(untouched)) {
				r.faultf("%s: value after Append: got %s, want %s", c.name, show(c.value), show(untouched))
			}
			decode(r, s, c.name, data, c.value)
		})
	}
}

func checkAppend(r *report, s spi.Serializer) {
	prefix := []byte("what was here before")
	for _, c := range small() {
		full := slices.Clip(slices.Clone(prefix))
		for name, dst := range map[string][]byte{
			"nil dst":                nil,
			"empty dst":              {},
			"full dst":               full,
			"dst with a little room": append(make([]byte, 0, len(prefix)+3), prefix...),
			"dst with much room":     append(make([]byte, 0, 64<<10), prefix...),
		} {
			name = c.name + ", " + name
			out, ok := encode(r, s, dst, name, c.value)
			if !ok {
				return
			}
			if len(out) < len(dst) || !bytes.Equal(out[:len(dst)], prefix[:len(dst)]) || !bytes.Equal(dst, prefix[:len(dst)]) {
				r.faultf("%s: Append(%q, …): got %.40q…, want it to begin with dst", name, prefix[:len(dst)], out)
				return
			}
			decode(r, s, name, out[len(dst):], c.value)
		}
	}
}

func checkResultsStay(r *report, s spi.Serializer) {
	first, ok := encode(r, s, nil, "first", document())
	if !ok {
		return
	}
	want := bytes.Clone(first)
	other := document()
	other.Counts = map[string]int{"quite": -1, "other": -2, "counts": -3}
	for range 10 {
		for _, v := range []any{[]string{"quite", "another", "value"}, map[string]string{"a": "map", "of": "text"}, other} {
			if _, ok := encode(r, s, nil, "later", v); !ok {
				return
			}
		}
	}
	if !bytes.Equal(first, want) {
		r.faultf("first result after later Appends: got %q, want %q", first, want)
	}
}

func checkPointer(r *report, s spi.Serializer) {
	for _, c := range small() {
		p := reflect.New(reflect.TypeOf(c.value))
		p.Elem().Set(reflect.ValueOf(c.value))
		if data, ok := encode(r, s, nil, "pointer to "+c.name, p.Interface()); ok {
			decode(r, s, "pointer to "+c.name, data, c.value)
		}
	}
}

func checkNotKept(r *report, s spi.Serializer) {
	for _, c := range small() {
		data, ok := encode(r, s, nil, c.name, c.value)
		if !ok {
			return
		}
		target := reflect.New(reflect.TypeOf(c.value))
		if err := s.Decode(data, target.Interface()); err != nil {
			r.faultf("%s: Decode: got error %v", c.name, err)
			return
		}
		for i := range data {
			data[i] = 'X'
		}
		compare(r, c.name+", after its data was overwritten", target, c.value)
	}
}

func checkDataUnmodified(r *report, s spi.Serializer) {
	for _, c := range small() {
		data, ok := encode(r, s, nil, c.name, c.value)
		if !ok {
			return
		}
		// The bytes around the data belong to others.
		whole := slices.Concat([]byte("before"), data, []byte("after"))
		given := whole[len("before") : len("before")+len(data)]
		want := bytes.Clone(whole)
		_ = s.Decode(given, reflect.New(reflect.TypeOf(c.value)).Interface())
		if !bytes.Equal(whole, want) {
			r.faultf("%s: data after Decode: got %.60q, want %.60q", c.name, given, data)
		}
	}
}

func checkLeftOver(r *report, s spi.Serializer) {
	for _, c := range closed() {
		data, ok := encode(r, s, nil, c.name, c.value)
		if !ok {
			return
		}
		for _, rest := range [][]byte{{0}, {1}, {0xff}, []byte("x"), []byte("0"), []byte("]"), []byte("}"), []byte("\x00rest"), data} {
			target := reflect.New(reflect.TypeOf(c.value))
			if err := s.Decode(slices.Concat(data, rest), target.Interface()); err == nil {
				r.faultf("%s: Decode of data followed by %.40q: got no error, want one", c.name, rest)
			}
		}
	}
}

// lavish is how much memory decoding a few hundred bytes may take: far more than
// decoders need, far less than a damaged length asks for.
const lavish = 4 << 20

// costly reports decoding data that takes too much memory. Others may allocate at
// the same time; not every time, however.
func costly(r *report, s spi.Serializer, data []byte) {
	least := uint64(lavish)
	for range 3 {
		before := allocated()
		_ = s.Decode(data, new(order))
		if least = min(least, allocated()-before); least < lavish {
			return
		}
	}
	r.faultf("Decode of %d damaged bytes %x: allocated at least %d MiB, want less", len(data), data, least>>20)
}

// allocated returns how many bytes the program has allocated so far.
func allocated() uint64 {
	reading := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(reading)
	return reading[0].Value.Uint64()
}

// unharmed reports that s cannot write and read any more.
func unharmed(r *report, s spi.Serializer) {
	if data, ok := encode(r, s, nil, "afterwards", document()); ok {
		decode(r, s, "afterwards", data, document())
	}
}

func checkTruncated(r *report, s spi.Serializer) {
	data, ok := encode(r, s, nil, "document", document())
	for n := 0; ok && n < len(data) && !r.broken(); n++ {
		r.guard(func() { costly(r, s, bytes.Clone(data[:n])) })
	}
	unharmed(r, s)
}

func checkDamaged(r *report, s spi.Serializer) {
	data, ok := encode(r, s, nil, "document", document())
	random := rand.New(rand.NewPCG(3, 4))
	for i := 0; ok && len(data) > 0 && i < 3000 && !r.broken(); i++ {
		damaged := bytes.Clone(data)
		for range 1 + random.IntN(4) {
			at := random.IntN(len(damaged))
			switch random.IntN(4) {
			case 0:
				damaged[at] ^= 1 << random.IntN(8)
			case 1:
				damaged[at] = byte(random.Uint32())
			case 2: // much, in many formats
				damaged[at] = 0xff - byte(random.IntN(9))
			case 3: // what stood elsewhere
				copy(damaged[at:], data[random.IntN(len(data)):][:1])
			}
		}
		r.guard(func() { costly(r, s, damaged) })
	}
	unharmed(r, s)
}

func checkWrongType(r *report, s spi.Serializer) {
	all := closed()
	for _, written := range all {
		data, ok := encode(r, s, nil, written.name, written.value)
		if !ok {
			return
		}
		for _, read := range all {
			r.guard(func() { _ = s.Decode(data, reflect.New(reflect.TypeOf(read.value)).Interface()) })
		}
	}
	unharmed(r, s)
}

func checkNotEncodable(r *report, s spi.Serializer) {
	prefix := []byte("kept")
	for name, v := range map[string]any{"a channel": make(chan int), "a function": func() {}, "channels": []chan int{make(chan int)}} {
		r.guard(func() {
			dst := append(make([]byte, 0, 100), prefix...)
			if out, err := s.Append(dst, v); err == nil {
				r.faultf("Append of %s: got %q and no error, want an error", name, out)
			}
			if !bytes.Equal(dst, prefix) {
				r.faultf("dst after Append of %s: got %q, want %q", name, dst, prefix)
			}
		})
		unharmed(r, s)
	}
}

func checkNoValue(r *report, s spi.Serializer) {
	for _, v := range []any{nil, (*int)(nil), (*order)(nil), new(*order), []*order(nil)} {
		r.guard(func() { _, _ = s.Append(nil, v) })
	}
	for _, data := range [][]byte{nil, {}} {
		r.guard(func() { _ = s.Decode(data, new(order)) })
	}
	unharmed(r, s)
}

func checkConcurrentUse(r *report, s spi.Serializer) {
	r.concurrently(8, func(g int) {
		var dst []byte
		for i := 0; i < 100 && !r.broken(); i++ {
			v := document()
			v.ID, v.Item.Name = int64(g), fmt.Sprint(g, i)
			var ok bool
			if dst, ok = encode(r, s, dst[:0], "document", v); ok {
				decode(r, s, "document", dst, v)
			}
		}
	})
}
