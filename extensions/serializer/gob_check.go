package serializer

import (
	"errors"
	"fmt"
)

// checkGob walks through a gob stream of one value and reports what encoding/gob
// would take on trust: lengths and counts that the data does not back, nesting
// without end, bytes that follow the value. A message of 50 bytes can otherwise
// make it allocate gigabytes for a map, or overflow the stack. The format is
// described in the documentation of encoding/gob.
func checkGob(data []byte) error {
	w := gobWalker{stream: data, types: map[int64]gobType{}}
	id, err := w.typeSequence(false)
	if err != nil {
		return err
	}
	if err := w.delimited(id, 0); err != nil {
		return err
	}
	if len(w.buf) > 0 || len(w.stream) > 0 {
		return errors.New("something follows the value")
	}
	return nil
}

// gobWalker reads a stream of messages, each preceded by its length.
type gobWalker struct {
	stream []byte // messages not begun
	buf    []byte // the rest of the message being read
	types  map[int64]gobType
}

// gobType is what a stream says about one of its types, as far as a walk needs it.
type gobType struct {
	kind   gobKind
	key    int64   // of a map
	elem   int64   // of an array, slice or map
	fields []int64 // of a struct
}

// gobKind is which field of gob's wireType is set.
type gobKind int

const (
	gobArray gobKind = iota
	gobSlice
	gobStruct
	gobMap
	gobEncoded // a GobEncoder, BinaryMarshaler or TextMarshaler: its bytes
)

// Types that every stream knows without describing them.
const (
	gobBool      = 1
	gobInt       = 2
	gobUint      = 3
	gobFloat     = 4
	gobBytes     = 5
	gobString    = 6
	gobComplex   = 7
	gobInterface = 8
	gobFirstUser = 64
)

var (
	errGobShort = errors.New("the data ends before the value")
	errGobField = errors.New("a field that its type does not have")
)

// receive begins the next message.
func (w *gobWalker) receive() error {
	buf := w.buf
	w.buf = w.stream
	n, err := w.count()
	if err != nil {
		w.buf = buf
		return err
	}
	w.buf, w.stream = w.buf[:n], w.buf[n:]
	return nil
}

// typeSequence reads descriptions of types up to the identity of the value's.
func (w *gobWalker) typeSequence(inInterface bool) (int64, error) {
	for {
		if len(w.buf) == 0 {
			if err := w.receive(); err != nil {
				return 0, err
			}
		}
		id, err := w.int()
		if err != nil || id >= 0 {
			return id, err
		}
		if -id < gobFirstUser {
			return 0, fmt.Errorf("type %d is described, which is a known one", -id)
		}
		t, err := w.describedType()
		if err != nil {
			return 0, err
		}
		w.types[-id] = t
		if len(w.buf) > 0 {
			if !inInterface {
				return 0, errors.New("something follows the description of a type")
			}
			if _, err := w.uint(); err != nil { // the length of the next description
				return 0, err
			}
		}
	}
}

// describedType reads a wireType: a struct of which one field is set.
func (w *gobWalker) describedType() (t gobType, err error) {
	set := 0
	err = w.structure(func(kind int) error {
		set++
		t.kind = min(gobKind(kind), gobEncoded)
		return w.structure(func(field int) error { return w.typeField(&t, kind, field) })
	})
	if err == nil && set != 1 {
		err = fmt.Errorf("a type is described as %d things", set)
	}
	return t, err
}

// typeField reads one field of the description of a type of the given kind.
func (w *gobWalker) typeField(t *gobType, kind, field int) (err error) {
	switch {
	case kind > int(gobEncoded)+2:
		return errGobField
	case field == 0:
		return w.common(nil)
	case t.kind == gobArray && field == 1, t.kind == gobSlice && field == 1, t.kind == gobMap && field == 2:
		t.elem, err = w.int()
	case t.kind == gobMap && field == 1:
		t.key, err = w.int()
	case t.kind == gobArray && field == 2:
		_, err = w.int() // its length, which the value repeats
	case t.kind == gobStruct && field == 1:
		var n int
		n, err = w.count()
		for ; err == nil && n > 0; n-- {
			var id int64
			err = w.common(&id)
			t.fields = append(t.fields, id)
		}
	default:
		err = errGobField
	}
	return err
}

// common reads a struct of a name and the identity of a type, which id receives
// unless it is nil.
func (w *gobWalker) common(id *int64) error {
	return w.structure(func(field int) error {
		switch field {
		case 0:
			return w.skip()
		case 1:
			n, err := w.int()
			if id != nil {
				*id = n
			}
			return err
		}
		return errGobField
	})
}

// structure reads a struct, calling read for each field that is there.
func (w *gobWalker) structure(read func(field int) error) error {
	for field := -1; len(w.buf) > 0; {
		delta, err := w.uint()
		if err != nil || delta == 0 {
			return err
		}
		if delta > 1<<20 {
			return errGobField
		}
		field += int(delta)
		if err := read(field); err != nil {
			return err
		}
	}
	return nil
}

// delimited reads a value at the top of a message or interface: a struct, or
// anything else after a zero.
func (w *gobWalker) delimited(id int64, depth int) error {
	if t, ok := w.types[id]; !ok || t.kind != gobStruct {
		if zero, err := w.uint(); err != nil {
			return err
		} else if zero != 0 {
			return errGobField
		}
	}
	return w.value(id, depth)
}

// value reads a value of a type.
func (w *gobWalker) value(id int64, depth int) error {
	if depth++; depth > maxNesting {
		return errNesting
	}
	switch id {
	case gobBool, gobInt, gobUint, gobFloat:
		_, err := w.uint()
		return err
	case gobComplex:
		if _, err := w.uint(); err != nil {
			return err
		}
		_, err := w.uint()
		return err
	case gobBytes, gobString:
		return w.skip()
	case gobInterface:
		return w.interfaceValue(depth)
	}
	t, ok := w.types[id]
	if !ok {
		return fmt.Errorf("type %d is not described", id)
	}
	switch t.kind {
	case gobStruct:
		return w.structure(func(field int) error {
			if field >= len(t.fields) {
				return errGobField
			}
			return w.value(t.fields[field], depth)
		})
	case gobArray, gobSlice, gobMap:
		return w.elements(t, depth)
	}
	return w.skip()
}

// elements reads the elements of an array or slice, or the pairs of a map.
func (w *gobWalker) elements(t gobType, depth int) error {
	n, err := w.count()
	for ; err == nil && n > 0; n-- {
		if t.kind == gobMap {
			if err := w.value(t.key, depth); err != nil {
				return err
			}
		}
		err = w.value(t.elem, depth)
	}
	return err
}

// interfaceValue reads the name of a registered type, the descriptions that it
// needs, and a value.
func (w *gobWalker) interfaceValue(depth int) error {
	n, err := w.count()
	if err != nil || n == 0 {
		return err
	}
	w.buf = w.buf[n:]
	id, err := w.typeSequence(true)
	if err != nil {
		return err
	}
	if _, err := w.count(); err != nil { // the length of the value
		return err
	}
	return w.delimited(id, depth)
}

// skip reads a length and as many bytes.
func (w *gobWalker) skip() error {
	n, err := w.count()
	if err != nil {
		return err
	}
	w.buf = w.buf[n:]
	return nil
}

// count reads a number of things that follow, each of one byte at least.
func (w *gobWalker) count() (int, error) {
	n, err := w.uint()
	if err == nil && n > uint64(len(w.buf)) {
		return 0, errGobShort
	}
	return int(n), err
}

func (w *gobWalker) int() (int64, error) {
	u, err := w.uint()
	if u&1 != 0 {
		return ^int64(u >> 1), err
	}
	return int64(u >> 1), err
}

func (w *gobWalker) uint() (uint64, error) {
	if len(w.buf) == 0 {
		return 0, errGobShort
	}
	first := w.buf[0]
	w.buf = w.buf[1:]
	if first < 0x80 {
		return uint64(first), nil
	}
	n := -int(int8(first)) // big-endian bytes
	if n > 8 {
		return 0, errors.New("a number of more than 64 bits")
	}
	if n > len(w.buf) {
		return 0, errGobShort
	}
	var u uint64
	for _, b := range w.buf[:n] {
		u = u<<8 | uint64(b)
	}
	w.buf = w.buf[n:]
	return u, nil
}
