//go:build fault

package main

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every kind holds what it promises, and prints what the manual shows.
func TestDrills(t *testing.T) {
	connected := []string{"connected conn= endpoint=a interval=200ms strikes=3", "connected conn= endpoint=b interval=200ms strikes=3"}
	struck := []string{
		"suspect conn= endpoint=a strike=1/3 silent=",
		"suspect conn= endpoint=a strike=2/3 silent=",
		"dead conn= endpoint=a strike=3/3 action=reconnect in-flight failed: ",
	}
	const back, healed, detected = "reconnected conn= endpoint=a attempt=1 down=", "drill link healed", "RESULT pass detected in "
	for _, tt := range []struct {
		kind string
		want [][]string
	}{
		{"freeze", [][]string{connected, {"drill link to a frozen both ways, sockets stay open"}, struck,
			{"provider a strike=3/3 action=disconnect freed: 1 conn, 1 handler cancelled", healed, back, detected}}},
		{"drop", [][]string{connected, {"drill what a sends is lost"}, struck, {"provider a reason=reset freed: 1 conn, 1 handler cancelled", healed, back, detected}}},
		{"half-open", [][]string{connected, {"drill the connection to a is forgotten"}, struck,
			{"provider a reason=superseded freed: 1 conn, 1 handler cancelled", back, healed, detected}}},
		{"slow-reader", [][]string{connected, {"drill what a sends passes at one byte in a second", "provider a ", healed, back, "RESULT pass "}}},
		{"reconnect-storm", [][]string{{"connected 200 consumers", "drill 200 connections are reset at once", "reconnected 200 of 200", "RESULT pass dials in the busiest"}}},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			status, stdout, stderr := drillHere(t, "drill", tt.kind, "--interval", "200ms")
			if status != 0 || stderr != "" {
				t.Errorf("got %d, %q, want 0", status, stderr)
			}
			var want []string
			for _, lines := range tt.want {
				want = append(want, lines...)
			}
			checkTimeLine(t, stdout, want)
		})
	}
}

// A plugin that is killed costs no call.
func TestDrillKillPlugin(t *testing.T) {
	status, stdout, stderr := drillHere(t, "drill", "kill-plugin", "--interval", "200ms")
	if status != 0 || stderr != "" {
		t.Errorf("got %d, %q, %s\nwant 0", status, stderr, stdout)
	}
	for _, want := range []string{", which is the plugin\n", " plugin exited  generation=1 pid=", " exit=signal: killed", " plugin restarted generation=6 pid=", "\nRESULT pass   5 kills, ", " failed=0\n"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("got %s\nwant %q in it", stdout, want)
		}
	}
}

// A build that takes four strikes, or two, does not pass.
func TestDrillNoticesAnotherNumberOfStrikes(t *testing.T) {
	for _, tt := range []struct{ kind, strikes, want string }{
		{"freeze", "4", "later than 900ms"},
		{"drop", "4", "later than 900ms"},
		{"half-open", "4", "later than 900ms"},
		{"freeze", "2", "before 3 x interval"},
	} {
		t.Run(tt.kind+" "+tt.strikes, func(t *testing.T) {
			status, stdout, stderr := drillHere(t, "drill", tt.kind, "--interval", "200ms", "--strikes", tt.strikes)
			if status != 1 || stderr != "" || !strings.Contains(stdout, "\nRESULT fail (consumer: ") || !strings.Contains(stdout, tt.want) {
				t.Errorf("got %d, %q, %s\nwant 1, RESULT fail and %q", status, stderr, stdout, tt.want)
			}
		})
	}
}

// The user's own providers: what only they can see is not looked at.
func TestDrillOwnProviders(t *testing.T) {
	for _, tt := range []struct {
		name      string
		providers int
	}{
		{"one", 1}, {"two", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := []string{"drill", "freeze", "--interval", "500ms"}
			for range tt.providers {
				args = append(args, "--provider", provideElsewhere(t))
			}
			status, stdout, stderr := drillHere(t, args...)
			if status != 0 || stderr != "" || strings.Contains(stdout, "provider a") {
				t.Errorf("got %d, %q, %s\nwant 0 and nothing about the provider's side", status, stderr, stdout)
			}
		})
	}
}

// A provider that cannot be called answers heartbeats all the same.
func TestDrillWithoutCalls(t *testing.T) {
	address := provide(t, map[string]any{"provider.introspection": false})
	_, stdout, _ := execute(t, address, "drill", "corrupt", "--interval", "200ms", "--provider", "ADDR")
	for _, want := range []string{"calls          none: the provider answers heartbeats only", "reason=protocol_error", "reconnected ", "calls=0 retried=0 failed=0"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("got %s, want %q in it", stdout, want)
		}
	}
}

// provideElsewhere serves a Shop in another process until the test ends.
func provideElsewhere(t *testing.T) (address string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SERVE_SHOP=1", "BHRPC_PROVIDER_LISTEN=127.0.0.1:0")
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stderr).ReadString('\n')
	_, address, ok := strings.Cut(line, "addr=")
	if err != nil || !ok {
		t.Fatalf("got %q, %v, want where it listens", line, err)
	}
	address, _, _ = strings.Cut(address, " ")
	return address
}

func TestDrillNobodyThere(t *testing.T) {
	status, stdout, _ := execute(t, "no address", "drill", "drop", "--provider", "127.0.0.1:1")
	if status != 1 || !strings.HasPrefix(stdout, "RESULT fail (not connected to every provider within 10s)") {
		t.Errorf("got %d, %s, want 1 and that it is not connected", status, stdout)
	}
}

// What the README shows is what is printed, numbers and the order of what two sides do
// at once aside.
func TestReadmeDrill(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, ok := strings.Cut(string(page), "\n$ go run ./cmd/bhrpc drill freeze\n")
	shown, _, closed := strings.Cut(shown, "```")
	if !ok || !closed {
		t.Fatal("README.md does not show what drill freeze prints")
	}
	status, printed, _ := drillHere(t, "drill", "freeze")
	numbers := regexp.MustCompile(`[0-9]+(\.[0-9]+)?(ms|s\b)?`)
	lines := func(text string) string {
		sorted := strings.Split(strings.TrimSpace(numbers.ReplaceAllString(text, "N")), "\n")
		slices.Sort(sorted)
		return strings.Join(sorted, "\n")
	}
	if got, want := lines(printed), lines(shown); status != 0 || got != want {
		t.Errorf("got %d\n%s\nwant 0\n%s", status, got, want)
	}
}
