// Package examples holds runnable programs, one directory each, with a README of
// one screen; its tests run them all.
//
//	go run ./examples/hello      a provider and a consumer, two processes
//	go run ./examples/config     one program under three configuration files
//	go run ./examples/custom     a load balancer of one's own, chosen by key
//	go run ./examples/heartbeat  a provider and a consumer, each stopped and found dead
//	go run ./examples/plugins    four plugins, built and chosen by key
//
// The directories plugin-* are modules of their own: the plugins that come with bhrpc.
package examples
