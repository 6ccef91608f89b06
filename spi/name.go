package spi

import (
	"regexp"
	"strings"
)

// names is what an extension may be called; aliases may hold underscores too,
// because the Java framework's keys do.
var (
	names   = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)
	aliases = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)
)

// Nearest returns the entry of known that name was most likely meant to be, or
// "" if none is near: at most a third of the letters (one of them in a name
// shorter than that, never more than three, never all) may be wrong, missing, extra
// or swapped with their neighbour. Case does not count. Of two that are as near the
// first is taken.
func Nearest(name string, known []string) string {
	best, least := "", min(4, max(2, len(name)/3+1))
	name = strings.ToLower(name)
	for _, k := range known {
		low := strings.ToLower(k)
		if d := distance(name, low); d < min(least, max(len(name), len(low))) {
			best, least = k, d
		}
	}
	return best
}

// distance is the optimal string alignment distance between a and b, in bytes:
// insertions, deletions, substitutions and swaps of neighbours cost 1 each.
func distance(a, b string) int {
	prev2 := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, prev[j]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}
