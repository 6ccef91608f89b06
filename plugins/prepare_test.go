package plugins

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// answers is a plugin that prepares and configures with these errors.
type answers struct {
	pluginv1.PluginInfoClient
	prepare, configure error
}

func (a answers) Prepare(context.Context, *pluginv1.PrepareRequest, ...grpc.CallOption) (*pluginv1.PrepareReply, error) {
	return new(pluginv1.PrepareReply), a.prepare
}

func (a answers) Configure(context.Context, *pluginv1.ConfigureRequest, ...grpc.CallOption) (*pluginv1.ConfigureReply, error) {
	return new(pluginv1.ConfigureReply), a.configure
}

// TestPrepare: a configuration is refused by those who open ahead and by those who
// only check, and no answer is no refusal.
func TestPrepare(t *testing.T) {
	wrong, none := status.Error(codes.InvalidArgument, "share: is negative"), status.Error(codes.Unimplemented, "unknown method Prepare")
	tests := []struct {
		name    string
		info    answers
		invalid bool
		refused bool
		want    string // within the error; "": none
	}{
		{"opens", answers{}, false, false, ""},
		{"is wrong", answers{prepare: wrong}, true, true, `plugin "acme": `},
		{"cannot be opened", answers{prepare: status.Error(codes.FailedPrecondition, "no licence")}, false, true, `open loadbalancer "first" of plugin "acme": `},
		{"no answer", answers{prepare: status.Error(codes.Unavailable, "gone")}, false, false, "gone"},
		{"in another language", answers{prepare: none}, false, false, ""},
		{"in another language, is wrong", answers{prepare: none, configure: wrong}, true, true, "share: is negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := &generation{plugin: "acme", number: 1, info: tt.info}
			err := g.prepare(t.Context(), wanted{kind: "loadbalancer", name: "first"})
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) || errors.Is(err, spi.ErrInvalid) != tt.invalid {
				t.Errorf("got %v, want %q, invalid %t", err, tt.want, tt.invalid)
			}
			if got := refused(t.Context(), err); got != tt.refused {
				t.Errorf("refused: got %t, want %t", got, tt.refused)
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if !refused(ended, errNotReady) || refused(ended, nil) {
		t.Error("refused with a context that ended: got what it is without, want every error to be one")
	}
}

// TestMissing: each is prepared once, those that come late too, and done is called when
// none is left.
func TestMissing(t *testing.T) {
	var l usages
	prepared := map[wanted]bool{}
	one, other := wanted{kind: "heartbeat", name: "says", role: "consumer"}, wanted{kind: "heartbeat", name: "says", role: "provider"}
	check := func(when string, want ...wanted) {
		t.Helper()
		done := false
		got := l.missing(prepared, func() { done = true })
		if !slices.Equal(got, want) || done != (len(want) == 0) {
			t.Errorf("%s: got %v, done %t, want %v", when, got, done, want)
		}
		for _, w := range got {
			prepared[w] = true
		}
	}
	l.add(one, "", quietLog())
	l.add(one, "", quietLog())
	check("two of one kind", one)
	l.add(other, "", quietLog())
	check("one that came late", other)
	check("all of them")
}
