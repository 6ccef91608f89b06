//go:build (faultnet || faultlong) && linux

package fault_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// netns is a network namespace: interfaces, addresses, rules and sockets of its own.
// It goes with the test; if the test binary was killed, with the next run.
type netns struct {
	t    *testing.T
	name string
}

// netnsDir is where ip keeps namespaces by name.
const netnsDir = "/run/netns"

// netnsName matches the names of namespaces of this package: the process id of the
// test binary that made one, and a letter.
var netnsName = regexp.MustCompile(`^bf([0-9]+)[a-z]$`)

// newNetns makes a namespace with a loopback interface. It skips the test where that
// is impossible.
func newNetns(t *testing.T) *netns {
	t.Helper()
	needNetwork(t)
	sweepNetns(t)
	for letter := 'a'; letter <= 'z'; letter++ {
		n := &netns{t: t, name: fmt.Sprintf("bf%d%c", os.Getpid(), letter)}
		if _, err := os.Lstat(filepath.Join(netnsDir, n.name)); err == nil {
			continue
		}
		output(t, "", "ip", "netns", "add", n.name)
		t.Cleanup(func() { output(t, "", "ip", "netns", "delete", n.name) })
		n.ip("link set lo up")
		return n
	}
	t.Fatal("got 26 namespaces of this process, want some of them removed")
	return nil
}

// sweepNetns removes the namespaces of test binaries that were killed.
func sweepNetns(t *testing.T) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(netnsDir, "bf*"))
	must(t, err)
	for _, path := range found {
		m := netnsName.FindStringSubmatch(filepath.Base(path))
		if m == nil {
			continue
		}
		if _, err := os.Stat("/proc/" + m[1]); os.IsNotExist(err) {
			_ = exec.Command("ip", "netns", "delete", m[0]).Run() // another run may be sweeping too
		}
	}
}

// needNetwork skips a test where networks cannot be broken, or fails it if
// BHRPC_FAULTNET is "must".
func needNetwork(t *testing.T) {
	t.Helper()
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	for _, tool := range []string{"ip", "tc", "ss", "nft", "conntrack", "/dev/net/tun"} {
		_, err := os.Stat(tool)
		if _, found := exec.LookPath(tool); err != nil && found != nil {
			missing = append(missing, tool)
		}
	}
	switch {
	case len(missing) == 0:
	case os.Getenv("BHRPC_FAULTNET") == "must":
		t.Fatalf("cannot break networks without %s", strings.Join(missing, ", "))
	default:
		t.Skipf("cannot break networks without %s; on Debian: apt-get install iproute2 nftables conntrack", strings.Join(missing, ", "))
	}
}

// output runs a command with an input, and returns what it printed.
func output(t *testing.T, input string, line ...string) string {
	t.Helper()
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s%s", strings.Join(line, " "), err, input, out)
	}
	return string(out)
}

// ip runs ip with the words of args in the namespace.
func (n *netns) ip(args string) {
	n.t.Helper()
	output(n.t, "", append([]string{"ip", "-n", n.name}, strings.Fields(args)...)...)
}

// under is the command line that enters the namespace; ip becomes what follows, so
// signals meet it.
func (n *netns) under() []string { return []string{"ip", "netns", "exec", n.name} }

// run runs a command within.
func (n *netns) run(args string) string {
	n.t.Helper()
	return output(n.t, "", append(n.under(), strings.Fields(args)...)...)
}

// provider starts a provider process within, and returns where it listens.
func (n *netns) provider(args providerArgs) (*proc, string) {
	n.t.Helper()
	var address string
	p := startUnder(n.t, n.under(), "provider", args, &address)
	return p, address
}

// consumer starts a consumer process within.
func (n *netns) consumer(keys map[string]any, addresses ...string) *proc {
	n.t.Helper()
	return startUnder(n.t, n.under(), "consumer", consumerArgs{Addresses: addresses, Keys: keys}, nil)
}

// filter treats what comes in from other namespaces as rules say, each as nft writes
// it, instead of as before: without any, everything comes in.
func (n *netns) filter(rules ...string) {
	n.t.Helper()
	text := ""
	if len(rules) > 0 {
		text = "table inet fault {\n chain in {\n  type filter hook input priority filter;\n  iifname lo accept\n  " + strings.Join(rules, "\n  ") + "\n }\n}\n"
	}
	n.rules(text)
}

// rules gives the namespace these rules and no others.
func (n *netns) rules(text string) {
	n.t.Helper()
	output(n.t, "flush ruleset\n"+text, append(n.under(), "nft", "-f", "-")...)
}

// rate bounds what leaves by a device.
func (n *netns) rate(device, rate string) {
	n.t.Helper()
	n.run("tc qdisc replace dev " + device + " root tbf rate " + rate + " burst 64kb latency 100ms")
}

// sockets returns the TCP sockets within that are in one of the states of ss and
// match its filter: a line each.
func (n *netns) sockets(filter string) []string {
	n.t.Helper()
	return strings.FieldsFunc(n.run("ss -tanH "+filter), func(r rune) bool { return r == '\n' })
}
