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
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// endGrace is how long a plugin may take to end when asked.
const endGrace = time.Second

// firstGeneration is the number of the only process that a Plugin has yet.
const firstGeneration = 1

// Plugin is a running plugin process. It is safe for concurrent use. One that ended
// stays so: every method but Close fails.
type Plugin struct {
	name       string
	hash       string
	room       *room
	client     *plugin.Client
	process    *process // nil until go-plugin asked for one
	info       pluginv1.PluginInfoClient
	balancers  pluginv1.LoadBalancerClient
	extensions []spi.Info
	closing    sync.Once
	closeErr   error // written within closing
}

// Open checks, starts and asks the plugin of cfg; ctx and cfg.StartTimeout bound that
// and not its life. A start that does not answer is bounded by
// cfg.StartTimeout alone. log gets what the plugin prints. The caller closes the Plugin; a
// failed Open leaves nothing running. Errors: those of [Config.Validate],
// [ErrUntrusted], [ErrChecksum], and what the start failed with.
func Open(ctx context.Context, cfg Config, log logrus.FieldLogger) (*Plugin, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration of plugin %q: %w", cfg.Name, err)
	}
	cfg = cfg.filled()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(cfg.StartTimeout))
	defer cancel()
	r, err := openRoom(os.TempDir())
	if err != nil {
		return nil, fmt.Errorf("start plugin %q: %w", cfg.Name, err)
	}
	p := &Plugin{name: cfg.Name, room: r}
	if err := p.start(ctx, cfg, log.WithField("plugin", cfg.Name)); err != nil {
		return nil, fmt.Errorf("start plugin %q: %w", cfg.Name, errors.Join(err, p.Close()))
	}
	return p, nil
}

// start runs the program and asks what it brings. What it leaves, Close ends.
func (p *Plugin) start(ctx context.Context, cfg Config, log logrus.FieldLogger) error {
	dir, err := p.room.generation(firstGeneration)
	if err != nil {
		return err
	}
	program := filepath.Join(dir, "program")
	if p.hash, err = install(cfg.Path, cfg.SHA256, program); err != nil {
		return err
	}
	if cfg.SHA256 == "" {
		log.WithField("sha256", p.hash).Warn("plugin runs unverified; configure its sha256")
	}
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: versions(nil),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     time.Duration(cfg.StartTimeout),
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
			p.process, err = newProcess(cmd, cfg.MaxFiles, func(line string) { log.Warn("plugin printed: " + line) })
			if err != nil {
				return nil, err
			}
			return p.process, nil
		},
	})
	protocol, err := p.client.Client()
	if err != nil {
		return err
	}
	conn, err := protocol.Dispense(contactName)
	if err != nil {
		return err
	}
	p.info = pluginv1.NewPluginInfoClient(conn.(*grpc.ClientConn))
	p.balancers = pluginv1.NewLoadBalancerClient(conn.(*grpc.ClientConn))
	reply, err := p.info.Describe(ctx, &pluginv1.DescribeRequest{Generation: firstGeneration})
	if err != nil {
		return fmt.Errorf("ask what it brings: %w", err)
	}
	if reply.GetGeneration() != firstGeneration {
		return fmt.Errorf("ask what it brings: the answer is for generation %d, this is %d", reply.GetGeneration(), firstGeneration)
	}
	p.extensions = described(cfg.Name, reply.GetExtensions())
	return nil
}

// Extensions describes what the plugin brings. It must not be modified.
func (p *Plugin) Extensions() []spi.Info { return p.extensions }

// Hash returns the SHA-256 of the program that runs, in hexadecimal digits.
func (p *Plugin) Hash() string { return p.hash }

// Exited is closed when the process has ended.
func (p *Plugin) Exited() <-chan struct{} { return p.process.exited }

// Configure lets the plugin check a configuration, JSON or nil for the defaults, and
// returns what would be in force. It opens nothing. Errors: [spi.ErrInvalid], with
// what the plugin says; others if it could not be asked.
func (p *Plugin) Configure(ctx context.Context, kind, name string, with []byte) (effective []byte, err error) {
	reply, err := p.info.Configure(ctx, &pluginv1.ConfigureRequest{Generation: firstGeneration, Kind: kind, Name: name, With: with})
	switch {
	case status.Code(err) == codes.InvalidArgument:
		return nil, fmt.Errorf("plugin %q: %w: %s", p.name, spi.ErrInvalid, status.Convert(err).Message())
	case err != nil:
		return nil, fmt.Errorf("ask plugin %q about the configuration of %s %q: %w", p.name, kind, name, err)
	}
	return reply.GetEffective(), nil
}

// Close ends the plugin: it is asked to, and killed with its group after a second. It
// waits for that, and is safe to call twice.
func (p *Plugin) Close() error {
	p.closing.Do(func() {
		if p.client != nil {
			p.end()
		}
		p.closeErr = p.room.Close()
	})
	return p.closeErr
}

func (p *Plugin) end() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.client.Kill() // waits for ever on a process that is stopped
	}()
	select {
	case <-done:
	case <-time.After(endGrace):
		_ = p.process.Kill(context.Background())
		<-done
	}
	if p.process != nil && p.process.ID() != "" {
		_ = p.process.Kill(context.Background())
		<-p.process.exited
		p.process.close()
	}
}

// printer logs what a plugin prints.
type printer struct{ log logrus.FieldLogger }

// Write logs text as it is.
func (w printer) Write(text []byte) (int, error) {
	w.log.Warn("plugin: " + string(text))
	return len(text), nil
}
