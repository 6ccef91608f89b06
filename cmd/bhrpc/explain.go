package main

import (
	"errors"
	"fmt"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/extensions/all"
	"github.com/bhrpc/bhrpc/plugins"
	"github.com/spf13/cobra"
)

func explainCommand() *cobra.Command {
	var path string
	var everyKey bool
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Show which extension every key chooses, and why; connects to nobody",
		Long: `Show which extension every key of a configuration chooses, where the key was set,
and who provides the extension. It reads the file and the environment and connects
to nobody. The plugins that the file names it starts, checked as always, asks what
they bring, and ends. It knows every extension of bhrpc; a program that links in its
own shows the same table with BHRPC_EXPLAIN=1 in its environment.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := bhrpc.Load(path)
			if err != nil {
				return err
			}
			err = cfg.Explain(cmd.Context(), cmd.OutOrStdout(), all.Extensions, plugins.Loader)
			if everyKey && err == nil {
				fmt.Fprintln(cmd.OutOrStdout())
				err = errors.Join(err, cfg.ExplainKeys(cmd.OutOrStdout()))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&path, "config", "bhrpc.yaml", "configuration file")
	cmd.Flags().BoolVar(&everyKey, "all", false, "show every other key too")
	return cmd
}
