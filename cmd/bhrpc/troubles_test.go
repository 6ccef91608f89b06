package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every error that the page explains is one that the code has.
func TestTroubles(t *testing.T) {
	page, err := os.ReadFile("../../docs/writing-a-plugin.md")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, dir := range []string{"../../plugins", "../../spi"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(text)
		}
	}
	_, table, ok := strings.Cut(string(page), "\n| the error says |")
	if !ok {
		t.Fatal("the page has no table of errors")
	}
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, " | ")
		if len(cells) < 2 || !strings.HasPrefix(line, "| `") {
			continue
		}
		rows++
		for _, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[0], -1) {
			for part := range strings.SplitSeq(quoted[1], ": ") { // a wrapped error has its text elsewhere
				if part = strings.TrimSuffix(part, ":"); !strings.Contains(code.String(), part) {
					t.Errorf("error %q: the code has no %q", quoted[1], part)
				}
			}
		}
	}
	if rows < 10 {
		t.Errorf("rows: got %d, want those of the table", rows)
	}
}
