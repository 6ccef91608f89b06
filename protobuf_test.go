package bhrpc_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/extensions/all"
	"github.com/bhrpc/bhrpc/spi"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type Messages struct{}

func (Messages) Join(_ context.Context, a, b *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	return wrapperspb.String(a.Value + b.Value), nil
}

func (Messages) Plain(name string) (string, error) { return "plain " + name, nil }

func TestProtobuf(t *testing.T) {
	cfg, _ := load(t, map[string]any{"provider.listen": "127.0.0.1:0"})
	p, err := open(t, cfg, all.Extensions).Provide(t.Context(), Messages{})
	if err != nil {
		t.Fatal(err)
	}
	cfg, _ = load(t, map[string]any{"consumer.addresses": []string{p.Addr().String()}, "consumer.serializer": "protobuf"})
	app := open(t, cfg, all.Extensions)
	got, err := bhrpc.Call[*wrapperspb.StringValue](t.Context(), app, "Messages.Join", wrapperspb.String("a"), wrapperspb.String("b"))
	if err != nil || got.Value != "ab" {
		t.Errorf("Join: got %v, error %v, want ab", got, err)
	}
	if _, err := bhrpc.Call[string](t.Context(), app, "Messages.Plain", "x"); err == nil || !strings.Contains(err.Error(), "it is no protobuf message; ") {
		t.Errorf("Plain: got error %v, want one that says what protobuf takes", err)
	}
	if got, err := bhrpc.Call[string](t.Context(), dial(t, nil, p.Addr().String()), "Messages.Plain", "x"); got != "plain x" || err != nil {
		t.Errorf("Plain in JSON: got %q, error %v", got, err)
	}
}

func TestProtobufNotLinked(t *testing.T) {
	cfg, _ := load(t, map[string]any{"consumer.addresses": []string{"127.0.0.1:1"}, "consumer.serializer": "protobuf"})
	_, err := cfg.Open(t.Context())
	if !errors.Is(err, spi.ErrNotLinked) || !strings.Contains(err.Error(), `import "github.com/bhrpc/bhrpc/extensions/serializer/protobuf"`) {
		t.Errorf("got error %v, want one that names the import", err)
	}
}
