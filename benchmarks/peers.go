package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/rpc"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/spi"
)

// Echo is what every peer serves.
type Echo struct{}

// Echo returns what it was given.
func (Echo) Echo(body []byte) ([]byte, error) { return body, nil }

func bhrpcPeer(serializer string) peer {
	return peer{
		name:  "bhrpc-" + serializer,
		about: "serializer " + serializer + ", otherwise the defaults",
		serve: func(ready func(string)) error {
			app, err := open(map[string]any{"provider.listen": "127.0.0.1:0", "log.level": "error"})
			if err != nil {
				return err
			}
			p, err := app.Provide(context.Background(), Echo{})
			if err != nil {
				return err
			}
			ready(p.Addr().String())
			select {}
		},
		dial: func(address string) (func([]byte) ([]byte, error), error) {
			app, err := open(map[string]any{"consumer.addresses": []string{address}, "consumer.serializer": serializer, "log.level": "error"})
			if err != nil {
				return nil, err
			}
			var client struct {
				_    struct{} `bhrpc:"service=Echo"`
				Echo func(context.Context, []byte) ([]byte, error)
			}
			err = app.Bind(&client)
			return func(body []byte) ([]byte, error) { return client.Echo(context.Background(), body) }, err
		},
	}
}

// raw is a serializer that passes bytes on as they are, so that a measurement
// shows the framework alone.
type raw struct{}

func (raw) Append(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return append(dst, v...), nil
	case *[]byte:
		return append(dst, *v...), nil
	}
	return dst, fmt.Errorf("raw carries []byte, not %T", v)
}

func (raw) Decode(data []byte, v any) error {
	into, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("raw carries []byte, not %T", v)
	}
	*into = bytes.Clone(data)
	return nil
}

func registerRaw(c *spi.Catalog) error {
	return spi.Register(c.Serializers, "raw", "Bytes as they are.", struct{}{},
		func(context.Context, spi.Env, struct{}) (spi.Serializer, error) { return raw{}, nil })
}

func open(keys map[string]any) (*bhrpc.App, error) {
	cfg, err := bhrpc.Load("")
	if err != nil {
		return nil, err
	}
	for key, value := range keys {
		if err := cfg.Set(key, value); err != nil {
			return nil, err
		}
	}
	return cfg.Open(context.Background(), registerRaw)
}

// RPCEcho is Echo in the shape that net/rpc wants.
type RPCEcho struct{}

// Echo returns what it was given.
func (RPCEcho) Echo(body []byte, reply *[]byte) error {
	*reply = body
	return nil
}

// netRPC is the standard library's, with its own codec, gob.
var netRPC = peer{
	name:  "net/rpc",
	about: "standard library, gob",
	serve: func(ready func(string)) error {
		server := rpc.NewServer()
		if err := server.RegisterName("Echo", RPCEcho{}); err != nil {
			return err
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		ready(l.Addr().String())
		server.Accept(l)
		return nil
	},
	dial: func(address string) (func([]byte) ([]byte, error), error) {
		client, err := rpc.Dial("tcp", address)
		return func(body []byte) ([]byte, error) {
			var reply []byte
			err := client.Call("Echo.Echo", body, &reply)
			return reply, err
		}, err
	},
}
