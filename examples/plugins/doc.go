// Command plugins builds the plugins that come with bhrpc and uses them, each by one
// key of a configuration file: a load balancer, a heartbeat, a serializer and a proxy,
// every one a process of its own.
package main
