package main

import (
	"errors"
	"os"
	"time"

	"github.com/bhrpc/bhrpc/internal/drill"
	"github.com/spf13/cobra"
)

func drillCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drill KIND",
		Short: "Break a connection on purpose and watch whether what is promised holds",
		Long: `Break a connection on purpose and watch whether what is promised holds.

Two providers and a consumer run in the tool's own process, over real TCP, with a link
before the first provider that the tool breaks; or the providers are those that
--provider names, and the tool is their consumer. Calls are made all the while. The last
line is RESULT pass, with exit status 0, or RESULT fail with the reasons, and 1.

The bound of three to four intervals is computed from --interval and the promised three
strikes, and held against the last byte that passed the link; what --strikes says
changes the strategy and not the promise.`,
		Example: `  bhrpc drill freeze
  bhrpc drill freeze --strikes 4                          # must fail
  bhrpc drill corrupt --provider 127.0.0.1:7070 --provider 127.0.0.1:7071`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name what to break; bhrpc drill --help lists the kinds")
			}
			return drill.Config{Kind: args[0], Interval: time.Second, Strikes: 3}.Validate() // cobra knows all others
		},
	}
	cfg := drill.Config{}
	flags := cmd.PersistentFlags()
	flags.DurationVar(&cfg.Interval, "interval", time.Second, "between heartbeats, on both sides")
	flags.IntVar(&cfg.Strikes, "strikes", 3, "unanswered heartbeats in a row that end a connection; only 3 can pass")
	flags.StringVar(&cfg.File, "config", "", "configuration file that both sides begin with; the drill sets addresses, heartbeats and registries itself")
	flags.StringArrayVar(&cfg.Providers, "provider", nil, "address of a provider of your own; repeated: further ones, which are not broken")
	for _, kind := range drill.Kinds() {
		cmd.AddCommand(&cobra.Command{
			Use: kind.Name, Short: kind.Short, Long: kind.Long, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				cfg := cfg
				cfg.Kind = kind.Name
				program, err := os.Executable()
				if err != nil {
					return err
				}
				cfg.Plugin = []string{program, cmd.Parent().Name(), servePlugin}
				passed, err := drill.Run(cmd.Context(), cfg, cmd.OutOrStdout())
				if err == nil && !passed {
					err = errDrill
				}
				return err
			},
		})
	}
	cmd.AddCommand(&cobra.Command{
		Use: servePlugin, Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return drill.ServePlugin() },
	})
	return cmd
}

// servePlugin is the command that the drill kill-plugin runs as a plugin.
const servePlugin = "serve-plugin"

// errDrill is a drill that failed, which has printed why.
var errDrill = errors.New("the drill failed")
