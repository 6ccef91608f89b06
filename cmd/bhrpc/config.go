package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/bhrpc/bhrpc/internal/config"
	"github.com/spf13/cobra"
)

func configCommand() *cobra.Command {
	var markdown, schema bool
	cmd := &cobra.Command{
		Use:   "config",
		Short: "List the configuration keys, as a table, a page or a JSON Schema",
		Long: `List every configuration key with its type, default and meaning. It reads no file;
bhrpc explain --all shows what a file says.

--schema prints a JSON Schema (draft 2020-12) of the file, for editors and checks:

  bhrpc config --schema > bhrpc.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			switch {
			case markdown:
				return config.WriteMarkdown(out)
			case schema:
				return config.WriteSchema(out)
			}
			rows, err := config.Rows()
			if err != nil {
				return err
			}
			table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
			fmt.Fprintln(table, "KEY\tTYPE\tDEFAULT\tWHAT IT SAYS")
			for _, row := range rows {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", row.Key, row.Type, row.Default, row.Doc)
			}
			return table.Flush()
		},
	}
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print the reference page, docs/config.md")
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of the file, docs/bhrpc.schema.json")
	cmd.MarkFlagsMutuallyExclusive("markdown", "schema")
	return cmd
}
