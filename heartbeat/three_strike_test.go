package heartbeat_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/heartbeat"
	"github.com/bhrpc/bhrpc/spi"
)

func TestThreeStrikeTiming(t *testing.T) {
	for _, tt := range []struct {
		name string
		role spi.Role
		with string
		want spi.Timing
	}{
		{"default", spi.RoleConsumer, "", spi.Timing{Interval: 5 * time.Second, Strikes: 3, Silence: 20*time.Second + look}},
		{"no role", "", "", spi.Timing{Interval: 5 * time.Second, Strikes: 3, Silence: 20*time.Second + look}},
		{"provider", spi.RoleProvider, "", spi.Timing{Interval: 10 * time.Second, Strikes: 3, Silence: 40*time.Second + look}},
		{"wan", spi.RoleConsumer, `{"preset": "wan"}`, spi.Timing{Interval: 10 * time.Second, Strikes: 3, Silence: 40*time.Second + look}},
		{"wan provider", spi.RoleProvider, `{"preset": "wan"}`, spi.Timing{Interval: 20 * time.Second, Strikes: 3, Silence: 80*time.Second + look}},
		{"fast", spi.RoleConsumer, `{"preset": "fast"}`, spi.Timing{Interval: time.Second, Strikes: 3, Silence: 4*time.Second + look}},
		{"fast provider", spi.RoleProvider, `{"preset": "fast", "strikes": 1}`, spi.Timing{Interval: 2 * time.Second, Strikes: 1, Silence: 4*time.Second + look}},
		{"interval at both", spi.RoleProvider, `{"interval": "200ms", "strikes": 20}`, spi.Timing{Interval: 200 * time.Millisecond, Strikes: 20, Silence: 4220 * time.Millisecond}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := openAt(t, tt.role, "three-strike", tt.with).Timing(); got != tt.want {
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
