package coretest

// Link is the way to one address, with the faults that are in force on it. They
// apply to the connections that are open and to those to come, until [Link.Heal].
// All methods are safe for concurrent use and take effect at once.
type Link struct {
	ToProvider *Direction // what consumers send; never nil
	ToConsumer *Direction // what the provider sends; never nil

	network *Network
	address address

	// Guarded by Network.mu.
	listener *listener // nil: nobody listens
	refused  bool
	dials    int
	cables   map[*cable]bool
	changed  chan struct{} // closed and replaced whenever something here changes
}

func newLink(n *Network, at address) *Link {
	l := &Link{network: n, address: at, cables: make(map[*cable]bool), changed: make(chan struct{})}
	l.ToProvider, l.ToConsumer = &Direction{link: l, left: unlimited}, &Direction{link: l, left: unlimited}
	return l
}

// changedLocked wakes everybody who waits for something on this Link.
func (l *Link) changedLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Dials returns how often somebody tried to connect, refused attempts included.
func (l *Link) Dials() int {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	return l.dials
}

// Conns returns how many connections are open at one end at least.
func (l *Link) Conns() int {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	return len(l.cables)
}

// Refuse makes new dials fail as if nobody listened. Open connections go on.
func (l *Link) Refuse() {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	l.refused = true
}

// Cut resets every open connection: both ends get syscall.ECONNRESET from reads and
// writes, those that wait included. Of a Write under way the other end has got what
// it has read, and Write returns how much that was. New connections are possible.
func (l *Link) Cut() {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	l.cutLocked()
}

func (l *Link) cutLocked() {
	for c := range l.cables {
		c.cutLocked()
	}
	l.changedLocked()
}

// Forget makes every open connection half-open, as a NAT does that loses its table:
// what is sent on it from now on vanishes, and that an end was closed never arrives.
// New connections are possible, and Heal does not bring the old ones back.
func (l *Link) Forget() {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	for c := range l.cables {
		c.forgotten = true
	}
	l.changedLocked()
}

// Heal ends every fault of the Link and of both directions. What was dropped,
// damaged or cut stays so.
func (l *Link) Heal() {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	l.refused = false
	for _, d := range []*Direction{l.ToProvider, l.ToConsumer} {
		d.corrupt, d.left = nil, unlimited
		d.passLocked(flowing)
	}
}

// passage is what becomes of bytes in one direction.
type passage uint8

const (
	flowing passage = iota
	stalled
	dropping
)

// unlimited is a Direction without CutAfter.
const unlimited = -1

// Direction is one direction of a Link. All methods are safe for concurrent use.
type Direction struct {
	link *Link

	// Guarded by Network.mu.
	passage passage
	corrupt func(offset int64, b []byte) // nil: bytes arrive as they were sent
	left    int64                        // bytes until the cut; unlimited: none is planned
}

// Stall stops the bytes while the sockets stay open, as a cable that was pulled
// does. A Write that begins from now on waits for Resume, its deadline or the end of
// its connection, and nothing of it arrives before. A Write under way delivers its
// bytes as they are read. That an end was closed does not arrive either.
func (d *Direction) Stall() { d.pass(stalled) }

// Drop lets bytes vanish: a Write that begins from now on succeeds, and nothing of
// it ever arrives. A Write under way delivers its bytes as they are read. That an
// end was closed arrives only after Resume. Whole Writes vanish, so a receiver finds
// a frame again after Resume if the sender writes whole frames.
func (d *Direction) Drop() { d.pass(dropping) }

// Resume ends Stall and Drop: Writes that waited go on.
func (d *Direction) Resume() { d.pass(flowing) }

func (d *Direction) pass(p passage) {
	d.link.network.mu.Lock()
	defer d.link.network.mu.Unlock()
	d.passLocked(p)
}

func (d *Direction) passLocked(p passage) {
	d.passage = p
	if p == flowing {
		for c := range d.link.cables {
			for _, e := range c.ends {
				if e.out == d && e.closed && !c.forgotten {
					_ = e.pipe.Close() // the end arrives now
				}
			}
		}
	}
	d.link.changedLocked()
}

// Corrupt passes what is sent through change before it arrives: b is a copy of the
// bytes, to be changed in place, and offset is where they stand in what this end has
// sent on its connection, dropped bytes included. Writes under way are not changed.
// change is called by one goroutine per connection at a time. Nil ends it.
func (d *Direction) Corrupt(change func(offset int64, b []byte)) {
	d.link.network.mu.Lock()
	defer d.link.network.mu.Unlock()
	d.corrupt = change
}

// CutAfter lets n more bytes pass, dropped ones included, counted over all
// connections from now on, and then cuts the connection on which the last of them
// went; with n = 0 the connection that sends next. It happens once. A negative n
// takes it back. Writes under way are not counted.
func (d *Direction) CutAfter(n int64) {
	d.link.network.mu.Lock()
	defer d.link.network.mu.Unlock()
	d.left = max(n, unlimited)
}
