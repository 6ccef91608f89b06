package bhrpc_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The README's programs are compiled as they stand there, its commands are run, and
// what they print must be what the README shows, times and ports aside.

// readme is the page, cut into its fenced blocks.
type readme struct{ text string }

func openReadme(t *testing.T) readme {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return readme{string(text)}
}

// block returns the first fenced block of a language after a text.
func (r readme) block(t *testing.T, after, language string) string {
	t.Helper()
	_, rest, ok := strings.Cut(r.text, after)
	if ok {
		_, rest, ok = strings.Cut(rest, "\n```"+language+"\n")
	}
	block, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("README.md has no %s block after %q", language, after)
	}
	return block
}

// printed returns what the README shows below a command, in the place after a text.
func (r readme) printed(t *testing.T, after, command string) string {
	t.Helper()
	_, rest, ok := strings.Cut(r.text, after)
	if ok {
		_, rest, ok = strings.Cut(rest, "\n$ "+command)
	}
	if !ok {
		t.Fatalf("README.md does not show %q after %q", command, after)
	}
	_, rest, _ = strings.Cut(rest, "\n") // a comment may follow the command
	var lines []string
	for line := range strings.Lines(rest) {
		if strings.HasPrefix(line, "$ ") || strings.HasPrefix(line, "```") {
			break
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

var (
	clock = regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}`)
	took  = regexp.MustCompile(`\d+\.\d\d ms`)
	ports = regexp.MustCompile(`127\.0\.0\.1:\d+`)
)

// plain takes times and ports out of a text.
func plain(text string) string {
	text = clock.ReplaceAllString(text, "TIME")
	text = took.ReplaceAllString(text, "N ms")
	return ports.ReplaceAllString(text, "ADDR")
}

func compare(t *testing.T, what, got, want string) {
	t.Helper()
	if plain(got) != plain(want) {
		t.Errorf("%s\ngot\n%s\nwant\n%s", what, plain(got), plain(want))
	}
}

// build compiles a program whose text is not in the tree, as a package of this
// module.
func build(t *testing.T, name, source string) (binary string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, name+".go")
	binary = filepath.Join(dir, name)
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	virtual := filepath.Join(root, "readme-"+name, "main.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{virtual: file}})
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{file: source, file + ".json": string(overlay)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	compile(t, binary, "-overlay", file+".json", "./readme-"+name)
	return binary
}

// compile is go build -o binary args.
func compile(t *testing.T, binary string, args ...string) {
	t.Helper()
	if out, err := exec.Command("go", append([]string{"build", "-o", binary}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// start runs a provider on a free port until the test ends, and returns what it
// printed up to its last line of the start.
func start(t *testing.T, binary string) (address, printed string) {
	t.Helper()
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "BHRPC_PROVIDER_LISTEN=127.0.0.1:0")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		printed += lines.Text() + "\n"
		if strings.Contains(lines.Text(), "try:") {
			return ports.FindString(printed), printed
		}
	}
	t.Fatalf("the provider ended: %s", printed)
	return "", ""
}

// execute runs a command to its end in dir.
func execute(t *testing.T, dir string, env []string, name string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), env...), &out, &errs
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatalf("%s: %v", name, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestReadmeFirstCall(t *testing.T) {
	const place = "## The first call"
	page := openReadme(t)
	provider := build(t, "provider", page.block(t, "`provider/main.go`", "go"))
	address, printed := start(t, provider)
	compare(t, "go run ./provider", printed, page.printed(t, place, "go run ./provider"))

	source := page.block(t, "`consumer/main.go`", "go")
	consumer := build(t, "consumer", strings.ReplaceAll(source, "127.0.0.1:7070", address))
	status, stdout, stderr := execute(t, "", nil, consumer)
	compare(t, "go run ./consumer", stdout, page.printed(t, place, "go run ./consumer"))
	if status != 0 || stderr != "" {
		t.Errorf("go run ./consumer: got status %d and %q, want 0 and nothing", status, stderr)
	}

	answer, err := http.Post("http://"+address+"/Hello/Say", "application/x-www-form-urlencoded", strings.NewReader(`["world"]`)) // what curl -d sends
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "curl", string(body), page.printed(t, place, `curl -s 127.0.0.1:7070/Hello/Say -d '["world"]'`))

	tool := filepath.Join(t.TempDir(), "bhrpc")
	compile(t, tool, "./cmd/bhrpc")
	for method, want := range map[string]int{"Hello.Say": 0, "Hello.Sya": 1} {
		status, stdout, stderr := execute(t, "", nil, tool, "call", address, method, `"world"`)
		command := fmt.Sprintf(`bhrpc call 127.0.0.1:7070 %s '"world"'`, method)
		together := strings.TrimSuffix(stdout, "\n") + stderr // as a terminal shows it
		compare(t, command, strings.TrimSuffix(together, "\n")+"\n", page.printed(t, place, command))
		if status != want {
			t.Errorf("%s: got status %d, want %d", command, status, want)
		}
	}
}

// consumerByFile is the consumer of the README with Open in place of Dial.
func consumerByFile(t *testing.T, page readme) string {
	source := page.block(t, "`consumer/main.go`", "go")
	for old, replacement := range map[string]string{
		`bhrpc.Dial("127.0.0.1:7070")`: `bhrpc.Open(context.Background(), "bhrpc.yaml")`,
		"\"log\"\n":                    "\"os\"\n",
		"log.Fatal(err)":               "fmt.Fprintln(os.Stderr, err)\n\t\tos.Exit(1)",
	} {
		if !strings.Contains(source, old) {
			t.Fatalf("the consumer of README.md does not contain %q", old)
		}
		source = strings.ReplaceAll(source, old, replacement)
	}
	return build(t, "consumer", source)
}

func TestReadmeKeys(t *testing.T) {
	const place = "## Choose extensions by key"
	page := openReadme(t)
	provider := build(t, "provider", page.block(t, "`provider/main.go`", "go"))
	first, _ := start(t, provider)
	second, _ := start(t, provider)
	consumer := consumerByFile(t, page)
	dir := t.TempDir()
	file := page.block(t, place, "yaml")
	write := func(from, to string) {
		t.Helper()
		if !strings.Contains(file, from) {
			t.Fatalf("the file of README.md does not contain %q:\n%s", from, file)
		}
		file = strings.ReplaceAll(file, from, to)
		if err := os.WriteFile(filepath.Join(dir, "bhrpc.yaml"), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("127.0.0.1:7070", first)
	write("127.0.0.1:7071", second)

	status, stdout, stderr := execute(t, dir, []string{"BHRPC_EXPLAIN=1"}, consumer)
	compare(t, "BHRPC_EXPLAIN=1", stderr, page.printed(t, place, "BHRPC_EXPLAIN=1 go run ./consumer"))
	if status != 0 || stdout != "hello, world <nil>\n" {
		t.Errorf("BHRPC_EXPLAIN=1: got status %d and %q, want 0 and the greeting", status, stdout)
	}
	for _, tt := range []struct {
		command, env string
		from, to     string // what sed changes
	}{
		{command: "BHRPC_CONSUMER_LOADBALANCER=round-robbin go run ./consumer", env: "BHRPC_CONSUMER_LOADBALANCER=round-robbin"},
		{command: "sed -i 's/serializer/serialiser/' bhrpc.yaml && go run ./consumer", from: "serializer", to: "serialiser"},
		{command: "sed -i 's/serialiser: gob/serializer: jdk/' bhrpc.yaml && go run ./consumer", from: "serialiser: gob", to: "serializer: jdk"},
	} {
		if tt.from != "" {
			write(tt.from, tt.to)
		}
		status, _, stderr := execute(t, dir, []string{tt.env}, consumer)
		compare(t, tt.command, stderr, page.printed(t, place, tt.command))
		if status != 1 {
			t.Errorf("%s: got status %d, want 1", tt.command, status)
		}
	}
}

// What the README says one's own load balancer looks like is what the example is.
func TestReadmeOwnExtension(t *testing.T) {
	example, err := os.ReadFile("examples/custom/primary/primary.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(openReadme(t).block(t, "## Write your own", "go"), "package primary\n")
	for part := range strings.SplitSeq(strings.TrimSpace(rest), "\n\n") {
		if !strings.Contains(string(example), part) {
			t.Errorf("examples/custom/primary/primary.go does not contain\n%s", part)
		}
	}
}
