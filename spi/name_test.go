package spi_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bhrpc/bhrpc/spi"
)

func TestNearest(t *testing.T) {
	balancers := []string{"consistent-hash", "p2c", "random", "robin", "round-robin", "weighted-random"}
	keys := []string{"ca", "cert", "interval", "key", "skip", "zone"}
	for _, tt := range []struct {
		name, typo string
		known      []string
		want       string
	}{
		{"the word itself", "random", balancers, "random"},
		{"one letter more", "round-robbin", balancers, "round-robin"},
		{"one letter less", "randm", balancers, "random"},
		{"one letter wrong", "rendom", balancers, "random"},
		{"two neighbours swapped", "rnadom", balancers, "random"},
		{"swapped at the end", "randmo", balancers, "random"},
		{"two of six", "rendon", balancers, "random"},
		{"three of fifteen", "consstnt-hesh", balancers, "consistent-hash"},
		{"case", "P2C", balancers, "p2c"},
		{"case and a letter", "Round-Robbin", balancers, "round-robin"},
		{"underscore for dash", "round_robin", balancers, "round-robin"},
		{"no dash", "roundrobin", balancers, "round-robin"},
		{"nearest of two", "robon", balancers, "robin"},
		{"first of two as near", "aac", []string{"aab", "aad"}, "aab"},
		{"short, one letter", "cat", keys, "ca"},
		{"key with a letter more", "zones", keys, "zone"},
		{"plural and swap", "intrevals", keys, "interval"},
		{"two letters, one right", "cb", keys, "ca"},

		{"three of six", "rendun", []string{"random"}, ""},
		{"four of fifteen", "cnsstnt-hesh", balancers, ""},
		{"another word", "sticky", balancers, ""},
		{"a prefix", "weighted", balancers, ""},
		{"short, two letters", "pac2", balancers, ""},
		{"one letter, another one", "x", []string{"y", "z"}, ""},
		{"one letter, in another case", "K", []string{"k"}, "k"},
		{"two letters, none right", "xy", []string{"ab"}, ""},
		{"nothing", "", []string{"a", "b"}, ""},
		{"nothing known", "random", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := spi.Nearest(tt.typo, tt.known); got != tt.want {
				t.Errorf("Nearest(%q, %q): got %q, want %q", tt.typo, tt.known, got, tt.want)
			}
		})
	}
}

// edits is the distance that Nearest promises, by its definition: the fewest
// letters that are wrong, missing, extra or swapped with their neighbour, none of
// them touched twice.
func edits(a, b string) int {
	known := make(map[[2]int]int)
	var from func(i, j int) int
	from = func(i, j int) int {
		switch {
		case i == len(a):
			return len(b) - j
		case j == len(b):
			return len(a) - i
		}
		if d, ok := known[[2]int{i, j}]; ok {
			return d
		}
		best := 1 + min(from(i+1, j), from(i, j+1), from(i+1, j+1))
		if a[i] == b[j] {
			best = min(best, from(i+1, j+1))
		}
		if i+1 < len(a) && j+1 < len(b) && a[i] == b[j+1] && a[i+1] == b[j] {
			best = min(best, 1+from(i+2, j+2))
		}
		known[[2]int{i, j}] = best
		return best
	}
	return from(0, 0)
}

// FuzzNearest compares Nearest with its definition, and looks for what must hold of
// any distance: it does not matter which of two words of one length is the typo,
// and a word is nearest to itself.
func FuzzNearest(f *testing.F) {
	for _, seed := range [][3]string{
		{"round-robbin", "round-robin", "robin"}, {"ab", "ba", "abc"}, {"", "a", ""}, {"Skip", "skip", "ship"},
		{"abcdefghi", "abdcefgih", "zzz"}, {"a", "b", "c"}, {"\xff\xfe", "\xfe\xff", "ä"}, {"aaaa", "aa", "aaa"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, typo, first, second string) {
		if len(typo)+len(first)+len(second) > 200 {
			return
		}
		known := []string{first, second}
		got := spi.Nearest(typo, known)
		want, least := "", min(4, max(2, len(typo)/3+1))
		for _, k := range known {
			a, b := strings.ToLower(typo), strings.ToLower(k)
			if d := edits(a, b); d < least && d < max(len(a), len(b)) {
				want, least = k, d
			}
		}
		if got != want {
			t.Errorf("Nearest(%q, %q): got %q, want %q", typo, known, got, want)
		}
		if got != "" && !slices.Contains(known, got) {
			t.Errorf("Nearest(%q, %q): got %q, which is not known", typo, known, got)
		}
		if len(typo) == len(first) && utf8.ValidString(typo) && utf8.ValidString(first) {
			if there, back := spi.Nearest(typo, []string{first}) != "", spi.Nearest(first, []string{typo}) != ""; there != back {
				t.Errorf("Nearest of %q and %q: got %t and %t, want the same both ways", typo, first, there, back)
			}
		}
		if own := spi.Nearest(typo, []string{typo}); own != typo {
			t.Errorf("Nearest(%q) of itself: got %q", typo, own)
		}
	})
}
