package plugins

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// endGrace is how long a plugin may take to end when asked.
const endGrace = time.Second

// generation is one process of a plugin. It is safe for concurrent use.
type generation struct {
	plugin     string
	number     uint64 // from 1
	hash       string // of the program, in hexadecimal digits
	conn       *grpc.ClientConn
	info       pluginv1.PluginInfoClient
	health     healthpb.HealthClient
	sdk        string
	extensions []spi.Info

	client  *plugin.Client
	process *process // nil until go-plugin asked for one

	mu      sync.Mutex
	uses    int
	retired chan struct{} // made by drain; closed at the end of the last use
}

// startGeneration checks and runs the program of cfg and asks it what it brings.
// ctx bounds that and not its life. A failed start leaves nothing running.
func startGeneration(ctx context.Context, cfg spi.PluginConfig, r *room, number uint64, log logrus.FieldLogger) (_ *generation, err error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout.D())
	defer cancel()
	g := &generation{plugin: cfg.Name, number: number}
	defer func() {
		if err != nil {
			g.end()
		}
	}()
	dir, err := r.generation(number)
	if err != nil {
		return nil, err
	}
	program := filepath.Join(dir, "program")
	if g.hash, err = install(cfg.Path, cfg.SHA256, program); err != nil {
		return nil, err
	}
	if cfg.SHA256 == "" {
		log.WithField("sha256", g.hash).Warn("plugin runs unverified; configure its sha256")
	}
	g.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: versions(nil),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         cfg.MTLS != "off",
		SkipHostEnv:      true,
		StartTimeout:     cfg.StartTimeout.D(),
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: printer{log}, DisableTime: true}),
		SyncStdout:       printer{log},
		SyncStderr:       printer{log},
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: dir},
		GRPCDialOptions:  []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage))},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			cmd.Path, cmd.Args, cmd.Err = program, append([]string{cfg.Path}, cfg.Args...), nil
			for _, key := range slices.Sorted(maps.Keys(cfg.Env)) {
				cmd.Env = append([]string{key + "=" + cfg.Env[key]}, cmd.Env...) // ours come last and win
			}
			var err error
			g.process, err = newProcess(cmd, cfg.Limits.NoFile, func(line string) { log.Warn("plugin printed: " + line) })
			if err != nil {
				return nil, err
			}
			return g.process, nil
		},
	})
	protocol, err := g.client.Client()
	if err != nil {
		return nil, err
	}
	conn, err := protocol.Dispense(contactName)
	if err != nil {
		return nil, err
	}
	g.conn = conn.(*grpc.ClientConn)
	g.info, g.health = pluginv1.NewPluginInfoClient(g.conn), healthpb.NewHealthClient(g.conn)
	reply, err := g.info.Describe(ctx, &pluginv1.DescribeRequest{Generation: number})
	if err != nil {
		return nil, fmt.Errorf("ask what it brings: %w", err)
	}
	if reply.GetGeneration() != number {
		return nil, fmt.Errorf("ask what it brings: the answer is for generation %d, this is %d", reply.GetGeneration(), number)
	}
	g.sdk, g.extensions = reply.GetSdk(), described(cfg.Name, reply.GetExtensions())
	return g, nil
}

// exited is closed when the process has ended.
func (g *generation) exited() <-chan struct{} { return g.process.exited }

// release ends a use.
func (g *generation) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.uses--; g.uses == 0 && g.retired != nil {
		close(g.retired)
	}
}

// hold begins a use, unless the generation is retired.
func (g *generation) hold() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.retired != nil {
		return false
	}
	g.uses++
	return true
}

// drain lets nobody begin a use, and waits for those under way until ctx ends. It is
// called once.
func (g *generation) drain(ctx context.Context) {
	g.mu.Lock()
	g.retired = make(chan struct{})
	if g.uses == 0 {
		close(g.retired)
	}
	g.mu.Unlock()
	select {
	case <-g.retired:
	case <-g.exited():
	case <-ctx.Done():
	}
}

// end asks the process to end, kills its group after endGrace and waits.
func (g *generation) end() {
	if g.client == nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.client.Kill() // waits for ever on a process that is stopped
	}()
	select {
	case <-done:
	case <-time.After(endGrace):
		if g.process != nil {
			_ = g.process.Kill(context.Background())
		}
		<-done
	}
	if g.process != nil && g.process.ID() != "" {
		_ = g.process.Kill(context.Background())
		<-g.process.exited
		g.process.close()
	}
}

// errNotReady is within the errors of what is asked of a plugin that does not run.
var errNotReady = errors.New("is not running")

// printer logs what a plugin prints.
type printer struct{ log logrus.FieldLogger }

// Write logs text as it is.
func (w printer) Write(text []byte) (int, error) {
	w.log.Warn("plugin: " + string(text))
	return len(text), nil
}
