package adaptive

import (
	"encoding/binary"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// memory is what the strategy remembers of one connection. The host keeps it as a
// [spi.State].
type memory struct {
	seq       uint64        // of the last PING; 0: none yet
	start     time.Duration // when it was sent
	due       time.Duration // when to look for its answer, or, resting, to send the next
	pongs     uint64        // answers learnt from
	rtt       time.Duration // mean of the round trips
	deviation time.Duration // mean deviation from that
	run       int           // answered PINGs in a row
	strikes   int           // unanswered ones in a row
	voids     int           // looks in a row that did not count
	resting   bool          // the last PING was answered
}

const (
	longestRun = 1 << 20 // answers in a row that are counted
	longestRTT = time.Hour
)

// learn takes a new round trip into the means: an eighth of it into that of the
// round trips, a quarter of what it differs by into that of the deviations.
func (m *memory) learn(s spi.Snapshot) {
	if s.PongCount <= m.pongs {
		return
	}
	rtt := min(max(s.LastRTT, 0), longestRTT)
	if m.pongs == 0 {
		m.rtt, m.deviation = rtt, rtt/2
	} else {
		off := rtt - m.rtt
		m.rtt += off / 8
		m.deviation += (max(off, -off) - m.deviation) / 4
	}
	m.pongs = s.PongCount
}

// ours marks a State of this strategy, in its first byte.
const ours = 'a'

// numbers is how many there are in a State, of 8 bytes each, from the second on.
const numbers = 10

// recall reads a State. That of another strategy is as good as none, and so is one
// that no arithmetic of this strategy has led to.
func recall(st spi.State) memory {
	var n [numbers]uint64
	for i := range n {
		n[i] = binary.BigEndian.Uint64(st[1+8*i:])
	}
	m := memory{
		seq: n[0], start: time.Duration(n[1]), due: time.Duration(n[2]), pongs: n[3],
		rtt: time.Duration(n[4]), deviation: time.Duration(n[5]), run: int(n[6]), strikes: int(n[7]), voids: int(n[8]), resting: n[9] == 1,
	}
	sane := m.rtt >= 0 && m.rtt <= longestRTT && m.deviation >= 0 && m.deviation <= longestRTT && m.start >= 0 && m.due >= m.start &&
		m.run >= 0 && m.run <= longestRun && m.strikes >= 0 && m.strikes <= mostStrikes && m.voids >= 0 && m.voids <= mostVoids
	if st[0] != ours || !sane {
		return memory{}
	}
	return m
}

// state is the inverse of recall.
func (m memory) state() (st spi.State) {
	st[0] = ours
	resting := uint64(0)
	if m.resting {
		resting = 1
	}
	for i, n := range [numbers]uint64{
		m.seq, uint64(m.start), uint64(m.due), m.pongs,
		uint64(m.rtt), uint64(m.deviation), uint64(m.run), uint64(m.strikes), uint64(m.voids), resting,
	} {
		binary.BigEndian.PutUint64(st[1+8*i:], n)
	}
	return st
}
