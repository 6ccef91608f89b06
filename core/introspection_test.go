package core_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// manyMethods is a service with n methods, the last first.
func manyMethods(name string, n int) *core.Service {
	s := &core.Service{Name: name}
	for i := n; i > 0; i-- {
		s.Methods = append(s.Methods, &core.Method{
			Name: fmt.Sprintf("M%04d", i), Signature: fmt.Sprintf("M%04d()", i),
			NewArgs: func() spi.Args { return spi.Values(nil) },
			Call:    func(context.Context, spi.Args) (any, error) { return nil, nil },
		})
	}
	return s
}

func TestIntrospection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		versioned, err := core.NewService("Text", values{})
		w.must(err)
		versioned.Version, versioned.Group = "2.0", "blue"
		p := w.provider("p:1", nil, versioned, echo{}, &tally{})
		got, err := invoke[core.Introspection](t.Context(), w.consumer(nil, "p:1"), core.IntrospectionService, core.IntrospectionMethod)
		want := core.Introspection{Agent: "bhrpc-go/0.1", Services: []core.ServiceInfo{
			{Name: "Text", Version: "2.0", Group: "blue", Methods: []string{"Text() string"}},
			{Name: "echo", Methods: []string{"Say(string) string"}},
			{Name: "tally", Methods: []string{"Add(int) int"}},
		}}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		if got := p.Services(); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v from Services, want %+v", got, want)
		}
	})
}

func TestIntrospectionIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name      string
		services  []int // methods of each
		listed    []int
		truncated bool
	}{
		{"none", nil, nil, false},
		{"just enough", []int{400, 600}, []int{400, 600}, false},
		{"a method too many", []int{400, 601}, []int{400, 600}, true},
		{"a service too many", []int{400, 600, 1}, []int{400, 600}, true},
		{"one large", []int{1500}, []int{1000}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var services []any
			for i, n := range tt.services {
				services = slices.Insert(services, 0, any(manyMethods(fmt.Sprintf("S%d", i+1), n)))
			}
			p := newWorld(t).newProvider(nil, services...)
			for range 3 { // always the same
				list := p.Services()
				var got []int
				for i, s := range list.Services {
					got = append(got, len(s.Methods))
					if want := fmt.Sprintf("S%d", i+1); s.Name != want || s.Methods[0] != "M0001()" {
						t.Errorf("got service %s from %s on, want %s from M0001() on", s.Name, s.Methods[0], want)
					}
				}
				want := tt.listed
				if !reflect.DeepEqual(got, want) || list.Truncated != tt.truncated {
					t.Errorf("got %v methods, truncated %t, want %v, %t", got, list.Truncated, want, tt.truncated)
				}
			}
		})
	}
}

func TestIntrospectionSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.Introspection = false }, echo{})
		_, err := invoke[core.Introspection](t.Context(), w.consumer(nil, "p:1"), core.IntrospectionService, core.IntrospectionMethod)
		w.expect(err, failure{code: spi.Unimplemented, phase: spi.PhaseDispatch, endpoint: "p:1", remote: true, message: "service bhrpc not found"})
	})
}
