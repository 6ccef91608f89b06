package core

import (
	"testing"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// Which answers a load balancer holds against the endpoint.
func TestBlame(t *testing.T) {
	for _, tt := range []struct {
		name  string
		typ   wire.Type
		code  spi.Code
		phase spi.Phase
		want  bool
	}{
		{"a result", wire.Response, 0, "", false},
		{"refused at the door", wire.Error, spi.ResourceExhausted, spi.PhaseDispatch, true},
		{"the handler has no more", wire.Error, spi.ResourceExhausted, spi.PhaseHandler, true},
		{"the handler cannot", wire.Error, spi.Unavailable, spi.PhaseHandler, true},
		{"the handler decides", wire.Error, spi.NotFound, spi.PhaseHandler, false},
		{"a request too large, or a bomb", wire.Error, spi.ResourceExhausted, spi.PhaseDecode, false},
		{"an answer too large", wire.Error, spi.ResourceExhausted, spi.PhaseEncode, false},
		{"a damaged request", wire.Error, spi.DataLoss, spi.PhaseDecode, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := wire.AppendError(nil, wire.ErrorBody{Message: "m", Phase: string(tt.phase)})
			s := &callState{answer: frame{Header: wire.Header{Type: tt.typ, Code: uint8(tt.code), Body: uint32(len(body))}, payload: body}}
			if got := s.overloaded(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
