package core

import (
	"math"
	"sync/atomic"
)

// token is one retry, in the unit of a budget.
const token = 1000

// budget is a bucket of tokens that bounds the retries of a Consumer. It is safe for
// concurrent use. While it is full, as long as nothing fails, calls only read it.
type budget struct {
	left    atomic.Int64
	perCall int64
	most    int64
}

func (b *budget) init(cfg RetryBudget) {
	b.perCall, b.most = int64(math.Round(cfg.Ratio*token)), int64(cfg.Burst)*token
	b.left.Store(b.most)
}

// earn adds what one call adds. What a race loses is not missed.
func (b *budget) earn() {
	if left := b.left.Load(); left < b.most {
		b.left.CompareAndSwap(left, min(left+b.perCall, b.most))
	}
}

// take takes a token and reports whether there was one.
func (b *budget) take() bool {
	for {
		left := b.left.Load()
		if left < token {
			return false
		}
		if b.left.CompareAndSwap(left, left-token) {
			return true
		}
	}
}

// giveBack puts in a token that was taken for nothing. More than fits is lost.
func (b *budget) giveBack() {
	for {
		left := b.left.Load()
		if b.left.CompareAndSwap(left, min(left+token, b.most)) {
			return
		}
	}
}
