package plugins

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// ErrNoHost is the error of [Serve] in a program that no host started.
var ErrNoHost = errors.New("not started by a host")

// Serve makes a program a plugin that brings the extensions of cat. It is the last
// call of main, and returns nil when the host has asked it to end. It ends the
// process itself when the host is gone. Errors: [ErrNoHost], and those of the Close of
// extensions that are closed at the end.
//
// What the program prints to stdout or stderr goes to the host's log; a panic within
// an extension fails the one request.
func Serve(cat *spi.Catalog) error {
	if os.Getenv(handshake.MagicCookieKey) != handshake.MagicCookieValue {
		return fmt.Errorf("serve plugin: %w; this program brings extensions and is run by the program that uses them, see docs/plugins.md", ErrNoHost)
	}
	if fd, err := strconv.Atoi(os.Getenv(lifelineEnv)); err == nil {
		go endWithHost(os.NewFile(uintptr(fd), "lifeline"))
	}
	hooks, transcoding := newShelf(cat.Proxies), newShelf(cat.Serializers)
	fmt.Println() // ends a line that was begun: the handshake needs one of its own
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: handshake,
		VersionedPlugins: versions(func(s *grpc.Server) {
			pluginv1.RegisterPluginInfoServer(s, &informant{catalog: cat})
			pluginv1.RegisterLoadBalancerServer(s, &balancers{catalog: cat})
			pluginv1.RegisterProxyServer(s, &proxies{shelf: hooks})
			pluginv1.RegisterSerializerServer(s, &serializers{shelf: transcoding})
		}),
		GRPCServer: newServer,
		Logger:     hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: os.Stderr, JSONFormat: true}),
	})
	return errors.Join(hooks.close(), transcoding.close())
}

// endWithHost ends the process when the host's end of the lifeline is closed.
func endWithHost(lifeline *os.File) {
	_, _ = lifeline.Read(make([]byte, 1)) // nothing is ever written
	os.Exit(0)
}

func newServer(options []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(options,
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (reply any, err error) {
			defer recoverTo(&err, info.FullMethod)
			return handler(ctx, request)
		}),
		grpc.StreamInterceptor(func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
			defer recoverTo(&err, info.FullMethod)
			return handler(server, stream)
		}))...)
}

// recoverTo makes an error of a panic.
func recoverTo(err *error, method string) {
	if r := recover(); r != nil {
		*err = status.Errorf(codes.Internal, "%s: panic: %v", method, r)
	}
}

// informant tells a host what the plugin brings.
type informant struct {
	pluginv1.UnimplementedPluginInfoServer
	catalog *spi.Catalog
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
