package plugins

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// neutralName is the built-in serializer that writes the neutral document.
const neutralName = "json"

// addSerializer adds a serializer that the plugin transcodes for.
func (p *Plugin) addSerializer(cat *spi.Catalog, info spi.Info) error {
	if err := p.allowOnFailure(info.Kind, spi.Fail); err != nil {
		return err
	}
	return cat.Serializers.Add(info, func(ctx context.Context, env spi.Env, with []byte) (spi.Serializer, error) {
		neutral, err := cat.Serializers.Open(ctx, spi.Env{}, spi.Ref{Use: neutralName})
		if err != nil {
			return nil, fmt.Errorf("the neutral document of serializers in plugins needs serializer %q: %w", neutralName, err)
		}
		s := &serializer{plugin: p, neutral: neutral, streams: streams{name: info.Name, with: with}, begun: time.Now()}
		w := wanted{kind: info.Kind, name: info.Name, with: string(with)}
		number, err := p.admit(ctx, env.Log, perCall{w, "message", s.probe})
		if err == nil {
			s.use, err = p.keep(ctx, w, number, "", env.Log)
		}
		if err != nil {
			s.streams.close()
			return nil, err
		}
		return s, nil
	})
}

// serializer turns values into neutral documents, which the plugin transcodes.
type serializer struct {
	plugin  *Plugin
	neutral spi.Serializer
	streams streams
	use     *usage
	slow    slowness
	begun   time.Time // of slow's clock
}

// Append implements spi.Serializer.
func (s *serializer) Append(dst []byte, v any) ([]byte, error) {
	document, err := s.neutral.Append(nil, v)
	if err != nil {
		return nil, err
	}
	data, err := s.transcode(pluginv1.Blob_ENCODE, document)
	if err != nil {
		return nil, err
	}
	return append(dst, data...), nil
}

// Decode implements spi.Serializer.
func (s *serializer) Decode(data []byte, v any) error {
	document, err := s.transcode(pluginv1.Blob_DECODE, data)
	if err != nil {
		return err
	}
	if err := s.neutral.Decode(document, v); err != nil {
		return fmt.Errorf("document of plugin %q: %w", s.plugin.cfg.Name, err)
	}
	return nil
}

// Close ends the streams. It is safe to call twice.
func (s *serializer) Close() error {
	s.plugin.usages.remove(s.use)
	s.streams.close()
	return nil
}

// transcode makes one exchange, and another one if the process did not survive it.
func (s *serializer) transcode(direction pluginv1.Blob_Direction, data []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.plugin.cfg.CallTimeout.D())
	defer cancel()
	start := time.Now()
	answer, number, err := s.ask(ctx, direction, data)
	if lost(err) {
		deadline, _ := ctx.Deadline()
		g, none := s.plugin.awaitBy(ctx, number, deadline)
		switch {
		case none == nil:
			g.release()
			answer, _, err = s.ask(ctx, direction, data)
		case errors.Is(err, errNotReady): // else err says what became of the process, or of the stream alone
			err = none
		}
	}
	if end := time.Now(); s.slow.note(end.Sub(s.begun), end.Sub(start)) {
		s.use.log.Warn(fmt.Sprintf("plugin serializer is slow: within %v more than one exchange in a hundred took over %v", slowWindow, slowExchange))
	}
	switch {
	case err != nil && noAnswer(err):
		s.use.fell(err)
		return nil, s.plugin.unavailable(err, "bhrpc plugin inspect "+s.plugin.cfg.Name+" says how it does")
	case err != nil:
		return nil, s.plugin.failed(err)
	}
	s.use.works()
	if answer.GetError() != "" {
		return nil, fmt.Errorf("plugin %q: %s", s.plugin.cfg.Name, answer.GetError())
	}
	return answer.GetData(), nil
}

// lost reports that the process ended before it answered, or that there is none. gRPC
// says Canceled if the host closed the connection to a process that had ended before
// it noticed; the context of an exchange is never canceled.
func lost(err error) bool {
	return errors.Is(err, errNotReady) || status.Code(err) == codes.Unavailable || status.Code(err) == codes.Canceled
}

// probe is an exchange of a small document.
func (s *serializer) probe(ctx context.Context) error {
	answer, _, err := s.ask(ctx, pluginv1.Blob_ENCODE, []byte(`{"id":1,"name":"measurement","labels":["a","b"]}`))
	if err == nil && answer.GetError() != "" {
		err = fmt.Errorf("encode a small document: plugin %q: %s", s.plugin.cfg.Name, answer.GetError())
	}
	return err
}

// ask makes one exchange. number is the generation that was asked, 0 if there was
// none.
func (s *serializer) ask(ctx context.Context, direction pluginv1.Blob_Direction, data []byte) (answer *pluginv1.Blob, number uint64, err error) {
	answer, err = exchange(ctx, s.plugin, func(ctx context.Context, g *generation) (*pluginv1.Blob, error) {
		number = g.number
		return s.streams.exchange(ctx, g, direction, data)
	})
	return answer, number, err
}
