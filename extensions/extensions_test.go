package extensions_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/extensions"
	"github.com/bhrpc/bhrpc/extensions/all"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/bhrpc/bhrpc/spi/spitest"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func catalog(t testing.TB) *spi.Catalog {
	t.Helper()
	cat := spi.NewCatalog()
	if err := extensions.Register(cat); err != nil {
		t.Fatalf("Register: got %v, want no error", err)
	}
	return cat
}

// open opens an extension without configuration.
func open[T any](t testing.TB, p *spi.Point[T], name string) T {
	t.Helper()
	v, err := p.Open(t.Context(), spi.Env{}, spi.Ref{Use: name})
	if err != nil {
		t.Fatalf("Open(%q): got %v, want no error", name, err)
	}
	if closer, ok := any(v).(io.Closer); ok {
		t.Cleanup(func() {
			if err := closer.Close(); err != nil {
				t.Errorf("Close of %s: got %v, want no error", name, err)
			}
		})
	}
	return v
}

func TestRegister(t *testing.T) {
	cat := catalog(t)
	var got []string
	for _, in := range cat.List() {
		if in.Source != "built-in" {
			t.Errorf("source of %s %q: got %q, want built-in", in.Kind, in.Name, in.Source)
		}
		if in.Doc == "" || !strings.HasSuffix(in.Doc, ".") {
			t.Errorf("doc of %s %q: got %q, want sentences", in.Kind, in.Name, in.Doc)
		}
		got = append(got, strings.Join(append([]string{in.Kind, in.Name}, in.Aliases...), " "))
	}
	want := []string{
		"serializer cbor", "serializer gob", "serializer json", "serializer json-std", "serializer msgpack",
		"loadbalancer p2c", "loadbalancer random", "loadbalancer round-robin robin", "loadbalancer weighted-random enhanced_randomweight randomweight",
		"proxy dynamic", "proxy reflect jdk",
		"heartbeat idle", "heartbeat none", "heartbeat phi-accrual", "heartbeat three-strike",
		"registry static",
		"compressor gzip", "compressor s2", "compressor zstd",
		"interceptor access-log", "interceptor recover",
	}
	if !slices.Equal(got, want) {
		t.Errorf("Register: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if err := extensions.Register(cat); !errors.Is(err, spi.ErrDuplicate) {
		t.Errorf("Register twice: got %v, want ErrDuplicate", err)
	}
}

// Every serializer, load balancer, compressor, heartbeat and interceptor that is
// registered goes through the conformance kit, without being named here.
func TestConformance(t *testing.T) {
	cat := catalog(t)
	for _, in := range cat.Serializers.List() {
		t.Run("serializer/"+in.Name, func(t *testing.T) { spitest.Serializer(t, open(t, cat.Serializers, in.Name)) })
	}
	for _, in := range cat.LoadBalancers.List() {
		t.Run("loadbalancer/"+in.Name, func(t *testing.T) { spitest.LoadBalancer(t, open(t, cat.LoadBalancers, in.Name)) })
	}
	for _, in := range cat.Compressors.List() {
		t.Run("compressor/"+in.Name, func(t *testing.T) { spitest.Compressor(t, open(t, cat.Compressors, in.Name)) })
	}
	for _, in := range cat.Heartbeats.List() {
		t.Run("heartbeat/"+in.Name, func(t *testing.T) { spitest.Heartbeat(t, open(t, cat.Heartbeats, in.Name)) })
	}
	for _, in := range cat.Interceptors.List() {
		t.Run("interceptor/"+in.Name, func(t *testing.T) { spitest.Interceptor(t, open(t, cat.Interceptors, in.Name)) })
	}
}

func TestWriteDocs(t *testing.T) {
	var got bytes.Buffer
	if err := extensions.WriteDocs(&got, all.Extensions); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "docs", "extensions.md")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s is not what the catalog says; run: go test ./extensions -run TestWriteDocs -update\ngot\n%s", path, got.Bytes())
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteDocsReportsItsWriter(t *testing.T) {
	if err := extensions.WriteDocs(full{}); err == nil {
		t.Error("WriteDocs to a writer that fails: got no error, want one")
	}
}
