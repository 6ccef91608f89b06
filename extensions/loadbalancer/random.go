package loadbalancer

import (
	"context"

	"github.com/bhrpc/bhrpc/spi"
)

func openRandom(context.Context, spi.Env, none) (spi.LoadBalancer, error) { return random{}, nil }

type random struct{}

func (random) Build(endpoints []spi.Endpoint) (spi.Picker, error) {
	return randomPicker{len(endpoints)}, nil
}

type randomPicker struct{ n int }

func (p randomPicker) Pick(info *spi.CallInfo) (int, error) {
	return anyUsable(info.Usable, p.n), nil
}
