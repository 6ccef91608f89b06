package main

import (
	"fmt"
	"strings"

	"github.com/bhrpc/bhrpc/internal/scaffold"
	"github.com/spf13/cobra"
)

func pluginNewCommand() *cobra.Command {
	var module, framework string
	cmd := &cobra.Command{
		Use:   "new KIND NAME",
		Short: "Write the repository of an extension, which compiles and passes its tests",
		Long: `Write the repository of an extension, which compiles and passes its tests as it stands,
into a new directory called NAME. KIND is one of ` + strings.Join(scaffold.Kinds(), ", ") + `.

The repository has one file to edit, a test that holds the extension against its
contract, and a main function that makes a plugin of it. While this tool is a development
build, go.mod takes bhrpc from the sources that the tool was built from; --framework names
another directory.`,
		Example: `  bhrpc plugin new loadbalancer nearest --module example.org/you/nearest
  cd nearest && go test ./... && go build -o bin/nearest ./cmd/nearest
  bhrpc plugin test ./bin/nearest`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			project := scaffold.Project{Kind: args[0], Name: args[1], Module: module}
			if module == "" {
				project.Module = "example.org/you/" + project.Name
			}
			if err := project.Validate(); err != nil { // before anything is looked for
				return err
			}
			var err error
			if project.Framework, err = scaffold.FindFramework(cmd.Context(), framework); err != nil {
				return err
			}
			made, err := scaffold.Write(cmd.Context(), project.Name, project)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s: %s\n", project.Name, strings.Join(made, ", "))
			if dir := project.Framework.Dir; dir != "" {
				fmt.Fprintf(out, "go.mod takes bhrpc from %s: this tool is a development build\n", dir)
			}
			fmt.Fprintf(out, "next: cd %s && go test ./... && go build -o bin/%[1]s ./cmd/%[1]s && bhrpc plugin test ./bin/%[1]s\n", project.Name)
			return nil
		},
	}
	cmd.Flags().StringVar(&module, "module", "", "path of the module; otherwise example.org/you/NAME")
	cmd.Flags().StringVar(&framework, "framework", "", "directory with the sources of bhrpc that go.mod names")
	return cmd
}
