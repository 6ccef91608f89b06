package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// maxUnsent bounds how often a call goes on after connections that ended before it
// was sent.
const maxUnsent = 8

// Retry says how often a call is sent; docs/connections.md §5 says when.
type Retry struct {
	Attempts int          `json:"attempts" doc:"how often one call may be sent, the first time and a hedge included; 1: once"`
	Backoff  RetryBackoff `json:"backoff"`
	Budget   RetryBudget  `json:"budget"`
}

// RetryBackoff is the wait between attempts: before retry k, counted from 1,
// uniform(0, d), d = min(cap, base·2^(k-1)).
type RetryBackoff struct {
	Base spi.Duration `json:"base" doc:"longest wait before the first retry; 0s: none"`
	Cap  spi.Duration `json:"cap" doc:"longest wait"`
}

// RetryBudget bounds the retries of all calls of a Consumer together.
type RetryBudget struct {
	Ratio float64 `json:"ratio" doc:"retries that every call adds to the budget, in steps of 0.001; 0: none"`
	Burst int     `json:"burst" doc:"most retries that can be saved up, and what there is at the start; 0: no retry at all"`
}

// DefaultRetry returns attempts 3, backoff 10 ms to 200 ms, budget ratio 0.1, burst 100.
func DefaultRetry() Retry {
	return Retry{
		Attempts: 3,
		Backoff:  RetryBackoff{Base: spi.Duration(10 * time.Millisecond), Cap: spi.Duration(200 * time.Millisecond)},
		Budget:   RetryBudget{Ratio: 0.1, Burst: 100},
	}
}

func (r Retry) validate() error {
	return errors.Join(
		between("retry.attempts", r.Attempts, 1, 10),
		between("retry.backoff.base", r.Backoff.Base, 0, spi.Duration(time.Minute)),
		between("retry.backoff.cap", r.Backoff.Cap, 0, spi.Duration(time.Hour)),
		between("retry.budget.ratio", r.Budget.Ratio, 0, 1),
		between("retry.budget.burst", r.Budget.Burst, 0, 10_000),
	)
}

// wait returns how long to wait before retry k, counted from 1.
func (b RetryBackoff) wait(k int) time.Duration {
	return rand.N(min(b.Cap.D(), b.Base.D()<<(k-1)) + 1)
}

// ran says whether an attempt that failed can have run; it decides who may make it
// again.
type ran uint8

const (
	itself     ran = iota // the failure is the call's own: it would fail again
	notSent               // no: nothing was handed to the kernel
	turnedAway            // no: the provider said so
	perhaps               // it may have
)

// ranOf judges by what happened on the wire.
func ranOf(e *spi.Error) ran {
	switch {
	case e.Remote && e.Phase == spi.PhaseDispatch && (e.Code == spi.Unavailable || e.Code == spi.ResourceExhausted && e.Reason == spi.ReasonOverloaded):
		return turnedAway
	case e.Remote || !errors.Is(e.Cause, spi.ErrConnLost):
		return itself
	case e.Sent == spi.SentNo:
		return notSent
	case e.Sent == spi.SentMaybe:
		return perhaps
	}
	return itself
}

// history is what a call remembers of attempts that failed.
type history struct {
	avoid  []*endpoint // where it failed
	unsent int         // times it went on though nothing was sent
	failed []string    // where and why it failed, if it was sent
	last   *spi.Error  // the last of those
	sent   spi.Sent    // the worst of all
	spent  bool        // the budget forbids a retry
	hedged bool        // it was sent to two endpoints at once
}

// past returns the call's history, which begins with the first failure.
func (s *callState) past() *history {
	if s.history == nil {
		s.history = new(history)
	}
	return s.history
}

// idempotent reports whether the call may run twice.
func (s *callState) idempotent() bool { return s.call.Idempotent || s.target.idempotent }

// again notes why an attempt failed and reports whether the call is to be made once
// more, after waiting for as long as that takes.
func (s *callState) again(ctx context.Context, now *snapshot, i int, err error) bool {
	var e *spi.Error
	if !errors.As(err, &e) {
		return false
	}
	if s.target.consumer.ctx.Err() != nil {
		return e.Reason == spi.ReasonGoAway && ranOf(e) == notSent // attempts then says that the GOAWAY was this side's own
	}
	switch ranOf(e) {
	case notSent:
		return s.goOn(ctx, now, i)
	case turnedAway:
		s.past().note(s.endpoint, e)
		return s.elsewhere() && s.retry(ctx)
	case perhaps:
		s.past().note(s.endpoint, e)
		return s.idempotent() && s.retry(ctx)
	}
	return false
}

// goOn is for a call of which nothing was sent.
func (s *callState) goOn(ctx context.Context, now *snapshot, i int) bool {
	h := s.past()
	if h.unsent++; h.unsent > len(now.endpoints)+maxUnsent {
		return false
	}
	if s.conn == nil {
		return s.tried.add(now, i) || s.target.set.current.Load().listing != now.listing
	}
	h.avoid = append(h.avoid, s.endpoint)
	select { // it was going; the endpoint may be back at once
	case <-s.conn.ended:
	case <-s.conn.draining:
	case <-ctx.Done():
	}
	return true
}

// retry takes a token and waits for the backoff, if there are attempts, time and
// tokens left.
func (s *callState) retry(ctx context.Context) bool {
	c, h := s.target.consumer, s.history
	if len(h.failed) >= c.cfg.Retry.Attempts || c.active.Err() != nil {
		return false
	}
	wait := c.cfg.Retry.Backoff.wait(len(h.failed))
	if time.Until(s.deadline) <= wait {
		return false
	}
	if h.spent = !c.budget.take(); h.spent {
		return false
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-c.active.Done():
		}
	}
	return true
}

// elsewhere reports whether there is a usable endpoint where the call has not
// failed.
func (s *callState) elsewhere() bool {
	now := s.target.set.current.Load()
	_, found := s.history.without(now, s.tried.spare(now))
	return found
}

// note remembers an attempt that was sent and failed.
func (h *history) note(e *endpoint, failure *spi.Error) {
	h.avoid = append(h.avoid, e)
	h.failed = append(h.failed, fmt.Sprintf("%s (%s)", e.address, cmp.Or(failure.Reason, failure.Code.String())))
	h.last, h.sent = failure, worse(h.sent, failure.Sent)
}

// worse returns that of two which promises less.
func worse(a, b spi.Sent) spi.Sent {
	order := []spi.Sent{"", spi.SentNo, spi.SentMaybe, spi.SentPartial}
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}

// without returns the usable endpoints where the call has not failed; if there are
// none, all usable ones and false.
func (h *history) without(now *snapshot, usable spi.Bitmap) (_ spi.Bitmap, found bool) {
	left := spi.NewBitmap(len(now.endpoints))
	for i, e := range now.endpoints {
		if usable.Has(i) && !slices.Contains(h.avoid, e) {
			left.Set(i)
			found = true
		}
	}
	if !found {
		return usable, false
	}
	return left, true
}

// complete makes e, a copy of the failure that ends the call, tell of all attempts.
func (h *history) complete(e, failure *spi.Error) {
	before := h.failed
	if failure == h.last {
		before = before[:len(before)-1]
	}
	e.Sent = worse(e.Sent, h.sent)
	if len(before) > 0 {
		e.Message += fmt.Sprintf("; attempt %d, before it: %s", len(before)+1, strings.Join(before, ", "))
	}
	if h.spent {
		e.Message += "; not tried again: the retry budget is spent"
		e.Hint = cmp.Or(e.Hint, "the key consumer.retry.budget bounds retries")
	}
}
