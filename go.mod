module github.com/bhrpc/bhrpc

go 1.26
