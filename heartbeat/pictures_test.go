package heartbeat_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// drawing is a Mermaid block with the link that follows it.
var drawing = regexp.MustCompile("(?s)```mermaid\n(.*?)```\n(\n\\[[^]]*\\]\\((images/[a-z-]+\\.svg)\\)\n)?")

// TestPictures: every drawing of docs/heartbeat.md has a picture, made from it as it
// is now.
func TestPictures(t *testing.T) {
	const again = "run docs/images/render.sh"
	page, err := os.ReadFile("../docs/heartbeat.md")
	if err != nil {
		t.Fatal(err)
	}
	found := drawing.FindAllStringSubmatch(string(page), -1)
	if want := strings.Count(string(page), "```mermaid"); len(found) != want || want == 0 {
		t.Fatalf("drawings: got %d, want %d", len(found), want)
	}
	for i, block := range found {
		if block[3] == "" {
			t.Errorf("drawing %d: got no link to a picture under it, want one", i+1)
			continue
		}
		picture, err := os.ReadFile(filepath.Join("../docs", filepath.FromSlash(block[3])))
		if err != nil {
			t.Errorf("drawing %d: got %v, want a picture; %s", i+1, err, again)
			continue
		}
		if want := fmt.Sprintf("<!-- sha256 of the drawing: %x -->", sha256.Sum256([]byte(block[1]))); !strings.Contains(string(picture), want) {
			t.Errorf("%s: got a picture of another drawing, want %q in it; %s", block[3], want, again)
		}
		if len(picture) > 200<<10 {
			t.Errorf("%s: got %d bytes, want 200 KiB at most", block[3], len(picture))
		}
	}
}
