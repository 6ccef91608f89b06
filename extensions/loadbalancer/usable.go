package loadbalancer

import (
	"math/bits"
	"math/rand/v2"

	"github.com/bhrpc/bhrpc/spi"
)

// tries is how often a pick draws again when it drew an endpoint that is not
// usable, before it counts those that are.
const tries = 4

// anyUsable returns a random index of the set among n, each with the same
// probability.
func anyUsable(usable spi.Bitmap, n int) int {
	for range tries {
		if i := below(uint32(rand.Uint64()), n); usable.Has(i) {
			return i
		}
	}
	return nth(usable, n, rand.IntN(max(count(usable, n), 1)))
}

// below makes an index below n of 32 random bits.
func below(random uint32, n int) int { return int(uint64(random) * uint64(n) >> 32) }

// word returns 64 indices of the set, without those from n on.
func word(usable spi.Bitmap, n, at int) uint64 {
	w := usable[at]
	if rest := n - at<<6; rest < 64 {
		w &= 1<<max(rest, 0) - 1
	}
	return w
}

// count returns how many of n indices the set holds.
func count(usable spi.Bitmap, n int) int {
	if usable == nil {
		return n
	}
	sum := 0
	for at := range usable {
		sum += bits.OnesCount64(word(usable, n, at))
	}
	return sum
}

// nth returns index number k, from 0, of the set among n; 0 if there are not so
// many.
func nth(usable spi.Bitmap, n, k int) int {
	if usable == nil {
		return k
	}
	for at := range usable {
		w := word(usable, n, at)
		if c := bits.OnesCount64(w); k >= c {
			k -= c
			continue
		}
		for ; k > 0; k-- {
			w &= w - 1
		}
		return at<<6 + bits.TrailingZeros64(w)
	}
	return 0
}
