package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
)

// build builds the plugins, which are modules of their own, below dir.
func build(dir string) error {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/bhrpc/bhrpc").Output()
	if err != nil {
		return fmt.Errorf("find the modules of the plugins: %w; run this example within the repository of bhrpc", err)
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"zone", "adaptive", "toml", "audit"} {
		module := filepath.Join(strings.TrimSpace(string(root)), "examples", "plugin-"+name)
		program := filepath.Join(bin, name)
		if out, err := exec.Command("go", "build", "-C", module, "-o", program, "./cmd/"+name).CombinedOutput(); err != nil {
			return fmt.Errorf("build plugin %s: %w\n%s", name, err, out)
		}
		if err := os.Chmod(program, 0o700); err != nil { // nobody else may be able to change it
			return err
		}
		fmt.Println("built", name)
	}
	return nil
}

var (
	//go:embed consumer.yaml.tmpl
	consumerFile string
	//go:embed provider.yaml.tmpl
	providerFile string
)

// addresses is what the files of a run say.
type addresses struct{ Dir, EU, US string }

// write writes a configuration file. The working directory is that of the plugins.
func write(path, text string, values addresses) error {
	hash := func(program string) (string, error) { // as `bhrpc plugin pin` prints it
		data, err := os.ReadFile(program)
		sum := sha256.Sum256(data)
		return hex.EncodeToString(sum[:]), err
	}
	page, err := template.New(path).Funcs(template.FuncMap{"hash": hash}).Parse(text)
	if err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(page.Execute(file, values), file.Close())
}
