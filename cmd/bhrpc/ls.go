package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/spf13/cobra"
)

func lsCommand() *cobra.Command {
	var timeout time.Duration
	var asJSON bool
	var secured tlsFlags
	cmd := &cobra.Command{
		Use:   "ls ADDRESS",
		Short: "List the services and methods of a running provider",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var list core.Introspection
			_, err := callOne(cmd.Context(), args[0], &secured, core.IntrospectionService+"."+core.IntrospectionMethod, timeout, &list, nil)
			var failed *callError
			if errors.As(err, &failed) && failed.cause.Remote && failed.cause.Phase == spi.PhaseDispatch {
				return &callError{&bhrpc.Error{Code: failed.cause.Code, Phase: spi.PhaseHandler, Message: "the provider does not list its services", Hint: "its key provider.introspection is off"}, args[0]}
			}
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(list)
			}
			for _, s := range list.Services {
				for _, m := range s.Methods {
					line := s.Name + "." + m
					if s.Version != "" || s.Group != "" {
						line += fmt.Sprintf("     version=%s group=%s", s.Version, s.Group)
					}
					fmt.Fprintln(cmd.OutOrStdout(), line)
				}
			}
			if list.Truncated {
				fmt.Fprintln(cmd.OutOrStdout(), "… and more")
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "time allowed, connecting included")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	secured.add(cmd)
	return cmd
}
