package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/bhrpc/bhrpc/spi"
)

// StaticConfig configures static.
type StaticConfig struct {
	Services map[string][]string          `json:"services" doc:"addresses, host:port, by service; the service is its name, or name#version#group where it has either"`
	Labels   map[string]map[string]string `json:"labels" doc:"labels by address, such as zone: eu1, for load balancers that look at them"`
}

// Validate lists all services without a name, all addresses that are malformed or
// appear twice, and labels of addresses that no service has.
func (c StaticConfig) Validate() error {
	var faults []error
	for _, service := range slices.Sorted(maps.Keys(c.Services)) {
		if service == "" {
			faults = append(faults, errors.New("services: a service has no name"))
		}
		addresses := c.Services[service]
		for i, address := range addresses {
			err := checkAddress(address)
			if first := slices.Index(addresses, address); err == nil && first < i {
				err = fmt.Errorf("it is the same as entry %d", first)
			}
			if err != nil {
				faults = append(faults, fmt.Errorf("services.%s, entry %d, %q: %w", service, i, address, err))
			}
		}
	}
	known := slices.Sorted(maps.Keys(c.addresses()))
	for _, address := range slices.Sorted(maps.Keys(c.Labels)) {
		if slices.Contains(known, address) {
			continue
		}
		fault := fmt.Errorf("labels.%s: no service has that address", address)
		if near := spi.Nearest(address, known); near != "" {
			fault = fmt.Errorf("%w; did you mean %q?", fault, near)
		}
		faults = append(faults, fault)
	}
	return errors.Join(faults...)
}

// addresses returns those of all services.
func (c StaticConfig) addresses() map[string]bool {
	all := make(map[string]bool)
	for _, addresses := range c.Services {
		for _, address := range addresses {
			all[address] = true
		}
	}
	return all
}

var errAddress = errors.New("want host:port, such as 10.0.0.7:7070 or [::1]:7070")

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return errAddress
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q is not a number from 1 to 65535; %w", port, errAddress)
	}
	return nil
}

func openStatic(_ context.Context, _ spi.Env, cfg StaticConfig) (spi.Registry, error) {
	return static(cfg), nil
}

// static is a registry whose content is its configuration.
type static StaticConfig

// Announce always fails: there is nobody to tell.
func (s static) Announce(_ context.Context, reg spi.Registration, _ func(error)) error {
	return fmt.Errorf("announce %s at %s: a static registry is kept by hand; add the address to services.%s where consumers configure it, or start the provider without a registry",
		reg.Service, reg.Address, reg.Service)
}

// Watch delivers the configured addresses, once.
func (s static) Watch(ctx context.Context, service string, update func([]spi.Endpoint)) error {
	addresses := s.Services[service]
	endpoints := make([]spi.Endpoint, len(addresses))
	for i, address := range addresses {
		endpoints[i] = spi.Endpoint{Address: address, Weight: 1, Labels: s.Labels[address]}
	}
	update(endpoints)
	<-ctx.Done()
	return nil
}

// Close does nothing: there is nothing to release.
func (static) Close() error { return nil }
