package main

import "github.com/spf13/cobra"

func pluginCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "Look at, restart and pin programs that bring extensions",
	}
	cmd.AddCommand(pluginLsCommand(), pluginInspectCommand(), pluginRestartCommand(), pluginPinCommand())
	return cmd
}
