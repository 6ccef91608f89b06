//go:build (faultnet || faultlong) && linux

package fault_test

import "testing"

// device is the end of a link in a namespace; nearIP and farIP are the addresses of
// the two ends.
const (
	device = "eth0"
	nearIP = "10.99.0.1"
	farIP  = "10.99.0.2"
)

// joinCable joins two namespaces by a pair of virtual Ethernet devices.
func joinCable(near, far *netns) {
	near.t.Helper()
	near.ip("link add name " + device + " type veth peer name " + device + " netns " + far.name)
	near.attach(device, nearIP)
	far.attach(device, farIP)
}

// attach gives a device its address and takes it into use.
func (n *netns) attach(device, ip string) {
	n.t.Helper()
	n.ip("address add " + ip + "/24 dev " + device)
	n.ip("link set " + device + " up")
}

// unplug takes the cable out at this end, and plug puts it in again.
func (n *netns) unplug() { n.t.Helper(); n.ip("link set " + device + " down") }
func (n *netns) plug()   { n.t.Helper(); n.ip("link set " + device + " up") }

// wire is a link that an emulator carries.
type wire struct{ emulator *proc }

// joinWire joins two namespaces by an emulator that impairs nothing yet.
func joinWire(t *testing.T, near, far *netns) *wire {
	t.Helper()
	const moved = "eth1"
	w := &wire{emulator: startUnder(t, near.under(), "emulator", emulatorArgs{Devices: [2]string{device, moved}}, nil)}
	near.ip("link set " + moved + " netns " + far.name)
	far.ip("link set " + moved + " name " + device)
	near.attach(device, nearIP)
	far.attach(device, farIP)
	return w
}

// impair makes packets suffer from now on, on the way to the far end and on the way
// back.
func (w *wire) impair(there, back impairment) {
	w.emulator.t.Helper()
	w.emulator.ask("impair", [2]impairment{there, back}, nil)
}

// nat is a router that hides the near end behind an address of its own.
type nat struct{ *netns }

// joinNAT joins two namespaces by a third one. Its table of connections is strict, as
// that of most such routers: what belongs to no connection that it saw begin is
// dropped.
func joinNAT(t *testing.T, near, far *netns) nat {
	t.Helper()
	const insideIP, gateway = "10.98.0.1", "10.98.0.2"
	router := newNetns(t)
	near.ip("link add name " + device + " type veth peer name inside netns " + router.name)
	far.ip("link add name " + device + " type veth peer name outside netns " + router.name)
	near.attach(device, insideIP)
	router.attach("inside", gateway)
	router.attach("outside", nearIP)
	far.attach(device, farIP)
	near.ip("route add default via " + gateway)
	router.run("sysctl -q -w net.ipv4.ip_forward=1 net.netfilter.nf_conntrack_tcp_loose=0")
	router.rules(`
table inet fault {
	chain in { type filter hook input priority filter; ct state invalid drop; }
	chain through { type filter hook forward priority filter; ct state invalid drop; }
	chain out { type nat hook postrouting priority srcnat; oifname outside masquerade; }
}`)
	return nat{router}
}

// forget empties the table of connections.
func (r nat) forget() { r.t.Helper(); r.run("conntrack -F") }
