package serializer

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var (
	errMsgpackShort = errors.New("the data ends before the value")
	errMsgpackLeft  = errors.New("something follows the value")
)

// checkMsgpack walks through one MessagePack value and reports what the library
// would take on trust: lengths and counts that the data does not back, nesting
// without end, bytes that follow the value. It appends to bodies where the content
// of each extension begins. The format is described at
// https://github.com/msgpack/msgpack/blob/master/spec.md.
func checkMsgpack(data []byte, bodies []int) ([]int, error) {
	w := msgpackWalker{data: data, bodies: bodies}
	if err := w.value(0); err != nil {
		return w.bodies, err
	}
	if w.at < len(data) {
		return w.bodies, errMsgpackLeft
	}
	return w.bodies, nil
}

type msgpackWalker struct {
	data   []byte
	at     int
	bodies []int
}

// value reads one value.
func (w *msgpackWalker) value(depth int) error {
	if depth > maxNesting {
		return errNesting
	}
	if w.at >= len(w.data) {
		return errMsgpackShort
	}
	code := w.data[w.at]
	w.at++
	switch {
	case code <= 0x7f || code >= 0xe0: // a small number
		return nil
	case code <= 0x8f:
		return w.values(2*uint64(code&0x0f), depth)
	case code <= 0x9f:
		return w.values(uint64(code&0x0f), depth)
	case code <= 0xbf:
		return w.skip(uint64(code & 0x1f))
	}
	switch code {
	case 0xc0, 0xc2, 0xc3: // nil, false, true
		return nil
	case 0xc4, 0xc5, 0xc6: // bin
		return w.text(1 << (code - 0xc4))
	case 0xd9, 0xda, 0xdb: // str
		return w.text(1 << (code - 0xd9))
	case 0xca: // float 32
		return w.skip(4)
	case 0xcb: // float 64
		return w.skip(8)
	case 0xcc, 0xcd, 0xce, 0xcf: // uint
		return w.skip(1 << (code - 0xcc))
	case 0xd0, 0xd1, 0xd2, 0xd3: // int
		return w.skip(1 << (code - 0xd0))
	case 0xd6, 0xd7: // ext of 4 and 8 bytes
		return w.timestamp(1 << (code - 0xd4))
	case 0xc7: // ext with a length
		n, err := w.number(1)
		if err == nil && n != 12 {
			err = errMsgpackUnknown
		}
		if err != nil {
			return err
		}
		return w.timestamp(12)
	case 0xdc, 0xdd: // array
		n, err := w.number(2 << (code - 0xdc))
		if err != nil {
			return err
		}
		return w.values(n, depth)
	case 0xde, 0xdf: // map
		n, err := w.number(2 << (code - 0xde))
		if err != nil {
			return err
		}
		return w.values(2*n, depth)
	case 0xc1:
		return fmt.Errorf("byte %#x begins no value", code)
	}
	return errMsgpackUnknown
}

var errMsgpackUnknown = errors.New("an extension that is not known; the timestamp, -1, of 4, 8 or 12 bytes is")

// timestamp reads the type and the content of an extension.
func (w *msgpackWalker) timestamp(length uint64) error {
	kind, err := w.number(1)
	if err == nil && int8(kind) != -1 {
		err = errMsgpackUnknown
	}
	if err != nil {
		return err
	}
	w.bodies = append(w.bodies, w.at)
	return w.skip(length)
}

// values reads n values, each of one byte at least.
func (w *msgpackWalker) values(n uint64, depth int) error {
	if n > uint64(len(w.data)-w.at) {
		return errMsgpackShort
	}
	for ; n > 0; n-- {
		if err := w.value(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

// text reads a length of some bytes, and as many bytes.
func (w *msgpackWalker) text(length int) error {
	n, err := w.number(length)
	if err != nil {
		return err
	}
	return w.skip(n)
}

func (w *msgpackWalker) skip(n uint64) error {
	if n > uint64(len(w.data)-w.at) {
		return errMsgpackShort
	}
	w.at += int(n)
	return nil
}

// number reads a big-endian number of 1, 2 or 4 bytes.
func (w *msgpackWalker) number(bytes int) (uint64, error) {
	from := w.at
	if err := w.skip(uint64(bytes)); err != nil {
		return 0, err
	}
	switch b := w.data[from:w.at]; bytes {
	case 1:
		return uint64(b[0]), nil
	case 2:
		return uint64(binary.BigEndian.Uint16(b)), nil
	default:
		return uint64(binary.BigEndian.Uint32(b)), nil
	}
}
