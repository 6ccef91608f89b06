module github.com/bhrpc/bhrpc/benchmarks

go 1.26

require github.com/bhrpc/bhrpc v0.0.0

replace github.com/bhrpc/bhrpc => ../
