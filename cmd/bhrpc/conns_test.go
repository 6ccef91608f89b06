//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/internal/control"
	"github.com/bhrpc/bhrpc/spi"
)

// quiet gives the test a directory for control sockets of its own.
func quiet(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("TMPDIR", dir)
}

// connected is a provider and a consumer in this process that have talked.
func connected(t *testing.T) (address string) {
	t.Helper()
	address = provide(t, map[string]any{})
	app, err := bhrpc.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Close() })
	if _, err := bhrpc.Call[int](t.Context(), app, "Shop.Price", Order{"tea", 2}); err != nil {
		t.Fatal(err)
	}
	return address
}

func TestConns(t *testing.T) {
	quiet(t)
	address := connected(t)
	status, stdout, stderr := execute(t, address, "conns")
	if status != 0 || stderr != "" {
		t.Fatalf("got %d, %s, want 0", status, stderr)
	}
	const head = `^SIDE +PEER +STATE +STRIKES +RTT +CALLS +IN +AGO +OUT +AGO +SIGN +SERIALIZER +AGE +NOTES\n`
	process := fmt.Sprintf(`bhrpc.test, process %d\n`, os.Getpid())
	const rest = ` +up +0/3 +\S+ +[01] +\d+B +\S+ +\d+B +\S+ +\S+ +json +\S+ +(-|queued=\d+B)\n` // an answer that was taken may not be counted yet
	want := regexp.MustCompile(head + process + `provider +127\.0\.0\.1:\d+` + rest + process + `consumer +ADDR` + rest + `$`)
	if !want.MatchString(stdout) {
		t.Errorf("got\n%s\nwant %s", stdout, want)
	}
	if status, again, _ := execute(t, address, "conns", "--pid", fmt.Sprint(os.Getpid())); status != 0 || strings.Count(again, "\n") != 5 {
		t.Errorf("--pid: got %d,\n%s\nwant the same", status, again)
	}
	var reports []control.Report
	status, stdout, _ = execute(t, address, "conns", "--json")
	if err := json.Unmarshal([]byte(stdout), &reports); status != 0 || err != nil || len(reports) != 2 || reports[1].Conns[0].Peer != "ADDR" {
		t.Errorf("--json: got %d, %v, %s", status, err, stdout)
	}
}

func TestConnsNone(t *testing.T) {
	quiet(t)
	for _, tt := range []struct {
		name           string
		args           []string
		status         int
		stdout, stderr string // what it begins with
	}{
		{"none", []string{"conns"}, 1, "", "bhrpc: no process of this user has a control socket in " + os.Getenv("XDG_RUNTIME_DIR") + "/bhrpc or "},
		{"process", []string{"conns", "--pid", "1"}, 1, "", "bhrpc: no process 1 of this user has a control socket in "},
		{"JSON", []string{"conns", "--json"}, 0, "[]\n", ""},
		{"no process", []string{"conns", "--pid", "0"}, 2, "", "bhrpc: --pid 0 is not the number of a process\n"},
		{"no number", []string{"conns", "--pid", "me"}, 2, "", `bhrpc: invalid argument "me" for "--pid" flag`},
		{"too many words", []string{"conns", "127.0.0.1:7070"}, 2, "", `bhrpc: conns looks at the processes of this user, not at "127.0.0.1:7070"; --pid chooses one of them, and bhrpc ls ADDRESS asks`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := execute(t, "no address", tt.args...)
			if status != tt.status || stdout != tt.stdout || !strings.HasPrefix(stderr, tt.stderr) || (tt.stderr == "") != (stderr == "") {
				t.Errorf("got  %d, %q, %q\nwant %d, %q, %q", status, stdout, stderr, tt.status, tt.stdout, tt.stderr)
			}
			if tt.status == 1 && !strings.Contains(stderr, "\n  start a program that uses bhrpc, as the same user") {
				t.Errorf("got %q, want what to do", stderr)
			}
		})
	}
}

// blocks ends a watch when it has shown so many.
type blocks struct {
	text bytes.Buffer
	left int
	stop func()
}

func (b *blocks) Write(text []byte) (int, error) {
	if b.left--; b.left == 0 {
		b.stop()
	}
	return b.text.Write(text)
}

func TestConnsWatch(t *testing.T) {
	quiet(t)
	connected(t)
	for _, tt := range []struct {
		name    string
		pid     int
		asJSON  bool
		inPlace bool
		want    string // each of three blocks
	}{
		{"blocks", 0, false, false, `\d\d:\d\d:\d\d\nSIDE .*\n.*process.*\nprovider.*\n.*process.*\nconsumer.*\n\n`},
		{"none", 1, false, false, `\d\d:\d\d:\d\d\nno process 1 .*\n  start .*\n\n`},
		{"JSON", 0, true, false, `\[\{"version":1,.*\}\]\n`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := &blocks{left: 3, stop: cancel}
			c := connsPrinter{dirs: control.Directories(os.Getenv("XDG_RUNTIME_DIR")), pid: tt.pid, asJSON: tt.asJSON, out: out, errs: out}
			if err := c.watch(ctx, time.Millisecond); err != nil {
				t.Error(err)
			}
			if got := out.text.String(); !regexp.MustCompile(`^(` + tt.want + `){3}$`).MatchString(got) {
				t.Errorf("got\n%q\nwant three times %s", got, tt.want)
			}
		})
	}
	var out bytes.Buffer
	if err := (connsPrinter{out: &out}).block(nil, nil, true); err != nil || !regexp.MustCompile(`^\x1b\[H[^\n]+\x1b\[K\n.*\x1b\[K\n`).MatchString(out.String()) || !strings.HasSuffix(out.String(), "\x1b[J") {
		t.Errorf("in place: got %q, %v", out.String(), err)
	}
}

func TestConnsTable(t *testing.T) {
	second := spi.Duration(time.Second)
	var out strings.Builder
	err := writeConns(&out, []control.Report{
		{PID: 7, Program: "idle"},
		{PID: 8, Program: "sh\x1bop", Conns: []core.ConnInfo{
			{Side: "consumer", Peer: "127.0.0.1:17070", State: core.ConnSuspect, Serializer: "gob", InFlight: 3, BytesIn: 1023, BytesOut: 1024, Age: 59 * second, LastIn: 7 * second,
				LastOut: second / 4, ID: 1, Strikes: 1, StrikesOf: 3, RTT: second / 2500, LastSign: 7 * second, Reconnects: 2, Late: 1, Queued: 4096},
			{Side: "consumer", Peer: "b:1", State: core.ConnBackoff, Age: 61 * second, Error: "connection refused\nor so"},
			{Side: "provider", Peer: "c:1", State: core.ConnConnecting, Age: 3661 * second},
			{Side: "provider", Peer: "d:1", State: core.ConnDraining, Serializer: "json", BytesIn: 5 << 20, BytesOut: 3 << 40, Age: 90_000 * second, LastIn: 12 * second, ID: 2, Strikes: 2, RTT: second / 50},
		}},
	})
	const want = `SIDE      PEER             STATE       STRIKES  RTT    CALLS  IN     AGO    OUT   AGO    SIGN  SERIALIZER  AGE    NOTES
idle, process 7
no connections
sh?op, process 8
consumer  127.0.0.1:17070  suspect     1/3      0.4ms  3      1023B  7.0s   1.0K  250ms  7.0s  gob         59.0s  reconnects=2 late=1 queued=4.0K
consumer  b:1              backoff     -        -      -      -      -      -     -      -     -           1m01s  connection refused;or so
provider  c:1              connecting  -        -      0      0B     -      0B    -      -     -           1h01m  -
provider  d:1              draining    2        20ms   0      5.0M   12.0s  3.0T  0ms    0ms   json        1d01h  -
`
	if err != nil || out.String() != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, out.String(), want)
	}
	if head, _, _ := strings.Cut(out.String(), "\n"); len(head) > 120 {
		t.Errorf("got %d characters, want 120 at most", len(head))
	}
}
