//go:build (fault || faultnet || faultlong) && linux

package fault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// impairment is what a packet suffers on one way of an emulated link. The zero value
// is a link without faults.
type impairment struct {
	Delay  time.Duration
	Jitter time.Duration // most that is added to Delay, evenly spread; packets keep their order
	Loss   float64       // share of packets that are lost: 1 is all
}

// emulatorArgs names the devices that an emulator makes.
type emulatorArgs struct{ Devices [2]string }

// emulatorRole joins two TUN devices, packet by packet: what tc netem does where the
// kernel has it. It makes both in its own namespace; one can then be moved to another.
type emulatorRole struct {
	ways [2]*way // from each device to the other
}

// way is one direction of an emulated link.
type way struct {
	from, to *os.File
	fault    atomic.Pointer[impairment]
	queue    chan packet // from read to write; a packet for which there is no room is lost
}

// packet is on its way.
type packet struct {
	due  time.Time
	data []byte
}

// Bounds of an emulated link.
const (
	emulatorQueue = 8192    // packets
	largestPacket = 1 << 16 // bytes
)

func newEmulatorRole(raw json.RawMessage) (role, any, error) {
	args, err := parse[emulatorArgs](raw)
	if err != nil {
		return nil, nil, err
	}
	var devices [2]*os.File
	for i, name := range args.Devices {
		if devices[i], err = openTUN(name); err != nil {
			return nil, nil, fmt.Errorf("make TUN device %s: %w", name, err)
		}
	}
	e := new(emulatorRole)
	for i := range e.ways {
		w := &way{from: devices[i], to: devices[1-i], queue: make(chan packet, emulatorQueue)}
		w.fault.Store(new(impairment))
		e.ways[i] = w
		go w.read() // both end with the process
		go w.write()
	}
	return e, nil, nil
}

func (e *emulatorRole) obey(do string, raw json.RawMessage) (any, error) {
	if do != "impair" { // changes what packets suffer that come from now on, on both ways
		return nil, errors.New("an emulator has no such command")
	}
	faults, err := parse[[2]impairment](raw)
	if err != nil {
		return nil, err
	}
	for i, w := range e.ways {
		w.fault.Store(&faults[i])
	}
	return nil, nil
}

// read takes packets from one device.
func (w *way) read() {
	b := make([]byte, largestPacket)
	for {
		n, err := w.from.Read(b)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "read a packet:", err)
			}
			return
		}
		f := w.fault.Load()
		if rand.Float64() < f.Loss {
			continue
		}
		delay := f.Delay
		if f.Jitter > 0 {
			delay += rand.N(f.Jitter)
		}
		select {
		case w.queue <- packet{due: time.Now().Add(delay), data: append([]byte(nil), b[:n]...)}:
		default:
		}
	}
}

// write gives them to the other device when they are due. What that does not take,
// because it is down, is lost.
func (w *way) write() {
	for p := range w.queue {
		if d := time.Until(p.due); d > 0 {
			pass(d)
		}
		_, _ = w.to.Write(p.data)
	}
}

// openTUN makes a TUN device, which lives as long as the file is open.
func openTUN(name string) (*os.File, error) {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	var request struct { // linux/if.h, struct ifreq
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:syscall.IFNAMSIZ-1], name)
	request.flags = syscall.IFF_TUN | syscall.IFF_NO_PI
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TUNSETIFF, uintptr(unsafe.Pointer(&request))); errno != 0 {
		_ = syscall.Close(fd)
		return nil, errno
	}
	return os.NewFile(uintptr(fd), name), nil
}
