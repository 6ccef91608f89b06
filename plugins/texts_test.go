package plugins

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// TestTextsCanTravel: whatever an error or a name holds, its message can be sent.
func TestTextsCanTravel(t *testing.T) {
	const odd = "\xff"
	details := map[string]string{odd: odd}
	said := &statuses{changed: make(chan struct{}, 1)}
	said.up(errors.New(odd))
	tests := []struct {
		name    string
		message proto.Message
	}{
		{"outcome", sentOutcome(spi.Outcome{Service: odd, Method: odd, Endpoint: odd, Message: odd})},
		{"error of a hook", sentFailure(&spi.Error{Reason: odd, Message: odd, Hint: odd, Details: details})},
		{"plain error of a hook", sentFailure(errors.New(odd))},
		{"refusal", sentRefusal(&spi.Refusal{Message: odd, Details: details})},
		{"labels", &pluginv1.PlanRequest{Endpoints: sentStats([]spi.EndpointStats{{Address: "a", Labels: details}})}},
		{"status of a registration", said.latest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := proto.Marshal(tt.message); err != nil {
				t.Error(err)
			}
		})
	}
	if details[odd] != odd {
		t.Errorf("got %q, want what was given unchanged", details)
	}
}
