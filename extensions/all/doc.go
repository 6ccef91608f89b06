// Package all links in every extension of this module, for the command-line tool and
// for programs that do not want to choose:
//
//	app, err := bhrpc.Open(ctx, "bhrpc.yaml", all.Extensions)
package all
