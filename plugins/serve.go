package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// ErrNoHost is the error of [Serve] in a program that no host started.
var ErrNoHost = errors.New("not started by a host")

// Serve makes a program a plugin that brings the extensions of cat. It is the last
// call of main, and returns nil when the host has asked it to end. It ends the
// process itself when the host is gone. Errors: [ErrNoHost], what says which extension
// cannot live in a plugin and what would make it one that can, and those of the Close
// of extensions that are closed at the end.
//
// What the program prints to stdout or stderr, and what its extensions log, goes to the
// host's log. A panic within an extension fails the one request; the third within a
// minute makes the host replace the process.
func Serve(cat *spi.Catalog) error {
	if os.Getenv(handshake.MagicCookieKey) != handshake.MagicCookieValue {
		return fmt.Errorf("serve plugin: %w; this program brings extensions and is run by the program that uses them, see docs/plugins.md", ErrNoHost)
	}
	if fd, err := strconv.Atoi(os.Getenv(lifelineEnv)); err == nil {
		go endWithHost(os.NewFile(uintptr(fd), "lifeline"))
	}
	a := newAuthor(cat, hostLog(os.Stderr)) // that is a pipe to the host; plugin.Serve makes another of it
	if err := a.check(); err != nil {
		return err
	}
	fmt.Println() // ends a line that was begun: the handshake needs one of its own
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: versions(a.register),
		GRPCServer:       a.server,
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: os.Stderr, JSONFormat: true}),
	})
	return a.close()
}

// author is the plugin's side of what a host asks.
type author struct {
	catalog *spi.Catalog
	log     logrus.FieldLogger // what extensions log; it goes to the host's log

	planning    *shelf[spi.LoadBalancer]
	judging     *shelf[spi.Heartbeat]
	hooks       *shelf[spi.Proxy]
	transcoding *shelf[spi.Serializer]

	mu     sync.Mutex
	panics []time.Time // the last ones, at most panicBudget
}

func newAuthor(cat *spi.Catalog, log logrus.FieldLogger) *author {
	env := spi.Env{Log: log}
	return &author{catalog: cat, log: log, planning: newShelf(cat.LoadBalancers, env), judging: newShelf(cat.Heartbeats, env),
		hooks: newShelf(cat.Proxies, env), transcoding: newShelf(cat.Serializers, env)}
}

// close closes what is kept until the end.
func (a *author) close() error {
	return errors.Join(a.planning.close(), a.judging.close(), a.hooks.close(), a.transcoding.close())
}

// register adds the services of every kind to a server.
func (a *author) register(s *grpc.Server) {
	planners, hooks := &balancers{shelf: a.planning}, &proxies{shelf: a.hooks}
	pluginv1.RegisterPluginInfoServer(s, &informant{catalog: a.catalog, open: map[string]opener{
		a.catalog.LoadBalancers.Kind(): func(ctx context.Context, name string, with []byte, _ string) error {
			_, err := planners.planner(ctx, name, with)
			return err
		},
		a.catalog.Heartbeats.Kind(): func(ctx context.Context, name string, with []byte, role string) error {
			_, err := a.judging.open(ctx, name, with, role)
			return err
		},
		a.catalog.Proxies.Kind(): func(ctx context.Context, name string, with []byte, _ string) error {
			_, err := hooks.hooks(ctx, name, with)
			return err
		},
		a.catalog.Serializers.Kind(): func(ctx context.Context, name string, with []byte, _ string) error {
			_, err := a.transcoding.open(ctx, name, with, "")
			return err
		},
	}})
	pluginv1.RegisterLoadBalancerServer(s, planners)
	pluginv1.RegisterHeartbeatStrategyServer(s, &heartbeats{shelf: a.judging})
	pluginv1.RegisterRegistryServer(s, &registries{catalog: a.catalog, env: a.env()})
	pluginv1.RegisterProxyServer(s, hooks)
	pluginv1.RegisterSerializerServer(s, &serializers{shelf: a.transcoding})
}

// env is what extensions are opened with.
func (a *author) env() spi.Env { return spi.Env{Log: a.log} }

// check opens every extension that has a form of its own for another process with its
// defaults, and refuses those that lack it. One whose configuration cannot be left out
// is looked at when it is used.
func (a *author) check() error {
	return errors.Join(
		checkInner(a.catalog.LoadBalancers, a.env(), plannerOf),
		checkInner(a.catalog.Proxies, a.env(), hooksOf))
}

// checkInner looks for the inner contract I of every extension of a point.
func checkInner[T, I any](p *spi.Point[T], env spi.Env, inner func(name string, extension T) (I, error)) error {
	var faults []error
	ctx := context.Background() // opening with the defaults is quick, and main has nothing else to do
	for _, info := range p.List() {
		extension, err := p.Open(ctx, env, spi.Ref{Use: info.Name})
		if err != nil {
			continue
		}
		_, err = inner(info.Name, extension)
		faults = append(faults, err, closeOpened(extension))
	}
	return errors.Join(faults...)
}

// closeOpened closes what can be closed.
func closeOpened(extension any) error {
	if closer, ok := extension.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// hostLog returns a logger whose lines the host understands, see parseLine.
func hostLog(to io.Writer) logrus.FieldLogger {
	log := logrus.New()
	log.Out, log.Level = to, logrus.DebugLevel // the host chooses
	log.Formatter = &logrus.JSONFormatter{FieldMap: logrus.FieldMap{logrus.FieldKeyLevel: "@level", logrus.FieldKeyMsg: "@message", logrus.FieldKeyTime: "@timestamp"}}
	return log
}

// endWithHost ends the process when the host's end of the lifeline is closed.
func endWithHost(lifeline *os.File) {
	_, _ = lifeline.Read(make([]byte, 1)) // nothing is ever written
	os.Exit(0)
}

func (a *author) server(options []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(options,
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (reply any, err error) {
			if info.FullMethod == healthpb.Health_Check_FullMethodName && a.spent() {
				return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}, nil
			}
			defer a.recoverTo(&err, info.FullMethod)
			return handler(ctx, request)
		}),
		grpc.StreamInterceptor(func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
			defer a.recoverTo(&err, info.FullMethod)
			return handler(server, stream)
		}))...)
}

// A plugin that panics panicBudget times within panicWindow says that it is not well,
// and the host replaces it.
const (
	panicBudget = 3
	panicWindow = time.Minute
)

// recoverTo makes an error of a panic, and counts it.
func (a *author) recoverTo(err *error, method string) {
	r := recover()
	if r == nil {
		return
	}
	*err = status.Errorf(codes.Internal, "%s: panic: %v", method, r)
	a.log.WithField("stack", string(debug.Stack())).Errorf("panic in %s: %v", method, r)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.panics = append(a.panics, time.Now())
	a.panics = a.panics[max(0, len(a.panics)-panicBudget):]
}

// spent reports whether the budget of panics is used up.
func (a *author) spent() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.panics) == panicBudget && time.Since(a.panics[0]) < panicWindow
}

// opener opens an extension of one kind, unless it is open. Its errors are gRPC statuses.
type opener func(ctx context.Context, name string, with []byte, role string) error

// informant tells a host what the plugin brings, and opens it.
type informant struct {
	pluginv1.UnimplementedPluginInfoServer
	catalog *spi.Catalog
	open    map[string]opener // by kind; a registry is opened by its streams, which may wait for its server
}

// Describe lists the catalog.
func (i *informant) Describe(_ context.Context, request *pluginv1.DescribeRequest) (*pluginv1.DescribeReply, error) {
	return &pluginv1.DescribeReply{Generation: request.GetGeneration(), Sdk: "bhrpc go " + strconv.Itoa(protocolVersion), Extensions: describe(i.catalog.List())}, nil
}

// Configure checks a configuration and opens nothing.
func (i *informant) Configure(_ context.Context, request *pluginv1.ConfigureRequest) (*pluginv1.ConfigureReply, error) {
	c := i.catalog
	resolvers := map[string]func(spi.Ref) (spi.Resolved, error){
		c.Serializers.Kind(): c.Serializers.Resolve, c.LoadBalancers.Kind(): c.LoadBalancers.Resolve, c.Proxies.Kind(): c.Proxies.Resolve,
		c.Heartbeats.Kind(): c.Heartbeats.Resolve, c.Registries.Kind(): c.Registries.Resolve, c.Compressors.Kind(): c.Compressors.Resolve,
		c.Interceptors.Kind(): c.Interceptors.Resolve,
	}
	resolve, ok := resolvers[request.GetKind()]
	if !ok {
		return nil, status.Errorf(codes.InvalidArgument, "there is no kind %q", request.GetKind())
	}
	found, err := resolve(spi.Ref{Use: request.GetName(), With: spi.Raw{JSON: request.GetWith()}})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &pluginv1.ConfigureReply{Generation: request.GetGeneration(), Effective: found.Config}, nil
}

// Prepare checks a configuration and opens the extension.
func (i *informant) Prepare(ctx context.Context, request *pluginv1.PrepareRequest) (*pluginv1.PrepareReply, error) {
	_, err := i.Configure(ctx, &pluginv1.ConfigureRequest{Kind: request.GetKind(), Name: request.GetName(), With: request.GetWith()})
	if open := i.open[request.GetKind()]; err == nil && open != nil {
		err = open(ctx, request.GetName(), request.GetWith(), request.GetRole())
	}
	return &pluginv1.PrepareReply{Generation: request.GetGeneration()}, err
}
