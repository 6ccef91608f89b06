package main

import (
	"fmt"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/spf13/cobra"
)

func pluginCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "Write, test, look at, restart and pin programs that bring extensions",
		Args:  cobra.ArbitraryArgs, // RunE says what there is
		RunE: func(cmd *cobra.Command, args []string) error {
			var known []string
			for _, sub := range cmd.Commands() {
				if !sub.Hidden {
					known = append(known, sub.Name())
				}
			}
			message := "a command is missing"
			if len(args) > 0 {
				message = fmt.Sprintf("unknown command %q", args[0])
				if near := spi.Nearest(args[0], known); near != "" {
					message += fmt.Sprintf("; did you mean %q?", near)
				}
			}
			return fmt.Errorf("%s\n  commands of bhrpc plugin: %s", message, strings.Join(known, ", "))
		},
	}
	cmd.AddCommand(pluginNewCommand(), pluginTestCommand(), pluginLsCommand(), pluginInspectCommand(), pluginRestartCommand(), pluginPinCommand(), pluginHostCommand())
	return cmd
}
