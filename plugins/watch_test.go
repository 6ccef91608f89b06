package plugins

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// scripted is a health service whose answers are said before; then it is well.
type scripted struct {
	healthpb.HealthClient
	answers string // w: well, i: ill, e: an error, n: none
	asked   int
}

func (s *scripted) Check(ctx context.Context, _ *healthpb.HealthCheckRequest, _ ...grpc.CallOption) (*healthpb.HealthCheckResponse, error) {
	answer := byte('w')
	if s.asked < len(s.answers) {
		answer = s.answers[s.asked]
	}
	s.asked++
	switch answer {
	case 'i':
		return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}, nil
	case 'e':
		return nil, errors.New("no connection")
	case 'n':
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

// TestWatch: what ends a process that is ready, and when.
func TestWatch(t *testing.T) {
	tests := []struct {
		name, answers string
		want          error
		after         time.Duration
	}{
		{"well", "", errStopped, time.Minute},
		{"ill", "wwiii", errHealth, 10 * time.Second},
		{"errors", "eee", errHealth, 6 * time.Second},
		{"no answers", "nnn", errHealth, 7 * time.Second},
		{"ill now and then", "iiwiiwiiw", errStopped, time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				g := &generation{process: &process{exited: make(chan struct{})}, stuck: make(chan struct{}), health: &scripted{answers: tt.answers}}
				start := time.Now()
				asked, why := new(Plugin).watch(ctx, g)
				if after := time.Since(start); asked != nil || why != tt.want || after != tt.after {
					t.Errorf("watch: got %v, %v after %v, want %v after %v", asked, why, after, tt.want, tt.after)
				}
			})
		})
	}
}
