package plugins

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bhrpc/bhrpc/spi"
)

// TestStrikes: which ends of exchanges, one after the other, end a process.
func TestStrikes(t *testing.T) {
	const limit = 200 * time.Millisecond
	type end struct {
		err    error
		took   time.Duration
		beside bool // it began with the one before
	}
	late, lateAtServer := end{context.DeadlineExceeded, limit, false}, end{status.Error(codes.DeadlineExceeded, "late"), limit, false}
	beside := end{context.DeadlineExceeded, limit, true}
	good, failed := end{nil, limit, false}, end{errors.New("no"), limit, false}
	hurried := end{context.DeadlineExceeded, limit/2 - 1, false} // the caller's own deadline
	cancelled, cancelledAtServer := end{context.Canceled, limit, false}, end{status.Error(codes.Canceled, "cancelled"), limit, false}
	tests := []struct {
		name string
		ends []end
		want bool // stuck
	}{
		{"late", []end{late, lateAtServer, late}, true},
		{"more of them", []end{late, late, late, late}, true},
		{"once more before anybody has seen it", []end{late, late, late, good, late, late, late}, true},
		{"fewer", []end{late, late}, false},
		{"at the same time", []end{late, beside, beside, beside, late, beside}, false},
		{"at the same time, three times", []end{late, beside, late, beside, late}, true},
		{"an answer between", []end{late, late, good, late, late}, false},
		{"a refusal is an answer", []end{late, late, failed, late, late}, false},
		{"callers in a hurry", []end{hurried, hurried, hurried, hurried}, false},
		{"callers that gave up", []end{cancelled, cancelledAtServer, cancelled, cancelled}, false},
		{"callers that gave up excuse nothing", []end{late, cancelled, late, cancelledAtServer, hurried, late}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &generation{stuck: make(chan struct{})}
				var began time.Time
				for _, e := range tt.ends {
					if !e.beside {
						began = time.Now()
						time.Sleep(e.took)
					}
					g.answered(e.err, began, limit)
				}
				if got := isClosed(g.stuck); got != tt.want {
					t.Errorf("stuck: got %t, want %t", got, tt.want)
				}
			})
		})
	}
}

// TestDrain: nobody begins a use, and those under way are waited for, unless the
// process or the time ends.
func TestDrain(t *testing.T) {
	tests := []struct {
		name string
		end  func(g *generation, cancel func())
	}{
		{"last use", func(g *generation, _ func()) { g.release() }},
		{"process", func(g *generation, _ func()) { close(g.process.exited) }},
		{"time", func(_ *generation, cancel func()) { cancel() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				g := &generation{process: &process{exited: make(chan struct{})}}
				for range 2 {
					if !g.hold() {
						t.Fatal("hold: got false, want a use")
					}
				}
				g.release()
				drained := make(chan struct{})
				go func() {
					defer close(drained)
					g.drain(ctx)
				}()
				synctest.Wait()
				if isClosed(drained) {
					t.Error("drain: got its end, want it to wait for a use")
				}
				if g.hold() {
					t.Error("hold of one that drains: got true, want false")
				}
				tt.end(g, cancel)
				<-drained
			})
		})
	}
}

func TestBrings(t *testing.T) {
	g := &generation{extensions: []spi.Info{{Kind: "loadbalancer", Name: "zoned"}, {Kind: "proxy", Name: "audit"}}}
	tests := []struct {
		name string
		info spi.Info
		want bool
	}{
		{"it does", spi.Info{Kind: "proxy", Name: "audit", Doc: "whatever"}, true},
		{"of another kind", spi.Info{Kind: "proxy", Name: "zoned"}, false},
		{"by another name", spi.Info{Kind: "proxy", Name: "audit2"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := g.brings(tt.info); got != tt.want {
				t.Errorf("brings %+v: got %t, want %t", tt.info, got, tt.want)
			}
		})
	}
}
