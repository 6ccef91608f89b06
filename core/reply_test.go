package core

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

func TestToSend(t *testing.T) {
	own := &spi.Error{Code: spi.NotFound, Reason: "no_such_user", Message: "user 7", Hint: "ask for another", Details: map[string]string{"id": "7"}}
	foreign := &spi.Error{Code: spi.Unavailable, Reason: spi.ReasonReset, Phase: spi.PhaseWait, Service: "Users", Method: "Find", Endpoint: "10.0.0.1:7070", Sent: spi.SentMaybe, Message: "the connection was reset", Details: map[string]string{"a": "b"}}
	for _, test := range []struct {
		name string
		err  error
		want spi.Error
	}{
		{"plain", errors.New("disk full"), spi.Error{Code: spi.Unknown, Phase: spi.PhaseHandler, Message: "disk full"}},
		{"own", own, spi.Error{Code: spi.NotFound, Reason: "no_such_user", Phase: spi.PhaseHandler, Message: "user 7", Hint: "ask for another", Details: own.Details}},
		{"own with a phase", &spi.Error{Code: spi.Internal, Phase: spi.PhaseDecode, Message: "x"}, spi.Error{Code: spi.Internal, Phase: spi.PhaseDecode, Message: "x"}},
		{"own without a code", &spi.Error{Message: "x"}, spi.Error{Code: spi.Unknown, Phase: spi.PhaseHandler, Message: "x"}},
		{"own with a code that is none", &spi.Error{Code: 99, Message: "x"}, spi.Error{Code: spi.Unknown, Phase: spi.PhaseHandler, Message: "x"}},
		{"wrapped", fmt.Errorf("find: %w", own), spi.Error{Code: spi.NotFound, Reason: "no_such_user", Phase: spi.PhaseHandler, Message: "find: NOT_FOUND: user 7; ask for another", Details: own.Details}},
		{"wrapped without a code", fmt.Errorf("find: %w", &spi.Error{Message: "x"}), spi.Error{Code: spi.Unknown, Phase: spi.PhaseHandler, Message: "find: UNKNOWN: x"}},
		{"of a call that the handler made", foreign, spi.Error{Code: spi.Unavailable, Reason: spi.ReasonReset, Phase: spi.PhaseHandler, Message: foreign.Error(), Details: foreign.Details}},
		{"canceled", context.Canceled, spi.Error{Code: spi.Canceled, Phase: spi.PhaseHandler, Message: "the handler returned: context canceled"}},
		{"deadline", fmt.Errorf("read: %w", context.DeadlineExceeded), spi.Error{Code: spi.DeadlineExceeded, Phase: spi.PhaseHandler, Message: "read: context deadline exceeded"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := toSend(test.err)
			if got.Code != test.want.Code || got.Reason != test.want.Reason || got.Phase != test.want.Phase || got.Message != test.want.Message || got.Hint != test.want.Hint || !maps.Equal(got.Details, test.want.Details) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if error(got) == test.err {
				t.Error("got the handler's own error, want a copy")
			}
		})
	}
	if own.Phase != "" {
		t.Error("the handler's error was changed")
	}
}

// Whatever a handler returns fits into what every consumer takes.
func TestErrorReplyFits(t *testing.T) {
	huge := strings.Repeat("ü", 1<<20)
	tiny := make(map[string]string)
	for i := range 20_000 {
		tiny[fmt.Sprintf("%x", i)] = ""
	}
	for _, test := range []struct {
		name string
		err  spi.Error
	}{
		{"everything at once", spi.Error{Code: spi.Internal, Message: huge, Reason: huge, Phase: spi.Phase(huge), Hint: huge, Details: map[string]string{"k": huge[:32<<10]}}},
		{"many small details", spi.Error{Code: spi.Internal, Message: huge, Hint: huge, Details: tiny}},
		{"as many details as go", spi.Error{Code: spi.Internal, Message: huge, Reason: huge, Phase: spi.Phase(huge), Hint: huge, Details: prefix(tiny, 8000)}},
		{"one huge detail", spi.Error{Code: spi.Internal, Details: map[string]string{huge: huge}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := errorReply(7, toSend(&test.err), nil)
			defer f.payload.release()
			if size := len(f.payload.b) - headroom; size > minMessage {
				t.Errorf("got %d bytes, want at most %d", size, minMessage)
			}
			body, err := wire.ParseError(f.payload.b[headroom+f.metadata:])
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{body.Message, body.Reason, body.Phase, body.Hint} {
				if !utf8.ValidString(text) {
					t.Errorf("got %.20q…%q, want valid text", text, text[len(text)-5:])
				}
			}
			if test.err.Message != "" && (!strings.HasPrefix(body.Message, huge[:1000]) || !strings.HasSuffix(body.Message, "…")) {
				t.Errorf("got a message of %d bytes, want the beginning of it and …", len(body.Message))
			}
		})
	}
}

func prefix(m map[string]string, n int) map[string]string {
	some := make(map[string]string)
	for _, k := range slices.Sorted(maps.Keys(m))[:n] {
		some[k] = m[k]
	}
	return some
}

func TestErrorReply(t *testing.T) {
	f := errorReply(9, &spi.Error{Code: spi.NotFound, Reason: "gone", Phase: spi.PhaseHandler, Message: "no", Hint: "try", Details: map[string]string{"a": "b"}}, spi.Metadata{{Key: "k", Value: "v"}})
	defer f.payload.release()
	if f.Type != wire.Error || f.ID != 9 || f.Code != uint8(spi.NotFound) {
		t.Errorf("got %+v, want an ERROR 9 with code %d", f.Header, spi.NotFound)
	}
	payload := f.payload.b[headroom:]
	if n, err := wire.CountPairs(payload[:f.metadata]); n != 1 || err != nil {
		t.Errorf("got %d pairs, %v, want 1", n, err)
	}
	body, err := wire.ParseError(payload[f.metadata:])
	want := wire.ErrorBody{Message: "no", Reason: "gone", Phase: "handler", Hint: "try", Details: map[string]string{"a": "b"}}
	if err != nil || body.Message != want.Message || body.Reason != want.Reason || body.Phase != want.Phase || body.Hint != want.Hint || body.Details["a"] != "b" {
		t.Errorf("got %+v, %v, want %+v", body, err, want)
	}
}
