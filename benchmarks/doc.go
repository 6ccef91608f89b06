// Command benchmarks measures bhrpc beside other RPC frameworks, in one run.
//
//	go -C benchmarks run . -rounds 5
//
// For every round and every peer it starts a provider and a consumer as processes
// of their own, in an order that rotates from round to round, lets them warm up,
// and counts checked answers. It prints medians over the rounds, and the ratios
// within a round, lowest to highest: machines drift, ratios hold. Differences below
// a quarter are called a tie.
//
// Heartbeats at scale are measured by the command in heartbeats.
//
// It is a module of its own, so that the peers are never among the framework's
// dependencies.
package main
