package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/bhrpc/bhrpc/extensions"
	"github.com/bhrpc/bhrpc/extensions/all"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/spf13/cobra"
)

func extensionsCommand() *cobra.Command {
	var markdown, asJSON bool
	cmd := &cobra.Command{
		Use:   "extensions [KIND]",
		Short: "List the extensions that configuration keys can name",
		Long: `List the extensions of bhrpc that configuration keys can name, with their keys. It
reads no file and starts no plugin; bhrpc explain shows what one brings.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if markdown {
				return extensions.WriteDocs(out, all.Extensions)
			}
			cat := spi.NewCatalog()
			if err := errors.Join(extensions.Register(cat), all.Extensions(cat)); err != nil {
				return err
			}
			infos, err := ofKind(cat.List(), args)
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(out)
				encoder.SetIndent("", "  ")
				return encoder.Encode(infos)
			}
			table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
			fmt.Fprintln(table, "KIND\tNAME\tALIASES\tKEYS\tWHAT IT DOES")
			for _, info := range infos {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", info.Kind, info.Name, dash(info.Aliases), dash(keys(info.Fields)), info.Doc)
			}
			return table.Flush()
		},
	}
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print the reference page, docs/extensions.md")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// ofKind keeps the extensions of the kind that args may name.
func ofKind(infos []spi.Info, args []string) ([]spi.Info, error) {
	if len(args) == 0 {
		return infos, nil
	}
	var kinds []string
	for _, info := range infos {
		kinds = append(kinds, info.Kind)
	}
	kinds = slices.Compact(kinds)
	if !slices.Contains(kinds, args[0]) {
		message := fmt.Sprintf("no extensions of kind %q", args[0])
		if near := spi.Nearest(args[0], kinds); near != "" {
			message += fmt.Sprintf("; did you mean %q?", near)
		}
		return nil, fmt.Errorf("%s\n  kinds: %s", message, strings.Join(kinds, ", "))
	}
	return slices.DeleteFunc(infos, func(info spi.Info) bool { return info.Kind != args[0] }), nil
}

func keys(fields []spi.Field) []string {
	var names []string
	for _, f := range fields {
		names = append(names, f.Key)
	}
	return names
}

func dash(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ", ")
}
