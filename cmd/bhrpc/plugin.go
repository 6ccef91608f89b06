package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/spf13/cobra"
)

func newPluginCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "Write and test extensions that live in processes of their own",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			var known []string
			for _, sub := range cmd.Commands() {
				if !sub.Hidden {
					known = append(known, sub.Name())
				}
			}
			if len(args) == 0 {
				return fmt.Errorf("say what to do with plugins: %s", strings.Join(known, ", "))
			}
			message := fmt.Sprintf("there is no bhrpc plugin %s", args[0])
			if near := spi.Nearest(args[0], known); near != "" {
				message += fmt.Sprintf("; did you mean %q?", near)
			}
			return errors.New(message + "\n  known: " + strings.Join(known, ", "))
		},
	}
	cmd.AddCommand(pluginNewCommand(), pluginTestCommand(), pluginHostCommand())
	return cmd
}
