package interceptor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// AccessLogConfig configures access-log.
type AccessLogConfig struct {
	Level string `json:"level" doc:"level of the lines: debug, info, warn or error"`
}

var levels = []string{"debug", "info", "warn", "error"}

// Validate reports a level that there is not.
func (c AccessLogConfig) Validate() error {
	if slices.Contains(levels, c.Level) {
		return nil
	}
	hint := ""
	if near := spi.Nearest(c.Level, levels); near != "" {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	return fmt.Errorf("level: unknown value %q%s\n  known: %s", c.Level, hint, strings.Join(levels, ", "))
}

// openAccessLog logs calls when they are over. The number of bytes is not among the
// fields: an interceptor sees values, not what they become.
func openAccessLog(_ context.Context, env spi.Env, cfg AccessLogConfig) (spi.Interceptor, error) {
	level, err := logrus.ParseLevel(cfg.Level)
	if err != nil {
		return nil, err
	}
	log := env.Log.WithFields(nil)
	return func(next spi.InvokeFunc) spi.InvokeFunc {
		return func(ctx context.Context, call *spi.Call) error {
			if !log.Logger.IsLevelEnabled(level) {
				return next(ctx, call)
			}
			start := time.Now()
			finished := false
			defer func() {
				if !finished { // a panic, or the end of the goroutine: whoever is around this one decides
					accessLine(ctx, log, call, start).WithField("code", "PANIC").Log(level, "call did not return")
				}
			}()
			err := next(ctx, call)
			finished = true
			what := "call made"
			if served(ctx, call) {
				what = "call served"
			}
			code := "OK"
			if err != nil {
				code = spi.CodeOf(err).String()
			}
			accessLine(ctx, log, call, start).WithField("code", code).Log(level, what)
			return err
		}
	}, nil
}

func accessLine(ctx context.Context, log *logrus.Entry, call *spi.Call, start time.Time) *logrus.Entry {
	return log.WithContext(ctx).WithFields(logrus.Fields{"method": call.Method.String(), "peer": call.Peer, "took": time.Since(start)})
}
