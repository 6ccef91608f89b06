package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc/extensions"
	"github.com/bhrpc/bhrpc/extensions/all"
	"github.com/bhrpc/bhrpc/plugins/conform"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
)

// errPluginTest is a plugin that did not pass, which was printed.
var errPluginTest = errors.New("the plugin did not pass")

func pluginTestCommand() *cobra.Command {
	var asJSON, verbose bool
	var with, env []string
	cfg := spi.PluginConfig{}
	var startTimeout, within time.Duration
	cmd := &cobra.Command{
		Use:   "test PROGRAM [-- ARGUMENT...]",
		Short: "Hold a plugin program against everything that a host expects of it",
		Long: `Hold a plugin program against everything that a host expects of it.

The very program is started, as a host does it: how it introduces itself, what it says to
a wrong configuration, whether its extensions keep their contracts, and how it ends when
it is closed, killed, stopped, or its host is killed. One line says what passed, with
exit status 0; otherwise each line that begins with FAIL says what is wrong, with 1.

p50 and p99 are of exchanges with the slowest of its extensions, as a host makes them:
for a load balancer a plan for ten endpoints, which no call waits for.`,
		Example: `  bhrpc plugin test ./bin/nearest
  bhrpc plugin test ./bin/audit --with 'audit={"file": "/tmp/audit.log"}'
  bhrpc plugin test ./least-busy.pyz --mtls off`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			cfg.Name, cfg.Path, cfg.Args, cfg.StartTimeout = pluginName(path), path, args[1:], spi.Duration(startTimeout)
			run := conform.Config{Plugin: cfg, With: map[string][]byte{}, Host: conformHost, Within: within,
				Register: func(cat *spi.Catalog) error { return errors.Join(extensions.Register(cat), all.Extensions(cat)) }}
			run.Plugin.Env = map[string]string{}
			for _, variable := range env {
				key, value, ok := strings.Cut(variable, "=")
				if !ok {
					return fmt.Errorf("--env %q is not of the form KEY=value", variable)
				}
				run.Plugin.Env[key] = value
			}
			for _, given := range with {
				name, text, ok := strings.Cut(given, "=")
				if !ok || !json.Valid([]byte(text)) {
					return fmt.Errorf("--with %q is not of the form NAME=JSON, such as 'nearest={\"zone\": \"eu1\"}'", given)
				}
				run.With[name] = []byte(text)
			}
			log := logrus.New()
			log.Out = io.Discard
			if verbose {
				log.Out = cmd.ErrOrStderr()
				run.Tell = func(c conform.Check) {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d faults after %v\n", c.Name, len(c.Faults), c.Took)
				}
			}
			report := conform.Run(cmd.Context(), run, log)
			if asJSON {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				err = encoder.Encode(report)
			} else {
				report.WriteText(cmd.OutOrStdout())
			}
			if err == nil && !report.Passed {
				err = errPluginTest
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&asJSON, "json", false, "print JSON: every check with what it found and how long it took")
	flags.BoolVarP(&verbose, "verbose", "v", false, "print each check and what the plugin prints, to standard error")
	flags.StringArrayVar(&with, "with", nil, "NAME=JSON: the configuration of an extension, for one that needs keys; may be repeated")
	flags.StringArrayVar(&env, "env", nil, "KEY=value: a variable of its environment, which has nothing else; may be repeated")
	flags.StringVar(&cfg.MTLS, "mtls", "auto", "off for a plugin that is not written in Go")
	flags.DurationVar(&startTimeout, "start-timeout", 5*time.Second, "time allowed from its start to its description")
	flags.DurationVar(&within, "within", time.Second, "time allowed from a kill, or the end of its host, to its end")
	return cmd
}

var notInNames = regexp.MustCompile(`[^a-z0-9-]+`)

// pluginName makes the name of a plugin from its path: "plugin" where that has no letter.
func pluginName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	name = strings.TrimLeft(notInNames.ReplaceAllString(strings.ToLower(name), "-"), "-0123456789")
	return cmp.Or(name[:min(len(name), 64)], "plugin")
}

// conformHost returns the host that a check kills: this program with a command that
// nobody is told of.
func conformHost() (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return exec.Command(program, "plugin", "host"), nil
}

func pluginHostCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "host",
		Short:  "Start the plugin that standard input describes, and close it at the end of that",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := logrus.New()
			log.Out = cmd.ErrOrStderr()
			return conform.Host(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), log)
		},
	}
}
