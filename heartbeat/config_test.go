package heartbeat_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/heartbeat"
	"github.com/bhrpc/bhrpc/spi"
)

func TestTiming(t *testing.T) {
	for _, tt := range []struct {
		name string
		role spi.Role
		use  string
		with string
		want spi.Timing
	}{
		{"default", spi.RoleConsumer, "three-strike", "", spi.Timing{Interval: 5 * time.Second, Strikes: 3, Silence: 20*time.Second + look}},
		{"no role", "", "three-strike", "", spi.Timing{Interval: 5 * time.Second, Strikes: 3, Silence: 20*time.Second + look}},
		{"provider", spi.RoleProvider, "three-strike", "", spi.Timing{Interval: 10 * time.Second, Strikes: 3, Silence: 40*time.Second + look}},
		{"wan", spi.RoleConsumer, "three-strike", `{"preset": "wan"}`, spi.Timing{Interval: 10 * time.Second, Strikes: 3, Silence: 40*time.Second + look}},
		{"wan provider", spi.RoleProvider, "three-strike", `{"preset": "wan"}`, spi.Timing{Interval: 20 * time.Second, Strikes: 3, Silence: 80*time.Second + look}},
		{"fast", spi.RoleConsumer, "three-strike", `{"preset": "fast"}`, spi.Timing{Interval: time.Second, Strikes: 3, Silence: 4*time.Second + look}},
		{"fast provider", spi.RoleProvider, "three-strike", `{"preset": "fast", "strikes": 1}`, spi.Timing{Interval: 2 * time.Second, Strikes: 1, Silence: 4*time.Second + look}},
		{"interval at both", spi.RoleProvider, "three-strike", `{"interval": "200ms", "strikes": 20}`, spi.Timing{Interval: 200 * time.Millisecond, Strikes: 20, Silence: 4220 * time.Millisecond}},
		{"idle at both", spi.RoleProvider, "idle", "", spi.Timing{Interval: 5 * time.Second, Silence: 15500 * time.Millisecond}},
		{"phi-accrual at both", spi.RoleProvider, "phi-accrual", "", spi.Timing{Interval: 2 * time.Second, Silence: 30500 * time.Millisecond}},
		{"none", spi.RoleProvider, "none", "", spi.Timing{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := openAt(t, tt.role, tt.use, tt.with).Timing(); got != tt.want {
				t.Errorf("Timing: got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestThreeStrikeFor(t *testing.T) {
	got := heartbeat.DefaultThreeStrikeConfig().For(spi.RoleProvider)
	want := heartbeat.ThreeStrikeConfig{Preset: "lan", Interval: spi.Duration(10 * time.Second), Strikes: 3, Life: "any_answer", LocalPause: spi.Duration(5 * time.Second)}
	if got != want {
		t.Errorf("For(provider): got %+v, want %+v", got, want)
	}
	if again := got.For(spi.RoleConsumer); again != want {
		t.Errorf("For of what For returned: got %+v, want the same %+v", again, want)
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name, use, with string
		want            []string // of the error; nil: none
	}{
		{"nothing", "three-strike", "", nil},
		{"everything", "three-strike", `{"preset": "wan", "interval": "100ms", "strikes": 20, "life": "pong_only", "local_pause": "10ms"}`, nil},
		{"longest", "three-strike", `{"interval": "10m", "local_pause": "10m"}`, nil},
		{"no unit", "three-strike", `{"interval": 5}`, []string{"interval", "5 has no unit", "such as 250ms"}},
		{"too short", "three-strike", `{"interval": "99ms"}`, []string{"interval: 99ms is too short", "write 100ms to 10m"}},
		{"negative", "three-strike", `{"interval": "-1s"}`, []string{"interval: -1s is too short"}},
		{"too long", "three-strike", `{"interval": "10m1s"}`, []string{"interval: 10m1s is too long", "write 100ms to 10m"}},
		{"no strike", "three-strike", `{"strikes": 0}`, []string{"strikes: 0", "write 1 to 20", "the heartbeat none"}},
		{"too many strikes", "three-strike", `{"strikes": 21}`, []string{"strikes: 21", "write 1 to 20", "a longer interval"}},
		{"misspelt life", "three-strike", `{"life": "pongonly"}`, []string{`life: unknown value "pongonly"`, `did you mean "pong_only"?`, "known: any_answer, pong_only"}},
		{"misspelt preset", "three-strike", `{"preset": "lam"}`, []string{`preset: unknown value "lam"`, `did you mean "lan"?`, "known: lan, wan, fast"}},
		{"pause too short", "three-strike", `{"local_pause": "99ms"}`, []string{"local_pause: 99ms", "write 100ms to 10m, or 0s"}},
		{"pause too long", "three-strike", `{"local_pause": "11m"}`, []string{"local_pause: 11m0s", "write 100ms to 10m, or 0s"}},
		{"all of it", "three-strike", `{"preset": "x", "interval": "1ns", "strikes": -1, "life": "x"}`, []string{"preset: ", "interval: ", "strikes: ", "life: "}},
		{"idle", "idle", `{"writer_idle": "10m", "reader_idle": "20m"}`, nil},
		{"idle too short", "idle", `{"writer_idle": "9ms"}`, []string{"writer_idle: 9ms is too short", "write 100ms to 10m"}},
		{"idle without time to answer", "idle", `{"reader_idle": "9s"}`, []string{"reader_idle: 9s leaves no time to answer a PING that is sent after 5s", "at least twice writer_idle"}},
		{"idle for hours", "idle", `{"reader_idle": "61m"}`, []string{"reader_idle: 1h1m0s is too long"}},
		{"phi", "phi-accrual", `{"interval": "100ms", "floor": "100ms", "ceiling": "200ms", "pause": "0s", "deviation": "1ms", "suspect": 1, "dead": 300}`, nil},
		{"phi upside down", "phi-accrual", `{"suspect": 10, "dead": 10}`, []string{"dead: 10 is not above suspect, 10", "about twice suspect"}},
		{"phi suspects everybody", "phi-accrual", `{"suspect": 0}`, []string{"suspect: 0 would suspect everybody"}},
		{"phi beyond numbers", "phi-accrual", `{"dead": 301}`, []string{"dead: 301 is not above suspect, 5, and at most 300"}},
		{"phi too often", "phi-accrual", `{"interval": "1ms"}`, []string{"interval: 1ms is too short"}},
		{"phi without deviation", "phi-accrual", `{"deviation": "0s"}`, []string{"deviation: 0s is not between 1ms and 1h"}},
		{"phi negative pause", "phi-accrual", `{"pause": "-1s"}`, []string{"pause: -1s is not between 0s and 1h"}},
		{"phi floor", "phi-accrual", `{"floor": "1s"}`, []string{"floor: 1s leaves no time", "at least the interval, 2s"}},
		{"phi ceiling below floor", "phi-accrual", `{"ceiling": "4s"}`, []string{"ceiling: 4s is not at least floor"}},
		{"a key for none", "none", `{"interval": "5s"}`, []string{"interval"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := catalog(t).Heartbeats.Resolve(spi.Ref{Use: tt.use, With: spi.Raw{JSON: []byte(tt.with)}})
			if tt.want == nil && err != nil {
				t.Fatalf("got %v, want no error", err)
			}
			for _, text := range tt.want {
				if err == nil || !strings.Contains(err.Error(), text) {
					t.Errorf("got %v, want an error with %q", err, text)
				}
			}
		})
	}
}
