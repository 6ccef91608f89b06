package heartbeat

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// The first byte of a State says whose it is; 0 is nobody's yet. A strategy takes
// the State of another one as the zero State.
const (
	ofThreeStrike = 1 + iota
	ofIdle
	ofPhiAccrual
)

// field is where a value of 8 bytes is in a State, after the byte that says whose
// it is.
type field int

func (f field) in(st *spi.State) []byte { return st[1+8*f : 9+8*f] }

func (f field) uint(st *spi.State) uint64              { return binary.BigEndian.Uint64(f.in(st)) }
func (f field) setUint(st *spi.State, v uint64)        { binary.BigEndian.PutUint64(f.in(st), v) }
func (f field) time(st *spi.State) time.Duration       { return time.Duration(f.uint(st)) }
func (f field) setTime(st *spi.State, v time.Duration) { f.setUint(st, uint64(v)) }
func (f field) float(st *spi.State) float64            { return math.Float64frombits(f.uint(st)) }
func (f field) setFloat(st *spi.State, v float64)      { f.setUint(st, math.Float64bits(v)) }
func (f field) bool(st *spi.State) bool                { return st[1+8*f] != 0 }
func (f field) setBool(st *spi.State, v bool) {
	if v {
		st[1+8*f] = 1
	}
}
