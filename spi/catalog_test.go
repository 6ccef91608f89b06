package spi_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// nothing opens anything as nil.
func nothing[T any](context.Context, spi.Env, []byte) (T, error) {
	var none T
	return none, nil
}

// TestCatalog: every field is an empty point of its own, by its configuration key,
// and List shows all of them.
func TestCatalog(t *testing.T) {
	kinds := []string{"serializer", "loadbalancer", "proxy", "heartbeat", "registry", "compressor", "interceptor"}
	cat := spi.NewCatalog()
	if got := cat.List(); len(got) != 0 {
		t.Errorf("List of a new catalog: got %v, want nothing", got)
	}
	points := reflect.ValueOf(cat).Elem()
	if points.NumField() != len(kinds)+1 { // the PluginLoader is no point
		t.Fatalf("got %d points, want %d: add the new one here", points.NumField()-1, len(kinds))
	}
	for i, want := range kinds {
		point, ok := points.Field(i).Interface().(interface{ Kind() string })
		if !ok || points.Field(i).IsNil() || point.Kind() != want {
			t.Errorf("point %s: got %v, want kind %s", points.Type().Field(i).Name, points.Field(i), want)
		}
	}
	if err := errors.Join(
		cat.Interceptors.Add(spi.Info{Name: "a", Source: "plugin x"}, nothing[spi.Interceptor]),
		cat.Compressors.Add(spi.Info{Name: "a", Source: "plugin x"}, nothing[spi.Compressor]),
		cat.Heartbeats.Add(spi.Info{Name: "a", Source: "plugin x"}, nothing[spi.Heartbeat]),
		cat.Registries.Add(spi.Info{Name: "a", Source: "plugin x"}, nothing[spi.Registry]),
		cat.Proxies.Add(spi.Info{Name: "a", Source: "plugin x"}, nothing[spi.Proxy]),
		cat.Serializers.Add(spi.Info{Name: "z", Source: "plugin x"}, nothing[spi.Serializer]),
		cat.Serializers.Add(spi.Info{Name: "a", Source: "plugin x"}, nothing[spi.Serializer]),
		cat.LoadBalancers.Add(spi.Info{Name: "m", Source: "plugin x"}, nothing[spi.LoadBalancer]),
	); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, info := range cat.List() {
		fmt.Fprintf(&got, "%s/%s ", info.Kind, info.Name)
	}
	if want := "serializer/a serializer/z loadbalancer/m proxy/a heartbeat/a registry/a compressor/a interceptor/a "; got.String() != want {
		t.Errorf("List: got %s, want %s", got.String(), want)
	}
	if got := spi.NewCatalog().List(); len(got) != 0 {
		t.Errorf("List of another catalog: got %v, want nothing", got)
	}
}

func TestCatalogResolve(t *testing.T) {
	cat := spi.NewCatalog()
	if err := cat.Serializers.Add(spi.Info{Name: "blob", Source: "plugin acme", AnyKeys: true}, func(context.Context, spi.Env, []byte) (spi.Serializer, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	found, err := cat.Resolve("serializer", spi.Ref{Use: "blob", With: spi.Raw{JSON: []byte(`{"anything": 1}`)}})
	if err != nil || found.Info.Source != "plugin acme" {
		t.Errorf("got %+v, %v, want blob, any of its keys accepted", found, err)
	}
	if _, err := cat.Resolve("teapot", spi.Ref{Use: "blob"}); !errors.Is(err, spi.ErrUnknown) {
		t.Errorf("unknown kind: got %v, want %v", err, spi.ErrUnknown)
	}
	cat.Absent("late", errors.New("no such file"))
	_, err = cat.Resolve("loadbalancer", spi.Ref{Use: "zoned"})
	if want := `plugin "late", which is optional, did not start: no such file`; !errors.Is(err, spi.ErrUnknown) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want it to say %s", err, want)
	}
}
