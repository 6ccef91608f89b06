package plugins

import (
	"context"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// heartbeats lets a host use the heartbeat strategies of a catalog. Each is opened
// once per configuration and side, and lives as long as the process.
type heartbeats struct {
	pluginv1.UnimplementedHeartbeatStrategyServer
	catalog *spi.Catalog
	env     spi.Env

	mu     sync.Mutex
	opened map[strategyKey]spi.Heartbeat // nil: none yet
}

type strategyKey struct{ name, with, role string }

// Timing opens a strategy and says its times.
func (h *heartbeats) Timing(ctx context.Context, request *pluginv1.TimingRequest) (*pluginv1.TimingReply, error) {
	hb, err := h.open(ctx, request.GetStrategy())
	if err != nil {
		return nil, err
	}
	t := hb.Timing()
	return &pluginv1.TimingReply{Generation: request.GetGeneration(), IntervalNanos: int64(t.Interval), Strikes: int64(t.Strikes), SilenceNanos: int64(t.Silence)}, nil
}

// DecideBatch asks a strategy about every snapshot.
func (h *heartbeats) DecideBatch(ctx context.Context, request *pluginv1.SnapshotBatch) (*pluginv1.DecisionBatch, error) {
	of := request.GetStrategy()
	hb, err := h.open(ctx, of)
	if err != nil {
		return nil, err
	}
	reply := &pluginv1.DecisionBatch{Generation: request.GetGeneration(), Decisions: make([]*pluginv1.Decision, len(request.GetSnapshots()))}
	for i, m := range request.GetSnapshots() {
		if err := ctx.Err(); err != nil { // the host has given up
			return nil, status.FromContextError(err).Err()
		}
		var st spi.State
		copy(st[:], m.GetState())
		d, st := hb.Decide(receivedSnapshot(m, spi.Role(of.GetRole())), st)
		reply.Decisions[i] = &pluginv1.Decision{Conn: m.GetConn(), State: st[:], Liveness: pluginv1.Decision_Liveness(d.Liveness),
			SendPing: d.SendPing, NextNanos: int64(d.Next), Strikes: int64(d.Strikes)}
	}
	return reply, nil
}

// open returns the strategy of a configuration.
func (h *heartbeats) open(ctx context.Context, of *pluginv1.Strategy) (spi.Heartbeat, error) {
	key := strategyKey{of.GetName(), string(of.GetWith()), of.GetRole()}
	h.mu.Lock()
	hb := h.opened[key]
	h.mu.Unlock()
	if hb != nil {
		return hb, nil
	}
	hb, err := h.catalog.Heartbeats.Open(ctx, spi.Env{Log: h.env.Log, Role: spi.Role(of.GetRole())}, spi.Ref{Use: of.GetName(), With: spi.Raw{JSON: of.GetWith()}})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return h.keep(key, hb), nil
}

// keep remembers a strategy, and returns the one that another request opened first.
func (h *heartbeats) keep(key strategyKey, hb spi.Heartbeat) spi.Heartbeat {
	h.mu.Lock()
	first := h.opened[key]
	if first == nil {
		if h.opened == nil {
			h.opened = make(map[strategyKey]spi.Heartbeat)
		}
		h.opened[key] = hb
	}
	h.mu.Unlock()
	if first == nil {
		return hb
	}
	if closer, ok := hb.(io.Closer); ok {
		_ = closer.Close() // it was never used
	}
	return first
}

func receivedSnapshot(m *pluginv1.Snapshot, role spi.Role) spi.Snapshot {
	return spi.Snapshot{
		ConnID: m.GetConn(), Role: role, Now: time.Duration(m.GetNowNanos()), Due: time.Duration(m.GetDueNanos()),
		LastIn: time.Duration(m.GetLastInNanos()), LastOut: time.Duration(m.GetLastOutNanos()),
		LastPingAt: time.Duration(m.GetLastPingAtNanos()), LastRTT: time.Duration(m.GetLastRttNanos()),
		PingSeq: m.GetPingSeq(), AckSeq: m.GetAckSeq(), PongCount: m.GetPongCount(), InCount: m.GetInCount(),
		WriteStalled: m.GetWriteStalled(), QueueBytes: m.GetQueueBytes(), Inflight: int(m.GetInflight()),
	}
}
