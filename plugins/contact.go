package plugins

import (
	"context"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// protocolVersion is the major version of plugins/proto.
	protocolVersion = 1
	// maxMessage bounds a message either way, in bytes.
	maxMessage = 16 << 20

	contactName = "bhrpc"

	// healthService is what go-plugin calls every plugin in its health service.
	healthService = plugin.GRPCServiceName
)

// handshake tells a program that a host started it. It is no secret.
var handshake = plugin.HandshakeConfig{MagicCookieKey: "BHRPC_PLUGIN", MagicCookieValue: "extensions", ProtocolVersion: protocolVersion}

// contact is what go-plugin knows of our services: the plugin's side registers them,
// the host's side gets the connection.
type contact struct {
	plugin.NetRPCUnsupportedPlugin
	register func(*grpc.Server) // of the plugin's side
}

var _ plugin.GRPCPlugin = contact{}

// GRPCServer registers the services of a plugin.
func (c contact) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	c.register(s)
	return nil
}

// GRPCClient returns the connection of a host.
func (c contact) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

// versions is the set of versions that either side speaks.
func versions(register func(*grpc.Server)) map[int]plugin.PluginSet {
	return map[int]plugin.PluginSet{protocolVersion: {contactName: contact{register: register}}}
}

// brokerMethod is the stream by which a plugin tells go-plugin of other connections.
const brokerMethod = "/plugin.GRPCBroker/StartStream"

// withoutBroker opens every stream but that of go-plugin's broker. Nobody uses it, and
// the host would keep whatever a plugin says there, for ever.
func withoutBroker(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	if method == brokerMethod {
		return nil, status.Error(codes.Unimplemented, "no other connections are made")
	}
	return open(ctx, desc, conn, method, options...)
}
