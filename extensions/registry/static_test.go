package registry_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/bhrpc/bhrpc/extensions/registry"
	"github.com/bhrpc/bhrpc/spi"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens the static registry with a configuration in JSON.
func open(t testing.TB, with string) (spi.Registry, error) {
	t.Helper()
	cat := spi.NewCatalog()
	if err := registry.Register(cat); err != nil {
		t.Fatal(err)
	}
	return cat.Registries.Open(context.Background(), spi.Env{}, spi.Ref{Use: "static", With: spi.Raw{JSON: []byte(with)}})
}

const configured = `{"services": {"Greeter": ["10.0.0.1:7070", "[::1]:7071"], "demo.Math#1.0.0#blue": ["math.internal:80"], "Idle": []},
	"labels": {"[::1]:7071": {"zone": "eu1"}}}`

func TestStaticWatch(t *testing.T) {
	for _, tt := range []struct {
		service string
		want    []spi.Endpoint
	}{
		{"Greeter", []spi.Endpoint{{Address: "10.0.0.1:7070", Weight: 1}, {Address: "[::1]:7071", Weight: 1, Labels: map[string]string{"zone": "eu1"}}}},
		{"demo.Math#1.0.0#blue", []spi.Endpoint{{Address: "math.internal:80", Weight: 1}}},
		{"demo.Math", []spi.Endpoint{}},
		{"Idle", []spi.Endpoint{}},
		{"", []spi.Endpoint{}},
	} {
		t.Run(tt.service, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg, err := open(t, configured)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var updates [][]spi.Endpoint
				done := make(chan error, 1) // from the watch, once
				go func() {
					done <- reg.Watch(ctx, tt.service, func(set []spi.Endpoint) {
						updates = append(updates, set)
					})
				}()
				synctest.Wait()
				if len(updates) != 1 || !reflect.DeepEqual(updates[0], tt.want) {
					t.Errorf("updates: got %v, want one of %v", updates, tt.want)
				}
				select {
				case err := <-done:
					t.Fatalf("Watch before its context ended: got return with %v, want it to wait", err)
				default:
				}
				cancel()
				if err := <-done; err != nil {
					t.Errorf("Watch: got %v, want nil", err)
				}
				if err := reg.Close(); err != nil {
					t.Errorf("Close: got %v", err)
				}
				if err := reg.Close(); err != nil {
					t.Errorf("Close again: got %v", err)
				}
			})
		})
	}
}

// The slice belongs to whoever gets it.
func TestStaticWatchesShareNothing(t *testing.T) {
	reg, err := open(t, configured)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		err := reg.Watch(ctx, "Greeter", func(set []spi.Endpoint) {
			if set[0].Address != "10.0.0.1:7070" {
				t.Errorf("address: got %s, want 10.0.0.1:7070", set[0].Address)
			}
			set[0].Address = "spoilt"
		})
		if err != nil {
			t.Errorf("Watch with a context that has ended: got %v, want nil", err)
		}
	}
}

func TestStaticAnnounce(t *testing.T) {
	reg, err := open(t, configured)
	if err != nil {
		t.Fatal(err)
	}
	err = reg.Announce(t.Context(), spi.Registration{Service: "Greeter", Address: "10.0.0.9:7070"}, func(error) { t.Error("up: got a call, want none") })
	const want = "announce Greeter at 10.0.0.9:7070: a static registry is kept by hand; add the address to services.Greeter where consumers configure it, or start the provider without a registry"
	if err == nil || err.Error() != want {
		t.Errorf("Announce: got %v, want %s", err, want)
	}
}

func TestStaticValidates(t *testing.T) {
	for _, tt := range []struct {
		name, with string
		want       []string // none: no error
	}{
		{"good", configured, nil},
		{"nothing", `{}`, nil},
		{"no port", `{"services":{"A":["h:1","10.0.0.1"]}}`, []string{`services.A, entry 1, "10.0.0.1": want host:port, such as 10.0.0.7:7070 or [::1]:7070`}},
		{"no host", `{"services":{"A":[":7070"]}}`, []string{`services.A, entry 0, ":7070": want host:port`}},
		{"empty", `{"services":{"A":[""]}}`, []string{`services.A, entry 0, "": want host:port`}},
		{"port 0", `{"services":{"A":["h:0"]}}`, []string{`port "0" is not a number from 1 to 65535; want host:port`}},
		{"large port", `{"services":{"A":["h:65536"]}}`, []string{`port "65536" is not a number`}},
		{"named port", `{"services":{"A":["h:http"]}}`, []string{`port "http" is not a number`}},
		{"bare IPv6", `{"services":{"A":["::1"]}}`, []string{`"::1": want host:port`}},
		{"a URL", `{"services":{"A":["tcp://h:1"]}}`, []string{`"tcp://h:1": want host:port`}},
		{"twice", `{"services":{"A":["h:1","g:1","h:1"]}}`, []string{`services.A, entry 2, "h:1": it is the same as entry 0`}},
		{"no name", `{"services":{"":["h:1"]}}`, []string{`services: a service has no name`}},
		{"labels of nobody", `{"services":{"A":["h:7070"]},"labels":{"h:7071":{"zone":"a"}}}`, []string{`labels.h:7071: no service has that address; did you mean "h:7070"?`}},
		{"several", `{"services":{"A":["x"],"B":["y"]}}`, []string{`services.A, entry 0, "x"`, `services.B, entry 0, "y"`}},
		{"unknown key", `{"service":{}}`, []string{`did you mean "services"?`}},
		{"wrong type", `{"services":{"A":"h:1"}}`, []string{"services"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := open(t, tt.with)
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("Open: got error %v, want %q", err, tt.want)
			}
			for _, text := range tt.want {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("Open: got %v, want it to contain %q", err, text)
				}
			}
		})
	}
}

func ExampleRegister() {
	cat := spi.NewCatalog()
	if err := registry.Register(cat); err != nil {
		fmt.Println(err)
		return
	}
	reg, err := cat.Registries.Open(context.Background(), spi.Env{}, spi.Ref{
		Use: "static", With: spi.Raw{JSON: []byte(`{"services": {"Greeter": ["10.0.0.7:7070"]}}`)},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reg.Close()
	ctx, cancel := context.WithCancel(context.Background())
	_ = reg.Watch(ctx, "Greeter", func(endpoints []spi.Endpoint) {
		fmt.Println(endpoints[0].Address)
		cancel()
	})
	// Output: 10.0.0.7:7070
}
