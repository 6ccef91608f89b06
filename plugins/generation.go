package plugins

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

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
	verified   bool   // it was configured
	conn       *grpc.ClientConn
	info       pluginv1.PluginInfoClient
	health     healthpb.HealthClient
	sdk        string
	extensions []spi.Info
	log        logrus.FieldLogger
	dir        string
	since      time.Time // when it became ready

	client  *plugin.Client
	process *process // nil until go-plugin asked for one

	mu      sync.Mutex
	uses    int
	retired chan struct{} // made by drain; closed at the end of the last use
	late    int           // exchanges in a row that were not answered in time
	struck  time.Time     // when the last of them was noted
	stuck   chan struct{} // closed at the last one that is let pass
}

// lateStrikes is how many exchanges in a row may be late before a process is ended.
const lateStrikes = 3

// startGeneration checks and runs the program of cfg and asks it what it brings.
// ctx bounds that and not its life. A failed start leaves nothing running.
func startGeneration(ctx context.Context, cfg spi.PluginConfig, r *room, number uint64, log logrus.FieldLogger, out *output) (_ *generation, err error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout.D())
	defer cancel()
	g := &generation{plugin: cfg.Name, number: number, log: log.WithField("generation", number), stuck: make(chan struct{})}
	out.begin()
	stop := func() bool { return true } // what ends the process together with ctx
	defer func() {
		if stop(); err != nil {
			g.end()
		}
	}()
	if g.dir, err = r.generation(number); err != nil {
		return nil, err
	}
	program := filepath.Join(g.dir, "program")
	if g.hash, err = install(cfg.Path, cfg.SHA256, program); err != nil {
		return nil, err
	}
	if g.verified = cfg.SHA256 != ""; !g.verified {
		log.WithField("sha256", g.hash).Warn("plugin runs unverified; configure its sha256")
	}
	print := func(line []byte) { out.line(g.logger(), line) }
	g.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: versions(nil),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         cfg.MTLS != "off",
		SkipHostEnv:      true,
		StartTimeout:     cfg.StartTimeout.D(),
		Logger:           hclog.NewNullLogger(), // the supervisor says what happens
		SyncStdout:       &lineWriter{line: print},
		SyncStderr:       &lineWriter{line: print},
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: g.dir},
		GRPCDialOptions: []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
			grpc.WithChainStreamInterceptor(withoutBroker)},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, sockets string) (runner.Runner, error) {
			cmd.Path, cmd.Args, cmd.Err = program, append([]string{cfg.Path}, cfg.Args...), nil
			for _, key := range slices.Sorted(maps.Keys(cfg.Env)) {
				cmd.Env = append([]string{key + "=" + cfg.Env[key]}, cmd.Env...) // ours come last and win
			}
			if cfg.Limits.Memory > 0 && cfg.Env["GOMEMLIMIT"] == "" {
				cmd.Env = append(cmd.Env, fmt.Sprintf("GOMEMLIMIT=%d", cfg.Limits.Memory/10*9))
			}
			process, err := newProcess(cmd, cfg.Limits, print)
			if err != nil {
				return nil, err
			}
			process.sockets, process.plain = sockets, cfg.MTLS == "off"
			g.process = process
			stop = context.AfterFunc(ctx, func() { _ = process.Kill(context.Background()) })
			return process, nil
		},
	})
	protocol, err := g.client.Client()
	if err != nil {
		return nil, g.explain(ctx, cfg, err, out)
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
	g.sdk, g.extensions, g.since = reply.GetSdk(), described(cfg.Name, reply.GetExtensions()), time.Now()
	return g, nil
}

// explain says why a process did not become a plugin.
func (g *generation) explain(ctx context.Context, cfg spi.PluginConfig, err error, out *output) error {
	var words string
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("it did not say that it is ready within %v (start_timeout): %w", cfg.StartTimeout, ctx.Err())
	case ctx.Err() != nil:
		return ctx.Err()
	case g.process == nil || g.process.ID() == "" || errors.Is(err, errHandshake):
		return err
	case strings.Contains(err.Error(), "incompatible"):
		return fmt.Errorf("it speaks another version of the plugin protocol than this host, which speaks %d: %w", protocolVersion, err)
	case g.process.endsSoon(): // its output may end a moment before
		words = "it ended, " + g.process.exitText() + ", without saying that it is ready"
		if printed := out.reason(); printed != "" {
			return fmt.Errorf("%s; it printed: %.500s", words, printed)
		}
	default:
		words = "what it says is no handshake"
	}
	return fmt.Errorf("%s; a plugin calls plugins.Serve in its main: %w", words, err)
}

// logger names the process; it runs or ran.
func (g *generation) logger() logrus.FieldLogger { return g.log.WithField("pid", g.process.ID()) }

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

// end asks the process to end, kills its group after endGrace, waits, and removes
// what it left.
func (g *generation) end() {
	defer os.RemoveAll(g.dir) // the room takes what is left
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

// answered notes how an exchange that began then ended, which might have taken limit:
// those that are late one after the other are strikes. Exchanges under way at the same
// time that are late are one strike, since one moment may have held up all of them. What
// a caller gave up before half of limit, or because its own context was cancelled, says
// nothing about the process.
func (g *generation) answered(err error, began time.Time, limit time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	switch code := status.Code(err); {
	case errors.Is(err, context.DeadlineExceeded) || code == codes.DeadlineExceeded:
		if now.Sub(began) < limit/2 || began.Before(g.struck) {
			return
		}
		g.struck = now
		if g.late++; g.late == lateStrikes && !isClosed(g.stuck) { // it is, if the supervisor has not seen it yet
			close(g.stuck)
		}
	case errors.Is(err, context.Canceled) || code == codes.Canceled:
	default:
		g.late = 0
	}
}

// brings reports whether the process brings an extension of that kind and name.
func (g *generation) brings(want spi.Info) bool {
	return slices.ContainsFunc(g.extensions, func(e spi.Info) bool { return e.Kind == want.Kind && e.Name == want.Name })
}
