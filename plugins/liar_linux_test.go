package plugins

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// lie configures the extensions of the plugin that lies.
type lie struct {
	Lie string `json:"lie" doc:"what it does"`
}

// huge is how much follows a message that contains isHuge, in bytes.
const (
	huge   = 200 << 20
	isHuge = "this is huge"
)

// inflating is a codec that makes messages huge at no cost: it sends one piece again
// and again.
type inflating struct{ encoding.CodecV2 }

func (c inflating) Marshal(v any) (mem.BufferSlice, error) {
	data, err := c.CodecV2.Marshal(v)
	if err == nil && bytes.Contains(data.Materialize(), []byte(isHuge)) {
		piece := mem.SliceBuffer(make([]byte, 1<<20))
		for range huge >> 20 {
			data = append(data, piece)
		}
	}
	return data, err
}

// serveLies is a plugin that was not made by Serve.
func serveLies() {
	cat := spi.NewCatalog()
	if err := spi.Register(cat.LoadBalancers, "liar", "Lies.", lie{}, func(context.Context, spi.Env, lie) (spi.LoadBalancer, error) { return nil, nil }); err != nil {
		panic(err)
	}
	if err := spi.Register(cat.Proxies, "liar", "Lies.", lie{}, func(context.Context, spi.Env, lie) (spi.Proxy, error) { return nil, nil }); err != nil {
		panic(err)
	}
	if err := spi.Register(cat.Serializers, "liar", "Lies.", lie{}, func(context.Context, spi.Env, lie) (spi.Serializer, error) { return nil, nil }); err != nil {
		panic(err)
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: handshake,
		VersionedPlugins: versions(func(s *grpc.Server) {
			pluginv1.RegisterPluginInfoServer(s, &informant{catalog: cat})
			pluginv1.RegisterLoadBalancerServer(s, lyingBalancer{})
			pluginv1.RegisterProxyServer(s, lyingProxy{})
			pluginv1.RegisterSerializerServer(s, lyingSerializer{})
		}),
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(options, grpc.MaxSendMsgSize(math.MaxInt32), grpc.ForceServerCodecV2(inflating{encoding.GetCodecV2("proto")}))...)
		},
	})
}

func lieOf(with []byte) string {
	var l lie
	if err := json.Unmarshal(with, &l); err != nil {
		panic(err)
	}
	return l.Lie
}

type lyingBalancer struct {
	pluginv1.UnimplementedLoadBalancerServer
}

func (lyingBalancer) Plan(stream grpc.BidiStreamingServer[pluginv1.PlanRequest, pluginv1.PlanReply]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	request, err := stream.Recv()
	if err != nil {
		return err
	}
	reply := &pluginv1.PlanReply{Generation: request.GetGeneration(), Number: request.GetNumber()}
	for _, e := range request.GetEndpoints() {
		reply.Shares = append(reply.Shares, &pluginv1.Share{Address: e.GetAddress(), Weight: 1})
	}
	switch lieOf(first.GetOpen().GetWith()) {
	case "no number":
		reply.Shares[0].Weight = math.NaN()
	case "infinite":
		reply.Shares[0].Weight = math.Inf(1)
	case "negative":
		reply.Shares[0].Weight = -1
	case "one left out":
		reply.Shares = reply.Shares[1:]
	case "one too many":
		reply.Shares = append(reply.Shares, &pluginv1.Share{Address: "nowhere", Weight: 1})
	case "far too many":
		for range 100_000 { // of two bytes each
			reply.Shares = append(reply.Shares, new(pluginv1.Share))
		}
	case "one unknown":
		reply.Shares[0].Address = "nowhere"
	case "another generation":
		reply.Generation++
	case "another request":
		reply.Number++
	case "huge":
		reply.Error = isHuge
	case "ends":
		return nil
	case "hangs":
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	if err := stream.Send(reply); err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

type lyingProxy struct {
	pluginv1.UnimplementedProxyServer
}

func (lyingProxy) Before(ctx context.Context, in *pluginv1.Invocation) (*pluginv1.Verdict, error) {
	reply := &pluginv1.Verdict{Generation: in.GetGeneration(), Number: in.GetNumber()}
	if in.GetNumber() == 0 { // a measurement
		return reply, nil
	}
	switch lieOf(in.GetWith()) {
	case "another generation":
		reply.Generation++
	case "another request":
		reply.Number++
	case "huge":
		reply.Instead = &pluginv1.Verdict_Answer{Answer: []byte(isHuge)}
	case "hangs":
		<-ctx.Done()
		return nil, ctx.Err() // an answer could still be in time
	}
	return reply, nil
}

func (lyingProxy) After(_ context.Context, in *pluginv1.Outcomes) (*pluginv1.Ack, error) {
	return &pluginv1.Ack{Generation: in.GetGeneration(), Told: math.MaxUint64}, nil
}

type lyingSerializer struct {
	pluginv1.UnimplementedSerializerServer
}

func (lyingSerializer) Transcode(stream grpc.BidiStreamingServer[pluginv1.Blob, pluginv1.Blob]) error {
	what := ""
	for {
		blob, err := stream.Recv()
		if err != nil {
			return err
		}
		if blob.GetNumber() == 1 {
			what = lieOf(blob.GetWith())
		}
		answer := &pluginv1.Blob{Generation: blob.GetGeneration(), Number: blob.GetNumber(), Data: blob.GetData()}
		if !strings.Contains(string(blob.GetData()), "measurement") {
			switch what {
			case "another generation":
				answer.Generation++
			case "another request":
				answer.Number++
			case "garbage":
				answer.Data = []byte("\xff{")
			case "huge":
				answer.Data = []byte(isHuge)
			case "ends":
				return nil
			case "cut":
				return status.Error(codes.Unavailable, "the stream was reset")
			case "hangs":
				<-stream.Context().Done()
				return stream.Context().Err()
			}
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

// withLies opens the plugin that lies, and another one that is not waited for if it
// hangs, and returns the catalog for every lie.
func withLies(t *testing.T) func(what string) (*spi.Catalog, spi.Ref) {
	t.Helper()
	tmp := os.TempDir()
	open := func(callTimeout time.Duration) *spi.Catalog {
		t.Setenv("TMPDIR", tmp) // not that of the other: paths of sockets are short
		_, cat, _ := withPerCall(t, func(cfg *spi.PluginConfig) {
			cfg.Env[roleEnv] = "liar"
			cfg.CallTimeout = spi.Duration(callTimeout)
		})
		return cat
	}
	patient, hasty := open(30*time.Second), open(200*time.Millisecond)
	return func(what string) (*spi.Catalog, spi.Ref) {
		with, err := json.Marshal(lie{what})
		if err != nil {
			t.Fatal(err)
		}
		cat := patient
		if what == "hangs" || what == "cut" { // no other process comes
			cat = hasty
		}
		return cat, spi.Ref{Use: "liar", With: spi.Raw{JSON: with}}
	}
}

// wantFlat checks that f costs the host no memory in proportion to what is sent.
func wantFlat(t *testing.T, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if spent := after.TotalAlloc - before.TotalAlloc; spent > huge/2 {
		t.Errorf("memory: got %d MiB, want far less than the %d MiB that were sent", spent>>20, huge>>20)
	}
}

func TestPlansThatLie(t *testing.T) {
	lies := withLies(t)
	tests := []struct{ lie, want string }{
		{"no number", `weight NaN of endpoint "a"`},
		{"infinite", `weight +Inf of endpoint "a"`},
		{"negative", `weight -1 of endpoint "a"`},
		{"one left out", `leaves out endpoint "a"`},
		{"one too many", "unknown ones"},
		{"far too many", "larger than max"},
		{"one unknown", `leaves out endpoint "a"`},
		{"another generation", "answer 1 of generation 2 to request 1 of generation 1"},
		{"another request", "answer 2 of generation 1 to request 1 of generation 1"},
		{"huge", "larger than max"},
		{"ends", "EOF"},
		{"hangs", "deadline exceeded"},
	}
	for _, tt := range tests {
		t.Run(tt.lie, func(t *testing.T) {
			cat, ref := lies(tt.lie)
			lb, err := cat.LoadBalancers.Open(t.Context(), spi.Env{}, ref)
			if err != nil {
				t.Fatal(err)
			}
			defer closeIt(t, lb)
			wantFlat(t, func() {
				stats := spi.Stats{Endpoints: []spi.EndpointStats{{Address: "a"}, {Address: "b"}, {Address: "c"}}}
				plan, err := lb.(*balancer).remote.Plan(t.Context(), stats)
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), `"acme"`) {
					t.Errorf("Plan: got %v, %v, want %q of plugin acme", plan, err, tt.want)
				}
			})
			if tt.lie == "huge" {
				return // once is enough
			}
			picker, err := lb.Build(endpoints("a", "b", "c"))
			if err != nil {
				t.Fatal(err)
			}
			if i, err := picker.Pick(new(spi.CallInfo)); i < 0 || i > 2 || err != nil {
				t.Errorf("Pick: got %d, %v, want one of three", i, err)
			}
		})
	}
}

func TestVerdictsThatLie(t *testing.T) {
	lies := withLies(t)
	tests := []struct {
		lie  string
		code spi.Code
		want string
	}{
		{"another generation", spi.Internal, "verdict 1 of generation 2 on call 1 of generation 1"},
		{"another request", spi.Internal, "verdict 2 of generation 1 on call 1 of generation 1"},
		{"huge", spi.ResourceExhausted, "larger than max"},
		{"hangs", spi.Unavailable, "ask plugin \"acme\""},
	}
	for _, tt := range tests {
		t.Run(tt.lie, func(t *testing.T) {
			cat, ref := lies(tt.lie)
			proxy, err := cat.Proxies.Open(t.Context(), spi.Env{}, ref)
			if err != nil {
				t.Fatal(err)
			}
			defer closeIt(t, proxy)
			wantFlat(t, func() {
				arrived, _, err := invoke(t.Context(), proxy.(spi.Wrapper), "Any", nil)
				if arrived != nil || spi.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("call: got %v, arrived %v, want %v: %s", err, arrived != nil, tt.code, tt.want)
				}
			})
		})
	}
}

func TestTranscodingThatLies(t *testing.T) {
	lies := withLies(t)
	tests := []struct {
		lie  string
		code spi.Code
		want string
	}{
		{"another generation", spi.Internal, "answer 1 of generation 2 to blob 1 of generation 1"},
		{"another request", spi.Internal, "answer 2 of generation 1 to blob 1 of generation 1"},
		{"garbage", spi.Unknown, "document of plugin"},
		{"huge", spi.ResourceExhausted, "larger than max"},
		{"ends", spi.Internal, "it ended the stream"},
		{"cut", spi.Unavailable, "the stream was reset"},
		{"hangs", spi.Unavailable, "deadline exceeded"},
	}
	for _, tt := range tests {
		t.Run(tt.lie, func(t *testing.T) {
			cat, ref := lies(tt.lie)
			s, err := cat.Serializers.Open(t.Context(), spi.Env{}, ref)
			if err != nil {
				t.Fatal(err)
			}
			defer s.(io.Closer).Close()
			s.(*serializer).streams.end() // so that the number is 1
			wantFlat(t, func() {
				var v any
				if err := s.Decode([]byte("x"), &v); spi.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Decode: got %v, want %v: %s", err, tt.code, tt.want)
				}
			})
		})
	}
}
