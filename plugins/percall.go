package plugins

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bhrpc/bhrpc/spi"
)

const (
	// measured is how many exchanges tell what one costs; measureTime is how long
	// that may take.
	measured    = 100
	measureTime = time.Second
	// dear is what an exchange may cost before it is warned of at the start.
	dear = time.Millisecond
)

// perCall is a kind of extension that is asked for every call.
type perCall struct {
	wanted
	unit string                      // what costs one exchange: "message"
	ask  func(context.Context) error // one exchange of that size, without effects
}

// admit prepares an extension that is asked for every call, measures what that costs,
// and refuses it if the plugin's configuration does not allow it. It returns the number
// of the process; 0: the plugin does not run, and its extension is admitted unmeasured.
func (p *Plugin) admit(ctx context.Context, log logrus.FieldLogger, e perCall) (number uint64, err error) {
	number, err = p.prepare(ctx, e.wanted)
	var cost time.Duration
	n := 0
	if err == nil {
		cost, n, err = measure(ctx, e.ask)
	}
	if err != nil && !noAnswer(err) {
		return 0, err
	}
	log = log.WithField("plugin", p.cfg.Name)
	text := "an exchange with its process"
	if n > 0 {
		text = fmt.Sprintf("%v (median of %d)", cost, n)
	}
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case !p.cfg.PerCall:
		return 0, fmt.Errorf("it is in plugin %q and would cost %s per %s; to accept that, set per_call: true of the plugin", p.cfg.Name, text, e.unit)
	case err != nil:
		log.WithError(err).Warn("plugin " + e.kind + " could not be checked and measured yet")
	case cost >= dear:
		log.Warn(fmt.Sprintf("plugin %s costs %s per %s", e.kind, text, e.unit))
	default:
		log.Info(fmt.Sprintf("plugin %s costs %s per %s", e.kind, text, e.unit))
	}
	return number, nil
}

// measure returns the median time of n exchanges, of measured ones or as many as fit
// into measureTime; one before them does not count.
func measure(ctx context.Context, ask func(context.Context) error) (median time.Duration, n int, err error) {
	took := make([]time.Duration, 0, measured)
	begun := time.Now()
	for i := range measured + 1 {
		start := time.Now()
		if err := ask(ctx); err != nil {
			return 0, 0, err
		}
		if i > 0 {
			took = append(took, time.Since(start))
		}
		if time.Since(begun) > measureTime && len(took) > 0 {
			break
		}
	}
	slices.Sort(took)
	return took[len(took)/2].Round(time.Microsecond), len(took), nil
}

// noAnswer reports an error of a plugin that gave no answer: it does not run, its
// process ended, or it is late. What it answered, a refusal or nonsense, is none.
func noAnswer(err error) bool {
	switch code := status.Code(err); {
	case errors.Is(err, errNotReady), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return true
	default:
		return code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Canceled
	}
}

// allowOnFailure refuses an on_failure of a kind for which nothing else can stand in.
func (p *Plugin) allowOnFailure(kind string, known ...string) error {
	if value := p.cfg.OnFailure[kind]; value != "" && !slices.Contains(known, value) {
		return fmt.Errorf("configuration of plugin %q: %w: on_failure.%s: unknown value %q; known: %s", p.cfg.Name, spi.ErrInvalid, kind, value, strings.Join(known, ", "))
	}
	return nil
}

// unavailable is the error of a call for which a plugin gave no answer.
func (p *Plugin) unavailable(err error, hint string) *spi.Error {
	return &spi.Error{Code: spi.Unavailable, Message: err.Error(), Hint: hint, Cause: err}
}

// failed is the error of a call for which a plugin gave an answer that cannot be used.
func (p *Plugin) failed(err error) *spi.Error {
	if status.Code(err) == codes.ResourceExhausted {
		return &spi.Error{Code: spi.ResourceExhausted, Message: err.Error(), Hint: fmt.Sprintf("a message to or from a plugin has at most %d bytes", maxMessage), Cause: err}
	}
	return &spi.Error{Code: spi.Internal, Message: err.Error(), Cause: err}
}

const (
	slowExchange = 2 * time.Millisecond // more than one in a hundred above it is too many
	slowWindow   = 10 * time.Second
	slowFewest   = 100 // exchanges within the window, to say anything
	slowEvery    = time.Minute
)

// slowness finds windows of time in which exchanges are slow. The zero value begins
// with the first one. It is safe for concurrent use; what is noted while a window ends
// may count in either.
type slowness struct {
	end         atomic.Int64 // of the window, in nanoseconds
	warned      atomic.Int64 // when it was last reported, in nanoseconds
	total, slow atomic.Uint64
}

// note counts an exchange that took a time and ended at now, on any clock that is
// above 0. It returns true if the window that ended with it was slow and nothing was
// reported for slowEvery.
func (s *slowness) note(now, took time.Duration) bool {
	report := false
	switch end := s.end.Load(); {
	case end == 0:
		s.end.CompareAndSwap(0, int64(now+slowWindow))
	case int64(now) >= end && s.end.CompareAndSwap(end, int64(now+slowWindow)):
		total, slow := s.total.Swap(0), s.slow.Swap(0)
		if total >= slowFewest && slow*100 > total {
			last := s.warned.Load()
			report = (last == 0 || int64(now)-last >= int64(slowEvery)) && s.warned.CompareAndSwap(last, int64(now))
		}
	}
	s.total.Add(1)
	if took > slowExchange {
		s.slow.Add(1)
	}
	return report
}
